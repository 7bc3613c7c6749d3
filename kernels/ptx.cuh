// PTX, which stands here and in ptx_launch.cuh, ptx_hopper.cuh and ptx_wgmma.cuh alone: one thin function for each
// instruction.
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
// that waits (an mbarrier's, or a warp's matrix instruction) becomes a Primitive in emu/cluster.cpp: a state of Thread,
// the test that wakes it, and what a deadlock says of it; where it orders memory, it joins emu/clocks.hpp.
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

// ld.global, 16 bytes that are read once, kept out of L1. Not by .nc, which would promise that nobody has written them
// since this launch began: the launch before may have (ptx_launch.cuh).
__device__ __forceinline__ uint4 load_streaming(const uint4* global) {
#if defined(__CUDACC__)
    uint4 value;
    asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
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

// cvt.rn.bf16x2.f32: two numbers of bf16 in a word, `low` in its lower half. As a word, not as its halves, which the
// compiler would keep in a register each.
__device__ __forceinline__ uint32_t round_pair(float low, float high) {
#if defined(__CUDACC__)
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return uint32_t(__bfloat16_as_ushort(store<bf16>(low))) | uint32_t(__bfloat16_as_ushort(store<bf16>(high))) << 16;
#endif
}

// The caches that a copy goes through, and stays in: .ca and .cg. Only 16 bytes may bypass L1.
enum class Through { All, L2 };

// cp.async: copies 4, 8 or 16 bytes, both ends aligned to as many, in the background. Only the first `source_bytes` are
// read; the rest become zeros.
template <unsigned BYTES, Through CACHES = BYTES == 16 ? Through::L2 : Through::All>
__device__ __forceinline__ void copy_async(void* shared, const void* global, unsigned source_bytes = BYTES) {
    static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16);
    static_assert(BYTES == 16 || CACHES == Through::All);
#if defined(__CUDACC__)
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    const size_t from = __cvta_generic_to_global(global);
    if constexpr (CACHES == Through::L2) {
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

// Keeps a value that loops use in its register: the compiler would rather compute some anew in every round.
__device__ __forceinline__ void keep(uint32_t& value) {
#if defined(__CUDACC__)
    asm volatile("" : "+r"(value));
#else
    static_cast<void>(value);
#endif
}

// Keeps branches of different N apart: the compiler would make one of two that differ in the registers that they read,
// and put those into memory to choose by an index.
template <unsigned N>
__device__ __forceinline__ void keep_apart() {
#if defined(__CUDACC__)
    asm volatile("// branch %0" ::"n"(N));
#endif
}

// Matrix instructions. All lanes of the warp execute the same one together. With group = lane / 4 and place = 2 * (lane
// % 4), a register that holds a part of an 8 x 8 matrix of 16-bit elements has its elements (group, place) and (group,
// place + 1), the first in the lower half.

// ldmatrix: COUNT (1, 2 or 4) such matrices from shared memory, one a register. Lane 8 i + r names row r of matrix i:
// 16 bytes, aligned to as many. TRANSPOSED gives elements (place, group) and (place + 1, group) instead.
template <bool TRANSPOSED, unsigned COUNT>
__device__ __forceinline__ void load_matrices(uint32_t (&to)[COUNT], const void* row) {
    static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4);
#if defined(__CUDACC__)
    const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(row));
    if constexpr (COUNT == 1 && !TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(to[0]) : "r"(from) : "memory");
    } else if constexpr (COUNT == 1) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(to[0]) : "r"(from) : "memory");
    } else if constexpr (COUNT == 2 && !TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(to[0]), "=r"(to[1])
                     : "r"(from)
                     : "memory");
    } else if constexpr (COUNT == 2) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(to[0]), "=r"(to[1])
                     : "r"(from)
                     : "memory");
    } else if constexpr (!TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(from)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(from)
                     : "memory");
    }
#else
    rir::emu::load_matrices(to, COUNT, TRANSPOSED, row);
#endif
}

// stmatrix: the inverse of load_matrices<false>. Before sm_90 there is no such instruction: every lane then asks the
// one that names its row, and stores its pair there.
template <unsigned COUNT>
__device__ __forceinline__ void store_matrices(void* row, const uint32_t (&from)[COUNT]) {
    static_assert(COUNT == 1 || COUNT == 2 || COUNT == 4);
#if !defined(__CUDACC__)
    rir::emu::store_matrices(row, COUNT, from);
#elif __CUDA_ARCH__ >= 900
    const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(row));
    if constexpr (COUNT == 1) {
        asm volatile("stmatrix.sync.aligned.m8n8.x1.shared.b16 [%0], {%1};" ::"r"(to), "r"(from[0]) : "memory");
    } else if constexpr (COUNT == 2) {
        asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(to), "r"(from[0]), "r"(from[1])
                     : "memory");
    } else {
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(from[0]),
                     "r"(from[1]), "r"(from[2]), "r"(from[3])
                     : "memory");
    }
#else
    const unsigned named = static_cast<unsigned>(__cvta_generic_to_shared(row));
#pragma unroll
    for (unsigned i = 0; i < COUNT; ++i) {
        const unsigned to = __shfl_sync(0xffffffffu, named, int(8 * i + lane_id() / 4)) + lane_id() % 4 * 4;
        asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(from[i]) : "memory");
    }
#endif
}

// mma.m16n8k16: sums += a b, of bf16 in f32. The 8 x 8 parts of a are (rows, depth) (0, 0), (8, 0), (0, 8), (8, 8);
// those of b, which is held transposed, are depth 0 and 8; sums are elements (group, place), (group, place + 1), (group
// + 8, place), (group + 8, place + 1).
__device__ __forceinline__ void multiply_matrices(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    rir::emu::multiply_matrices_bf16(sums, a, b);
#endif
}

}  // namespace ptx
