// What the language's headers ask of the runtime. A kernel does not call these itself.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rir::emu {

// How an access orders with others to the same byte: of two accesses by different threads that nothing orders, at
// least one of them a write, only strong ones are no race. Atomics and volatile accesses are strong (PTX ISA, memory
// consistency model).
// A cp.async writes when it likes, until its thread has waited for it.
enum class Access : uint8_t { Read, Write, VolatileRead, VolatileWrite, Atomic, AsyncWrite };

constexpr bool writes(Access access) { return access != Access::Read && access != Access::VolatileRead; }
constexpr bool reads(Access access) { return !writes(access) || access == Access::Atomic; }
constexpr bool strong(Access access) {
    return access == Access::VolatileRead || access == Access::VolatileWrite || access == Access::Atomic;
}

// Checks and records an access by the running thread; `site` is a return address into the code that made it. Does
// nothing outside of a launch.
void touch(const void* address, size_t bytes, Access access, const void* site);

// Ends the launch with the sentence that names kernel, block and thread, and then says this.
[[noreturn]] void fault(const void* site, const char* format, ...) __attribute__((format(printf, 2, 3)));

// A structure in the block's shared memory, the same for all threads that ask with the same tag.
void* static_shared(const void* tag, size_t bytes, size_t alignment);
void* dynamic_shared();

struct Kernel {
    const char* name;
    size_t params_bytes;
    uint32_t max_threads;
    uint32_t cluster;   // blocks, along x
    bool instrumented;  // compiled with -fsanitize=thread, so that every access is seen
    void (*entry)(const void* params);
};

// Made before main, one for each kernel.
struct Registration {
    explicit Registration(const Kernel& kernel);
};

#if defined(__SANITIZE_THREAD__)
constexpr bool INSTRUMENTED = true;
#elif defined(__has_feature)
constexpr bool INSTRUMENTED = __has_feature(thread_sanitizer);
#else
constexpr bool INSTRUMENTED = false;
#endif

}  // namespace rir::emu
