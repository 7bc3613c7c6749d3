// The only file with PTX: one thin function for each instruction.
//
// Each has a body for the card, in asm, and one for the host, which calls the instruction's twin in emu/:
//
//     __device__ __forceinline__ result name(operands) {
//     #if defined(__CUDACC__)
//         asm volatile("..." : outputs : inputs : "memory");
//     #else
//         return rir::emu::twin(operands);
//     #endif
//     }
//
// A twin does what PTX ISA says of the instruction, no more: it reports what it reads and writes by emu::touch or
// Machine::touch, faults where the ISA demands what the caller does not keep to, and leaves out every promise that the
// ISA does not make. An instruction that works in the background (a bulk copy, wgmma) becomes an object that the thread
// holds, as AsyncCopies does: its effect comes at a random moment from issue to the wait that guarantees it, the
// destination is poison until then, and its accesses count as unordered with everybody's until then. An instruction
// that waits (an mbarrier's) becomes a Primitive in emu/block.cpp: a state of Thread, the test that wakes it, and what
// a deadlock says of it; where it orders memory, it joins the clocks in emu/shadow.hpp.
#pragma once

#include "rir.cuh"

#if !defined(__CUDACC__)
#include "emu/ptx.hpp"
#endif

namespace ptx {

// %laneid: this thread's place in its warp.
__device__ __forceinline__ unsigned lane_id() {
#if defined(__CUDACC__)
    unsigned lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
#else
    return rir::emu::lane_id();
#endif
}

// ld.global.nc: 16 bytes that no thread writes during the launch and that are read once, kept out of L1.
__device__ __forceinline__ uint4 load_streaming(const uint4* global) {
#if defined(__CUDACC__)
    uint4 value;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(__cvta_generic_to_global(global)));
    return value;
#else
    return *global;
#endif
}

// st.global.cs: 16 bytes that will not be read again soon.
__device__ __forceinline__ void store_streaming(uint4* global, const uint4& value) {
#if defined(__CUDACC__)
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(global)), "r"(value.x),
                 "r"(value.y), "r"(value.z), "r"(value.w)
                 : "memory");
#else
    *global = value;
#endif
}

// cp.async: copies 4, 8 or 16 bytes, both ends aligned to as many, in the background. Only the first `source_bytes` are
// read; the rest become zeros. 16 bytes bypass L1.
template <unsigned BYTES>
__device__ __forceinline__ void copy_async(void* shared, const void* global, unsigned source_bytes = BYTES) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16);
#if defined(__CUDACC__)
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    const size_t from = __cvta_generic_to_global(global);
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(source_bytes)
                     : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(BYTES), "r"(source_bytes)
                     : "memory");
    }
#else
    rir::emu::async_copy(shared, global, BYTES, source_bytes);
#endif
}

// cp.async.commit_group: makes this thread's copies since the last commit a group.
__device__ __forceinline__ void copy_async_commit() {
#if defined(__CUDACC__)
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    rir::emu::async_commit();
#endif
}

// cp.async.wait_group: waits until at most this many of the latest groups of this thread are under way. Other threads
// see what was copied after a barrier.
template <unsigned GROUPS>
__device__ __forceinline__ void copy_async_wait() {
#if defined(__CUDACC__)
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#else
    rir::emu::async_wait(GROUPS);
#endif
}

// cp.async.wait_all: waits for all copies of this thread, committed or not.
__device__ __forceinline__ void copy_async_wait_all() {
#if defined(__CUDACC__)
    asm volatile("cp.async.wait_all;" ::: "memory");
#else
    rir::emu::async_wait_all();
#endif
}

}  // namespace ptx
