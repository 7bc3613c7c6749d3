#include "fiber.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#if defined(RIR_EMU_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace rir::emu {
namespace {

size_t page_bytes() {
    static const size_t bytes = size_t(sysconf(_SC_PAGESIZE));
    return bytes;
}

// Of the switch under way: who is left, and who is entered.
constinit thread_local Fiber* left = nullptr;
constinit thread_local Fiber* entering = nullptr;

}  // namespace

Stack::Stack() {
    const size_t guard = page_bytes();
    void* all = mmap(nullptr, guard + BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    low_ = static_cast<char*>(all) + guard;
    if (mprotect(low_, BYTES, PROT_READ | PROT_WRITE) != 0) {
        munmap(all, guard + BYTES);
        throw std::bad_alloc();
    }
}

Stack::~Stack() {
    const size_t guard = page_bytes();
    munmap(low_ - guard, guard + BYTES);
}

#if !defined(RIR_EMU_PORTABLE_FIBERS)

// Pushes the registers that a call preserves, saves the stack pointer, and does the reverse on the other stack. The
// floating-point control words are not switched: no kernel changes them.
extern "C" void rir_emu_switch_stacks(void** saved, void* loaded);

#if defined(__APPLE__)
#define RIR_SYMBOL(name) "_" name
#else
#define RIR_SYMBOL(name) name
#endif

#if defined(__x86_64__)
asm(".text\n"
    ".p2align 4\n"
    ".globl " RIR_SYMBOL("rir_emu_switch_stacks") "\n" RIR_SYMBOL("rir_emu_switch_stacks") ":\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    ret\n");
// Words from the saved stack pointer up: six registers, the return address, and a null where `begin` expects its own.
constexpr size_t FRAME_WORDS = 8, RETURN_WORD = 6;
#elif defined(__aarch64__)
asm(".text\n"
    ".p2align 4\n"
    ".globl " RIR_SYMBOL("rir_emu_switch_stacks") "\n" RIR_SYMBOL("rir_emu_switch_stacks") ":\n"
    "    sub sp, sp, #160\n"
    "    stp x19, x20, [sp, #0]\n"
    "    stp x21, x22, [sp, #16]\n"
    "    stp x23, x24, [sp, #32]\n"
    "    stp x25, x26, [sp, #48]\n"
    "    stp x27, x28, [sp, #64]\n"
    "    stp x29, x30, [sp, #80]\n"
    "    stp d8, d9, [sp, #96]\n"
    "    stp d10, d11, [sp, #112]\n"
    "    stp d12, d13, [sp, #128]\n"
    "    stp d14, d15, [sp, #144]\n"
    "    mov x9, sp\n"
    "    str x9, [x0]\n"
    "    mov sp, x1\n"
    "    ldp x19, x20, [sp, #0]\n"
    "    ldp x21, x22, [sp, #16]\n"
    "    ldp x23, x24, [sp, #32]\n"
    "    ldp x25, x26, [sp, #48]\n"
    "    ldp x27, x28, [sp, #64]\n"
    "    ldp x29, x30, [sp, #80]\n"
    "    ldp d8, d9, [sp, #96]\n"
    "    ldp d10, d11, [sp, #112]\n"
    "    ldp d12, d13, [sp, #128]\n"
    "    ldp d14, d15, [sp, #144]\n"
    "    add sp, sp, #160\n"
    "    ret\n");
// Words from the saved stack pointer up: x19 to x30, of which the last is the return address, and d8 to d15.
constexpr size_t FRAME_WORDS = 20, RETURN_WORD = 11;
#else
#error "no stack switch for this processor: compile with -DRIR_EMU_PORTABLE_FIBERS"
#endif

#endif

void Fiber::begin() {
    Fiber* self = entering;
    self->entered();
    self->entry_(self->argument_);
    std::abort();
}

void Fiber::start(const Stack& stack, void (*entry)(void*), void* argument) {
    entry_ = entry;
    argument_ = argument;
#if defined(RIR_EMU_ASAN)
    // What ran here before may have left by a fault, with its frames' red zones still poisoned.
    ASAN_UNPOISON_MEMORY_REGION(stack.low(), Stack::BYTES);
    fake_stack_ = nullptr;
    stack_bottom_ = stack.low();
    stack_bytes_ = Stack::BYTES;
#endif
#if defined(RIR_EMU_PORTABLE_FIBERS)
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack.low();
    context_.uc_stack.ss_size = Stack::BYTES;
    context_.uc_link = nullptr;
    makecontext(&context_, begin, 0);
#else
    auto* frame = reinterpret_cast<uintptr_t*>(stack.low() + Stack::BYTES) - FRAME_WORDS;
    for (size_t i = 0; i < FRAME_WORDS; ++i) frame[i] = 0;
    frame[RETURN_WORD] = reinterpret_cast<uintptr_t>(&begin);
    stack_pointer_ = frame;
#endif
}

void Fiber::leave(Fiber& next, [[maybe_unused]] bool for_good) {
    left = this;
    entering = &next;
#if defined(RIR_EMU_ASAN)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, next.stack_bottom_, next.stack_bytes_);
#endif
#if defined(RIR_EMU_PORTABLE_FIBERS)
    swapcontext(&context_, &next.context_);
#else
    rir_emu_switch_stacks(&stack_pointer_, next.stack_pointer_);
#endif
}

void Fiber::entered() {
#if defined(RIR_EMU_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack_, &left->stack_bottom_, &left->stack_bytes_);
#endif
}

void Fiber::switch_to(Fiber& next) {
    leave(next, false);
    entered();
}

void Fiber::finish_to(Fiber& next) {
    leave(next, true);
    std::abort();
}

}  // namespace rir::emu
