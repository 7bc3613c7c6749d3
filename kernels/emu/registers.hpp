// What wgmma.fence orders: which registers a thread has touched since its last one, and which belong to products under
// way. A thread's variables on its stack stand for registers, word by word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "fiber.hpp"
#include "runtime.hpp"

namespace rir::emu {

class RegisterMarks {
  public:
    // What came before a block's first fence need not be known.
    void begin_block() {
        watching_ = false;
        block_ = ++now_;
    }
    bool watching() const { return watching_; }
    void fence();

    // An access. False, if a product under way has the register.
    bool touch(uintptr_t offset, size_t bytes) {
        return each(offset, bytes, [&](uint32_t& mark) {
            if (mark == under_way()) return false;
            mark = now_;
            return true;
        });
    }
    bool fenced(uintptr_t offset, size_t bytes) {
        return each(offset, bytes, [&](uint32_t& mark) { return mark != now_; });
    }
    bool free(uintptr_t offset, size_t bytes) {
        return each(offset, bytes, [&](uint32_t& mark) { return mark != under_way(); });
    }
    void give(uintptr_t offset, size_t bytes) {
        each(offset, bytes, [&](uint32_t& mark) { return mark = under_way(), true; });
    }
    void take_back(uintptr_t offset, size_t bytes) {
        each(offset, bytes, [&](uint32_t& mark) { return mark = 0, true; });
    }

  private:
    static constexpr uint32_t UNDER_WAY = uint32_t(1) << 31;
    static constexpr size_t WORD = 4;
    struct Free {
        void operator()(uint32_t* marks) const { std::free(marks); }
    };

    uint32_t under_way() const { return UNDER_WAY | block_; }
    // Whether f holds for all, which it is called for as long as it does.
    template <typename F>
    bool each(uintptr_t offset, size_t bytes, const F& f) {
        if (offset >= Stack::BYTES) return true;
        for (size_t word = offset / WORD; word <= (offset + bytes - 1) / WORD; ++word) {
            if (!f(marks_.get()[word])) return false;
        }
        return true;
    }

    std::unique_ptr<uint32_t, Free> marks_;
    uint32_t now_ = 0, block_ = 0;  // fences, all of this thread's
    bool watching_ = false;
};

inline void RegisterMarks::fence() {
    // Pages that are never touched cost nothing.
    if (!marks_) marks_.reset(static_cast<uint32_t*>(std::calloc(Stack::BYTES / WORD, sizeof(uint32_t))));
    if (!marks_) fault(nullptr, "no memory for the emulator's marks of registers");
    watching_ = true;
    ++now_;
}

}  // namespace rir::emu
