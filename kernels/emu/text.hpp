// A sentence put together in memory of fixed size, cut where it is full. A fault leaves its fiber without unwinding, so
// that nothing on its way may own memory.
#pragma once

#include <cstdarg>
#include <cstdio>

namespace rir::emu {

class Text {
  public:
    Text(char* text, size_t size) : text_(text), size_(size) { text_[0] = 0; }
    void add(const char* format, ...) __attribute__((format(printf, 2, 3))) {
        va_list arguments;
        va_start(arguments, format);
        add_list(format, arguments);
        va_end(arguments);
    }
    void add_list(const char* format, va_list arguments) {
        if (used_ >= size_) return;
        const int length = std::vsnprintf(text_ + used_, size_ - used_, format, arguments);
        if (length > 0) used_ += size_t(length);
    }
    bool empty() const { return used_ == 0; }

  private:
    char* text_;
    size_t size_, used_ = 0;
};

}  // namespace rir::emu
