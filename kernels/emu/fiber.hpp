// Stacks, and switching between them on one OS thread.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(RIR_EMU_PORTABLE_FIBERS)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define RIR_EMU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RIR_EMU_ASAN 1
#endif
#endif

namespace rir::emu {

// Memory for a fiber's frames, below it a page that cannot be touched.
class Stack {
  public:
    // AddressSanitizer's frames are several times larger.
#if defined(RIR_EMU_ASAN)
    static constexpr size_t BYTES = 512 << 10;
#else
    static constexpr size_t BYTES = 128 << 10;
#endif
    // What the runtime itself needs below a kernel's deepest frame.
    static constexpr size_t RESERVE = 32 << 10;

    Stack();
    ~Stack();
    Stack(const Stack&) = delete;
    Stack& operator=(const Stack&) = delete;
    char* low() const { return low_; }

  private:
    char* low_;
};

// A flow of control. One made by default is the OS thread's own, and is what the first switch leaves.
class Fiber {
  public:
    // From the next switch to it, runs `entry(argument)`, which never returns.
    void start(const Stack& stack, void (*entry)(void*), void* argument);
    // Leaves this for `next`, until something switches back.
    void switch_to(Fiber& next);
    // Leaves this for good.
    [[noreturn]] void finish_to(Fiber& next);

  private:
    static void begin();
    void leave(Fiber& next, bool for_good);
    void entered();

    void (*entry_)(void*) = nullptr;
    void* argument_ = nullptr;
#if defined(RIR_EMU_PORTABLE_FIBERS)
    ucontext_t context_;
#else
    void* stack_pointer_ = nullptr;
#endif
#if defined(RIR_EMU_ASAN)
    void* fake_stack_ = nullptr;
    const void* stack_bottom_ = nullptr;
    size_t stack_bytes_ = 0;
#endif
};

}  // namespace rir::emu
