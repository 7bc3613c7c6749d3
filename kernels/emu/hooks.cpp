// What kernels' instrumented code calls: the interface of ThreadSanitizer, and the accesses that no compiler reports.
#include <algorithm>
#include <cstring>

#include "bf16.hpp"
#include "machine.hpp"

using namespace rir::emu;

#define RIR_SITE __builtin_return_address(0)

// `aligned` is what the compiler knows: where a type promises no alignment, a card too would access its bytes one by
// one.
#define RIR_HOOKS_OF_SIZE(bytes)                                                                                 \
    void __tsan_read##bytes(void* address) { touch(address, bytes, Access::Read, RIR_SITE); }                    \
    void __tsan_write##bytes(void* address) { touch(address, bytes, Access::Write, RIR_SITE); }                  \
    void __tsan_volatile_read##bytes(void* address) { touch(address, bytes, Access::VolatileRead, RIR_SITE); }   \
    void __tsan_volatile_write##bytes(void* address) { touch(address, bytes, Access::VolatileWrite, RIR_SITE); } \
    void __tsan_unaligned_read##bytes(void* address) { range(address, bytes, Access::Read, RIR_SITE); }          \
    void __tsan_unaligned_write##bytes(void* address) { range(address, bytes, Access::Write, RIR_SITE); }        \
    void __tsan_unaligned_volatile_read##bytes(void* address) { range(address, bytes, Access::Read, RIR_SITE); } \
    void __tsan_unaligned_volatile_write##bytes(void* address) { range(address, bytes, Access::Write, RIR_SITE); }

namespace {

void range(const void* address, size_t bytes, Access access, const void* site) {
    if (running) running->machine->touch_range(*running, uintptr_t(address), bytes, access, site);
}

void copy(void* to, const void* from, size_t bytes, const void* site) {
    touch(from, bytes, Access::Read, site);
    touch(to, bytes, Access::Write, site);
    std::memmove(to, from, bytes);
}

}  // namespace

extern "C" {

RIR_HOOKS_OF_SIZE(1)
RIR_HOOKS_OF_SIZE(2)
RIR_HOOKS_OF_SIZE(4)
RIR_HOOKS_OF_SIZE(8)
RIR_HOOKS_OF_SIZE(16)

void __tsan_read_range(void* address, size_t bytes) { range(address, bytes, Access::Read, RIR_SITE); }
void __tsan_write_range(void* address, size_t bytes) { range(address, bytes, Access::Write, RIR_SITE); }

void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
    range(from, bytes, Access::Read, RIR_SITE);
    range(to, bytes, Access::Write, RIR_SITE);
    return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
    range(from, bytes, Access::Read, RIR_SITE);
    range(to, bytes, Access::Write, RIR_SITE);
    return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
    range(to, bytes, Access::Write, RIR_SITE);
    return std::memset(to, value, bytes);
}

void __tsan_vptr_read(void** address) { touch(address, sizeof *address, Access::Read, RIR_SITE); }
void __tsan_vptr_update(void** address, void*) { touch(address, sizeof *address, Access::Write, RIR_SITE); }

void __tsan_init() {}
// Every function of a kernel begins here: the place to see that the stack runs out.
void __tsan_func_entry(void*) {
    if (!running) return;
    const uintptr_t frame = uintptr_t(__builtin_frame_address(0));
    if (frame - running->stack_low >= Stack::RESERVE) return;
    fault(RIR_SITE, "stack overflow: a thread of the emulator has %zu bytes for its frames",
          Stack::BYTES - Stack::RESERVE);
}
void __tsan_func_exit() {}

}  // extern "C"

#define RIR_COPY(Vector)                                                                \
    Vector::Vector(const Vector& other) { copy(this, &other, sizeof other, RIR_SITE); } \
    Vector& Vector::operator=(const Vector& other) {                                    \
        copy(this, &other, sizeof other, RIR_SITE);                                     \
        return *this;                                                                   \
    }

RIR_COPY(char2)
RIR_COPY(char4)
RIR_COPY(uchar2)
RIR_COPY(uchar4)
RIR_COPY(short2)
RIR_COPY(short4)
RIR_COPY(ushort2)
RIR_COPY(ushort4)
RIR_COPY(int2)
RIR_COPY(int4)
RIR_COPY(uint2)
RIR_COPY(uint4)
RIR_COPY(float2)
RIR_COPY(float4)
RIR_COPY(longlong2)
RIR_COPY(ulonglong2)
RIR_COPY(double2)
RIR_COPY(__nv_bfloat162)
