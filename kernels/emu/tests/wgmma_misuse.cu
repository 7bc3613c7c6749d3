// Programs that break one rule each of wgmma.
#include "params.hpp"
#include "ptx_wgmma.cuh"

// Operands of one product, [64 rows][16 depths] and [32 columns][16 depths], without a swizzle; two of each.
struct alignas(1024) Pair {
    uint4 a[2][64 * 2];
    uint4 b[2][32 * 2];
    ptx::Barrier full, empty;
};
constexpr uint32_t A_BYTES = 64 * 16 * 2, B_BYTES = 32 * 16 * 2;

__device__ __forceinline__ void put_operands(Pair& pair) {
    uint4* all = pair.a[0];
    const uint4 ones = make_uint4(0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80);
    for (uint32_t i = threadIdx.x; i < 2 * (A_BYTES + B_BYTES) / 16; i += blockDim.x) all[i] = ones;
}
__device__ __forceinline__ void ready(Pair& pair) {
    put_operands(pair);
    ptx::fence_async_shared();
    __syncthreads();
}
__device__ __forceinline__ uint64_t descriptor(const void* at) {
    return ptx::matrix_descriptor(at, ptx::Swizzle::None, 128, 256);
}
template <unsigned SUMS>
__device__ __forceinline__ void multiply(float (&sums)[SUMS], const Pair& pair, uint32_t which, bool accumulate) {
    ptx::multiply_warpgroup<ptx::Major::Depth, ptx::Major::Depth>(sums, descriptor(pair.a[which]),
                                                                  descriptor(pair.b[which]), accumulate);
}
template <unsigned SUMS>
__device__ __forceinline__ void put(const CopyParams& p, const float (&sums)[SUMS]) {
    for (unsigned i = 0; i < SUMS; ++i) p.y[threadIdx.x] += sums[i];
}

// -- Registers. --

__device__ void no_fence_before(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_no_fence_before, CopyParams, 128, no_fence_before)

__device__ void sums_cleared_after_fence(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    for (float& sum : sums) sum = 0;
    multiply(sums, pair, 0, true);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_sums_cleared_after_fence, CopyParams, 128, sums_cleared_after_fence)

// Right but for one thread, between two products that are waited for.
__device__ void sums_changed_between(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    for (uint32_t i = 0; i < 2; ++i) {
        multiply(sums, pair, i, i > 0);
        ptx::warpgroup_commit();
        ptx::warpgroup_wait<0>();
        if (threadIdx.x == 77) sums[5] += 1.0f;
    }
    put(p, sums);
}
RIR_KERNEL(test_sums_changed_between, CopyParams, 128, sums_changed_between)

// The registers of a product are poison until it is waited for.
__device__ void sums_read_early(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    const float early = sums[3];
    ptx::warpgroup_wait<0>();
    p.y[threadIdx.x] = early;
}
RIR_KERNEL(test_sums_read_early, CopyParams, 128, sums_read_early)

__device__ void other_group_waited_for(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float first[16], second[16];
    ptx::warpgroup_fence();
    multiply(first, pair, 0, false);
    ptx::warpgroup_commit();
    multiply(second, pair, 1, false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<1>();
    put(p, first);
    put(p, second);
    ptx::warpgroup_wait<0>();
}
RIR_KERNEL(test_other_group_waited_for, CopyParams, 128, other_group_waited_for)

__device__ void not_committed(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_not_committed, CopyParams, 128, not_committed)

__device__ void exit_under_product(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
}
RIR_KERNEL(test_exit_under_product, CopyParams, 128, exit_under_product)

// Products on sums that others under way have: of another shape, or shifted.
template <unsigned FIRST, unsigned COUNT>
__device__ void sums_overlap(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[24];
    ptx::warpgroup_fence();
    multiply(reinterpret_cast<float(&)[16]>(sums), pair, 0, false);
    multiply(reinterpret_cast<float(&)[COUNT]>(sums[FIRST]), pair, 1, true);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
#if !defined(__CUDACC__)
RIR_KERNEL(test_sums_of_other_shape, CopyParams, 128, sums_overlap<0, 8>)
#endif
RIR_KERNEL(test_sums_shifted, CopyParams, 128, sums_overlap<8, 16>)

#if !defined(__CUDACC__)
// Its operand A is written anew, before the fence for it or while the product before has it.
template <bool FENCED>
__device__ void operand_changed(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    uint32_t a[4] = {};
    ptx::warpgroup_fence();
    if (!FENCED) a[2] = threadIdx.x;
    ptx::multiply_warpgroup_registers<ptx::Major::Depth>(sums, a, descriptor(pair.b[0]), false);
    ptx::warpgroup_commit();
    if (FENCED) a[2] = threadIdx.x;
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_operand_changed_after_fence, CopyParams, 128, operand_changed<false>)
RIR_KERNEL(test_operand_changed_under_way, CopyParams, 128, operand_changed<true>)
#endif

// -- Shared memory. --

__device__ void operands_not_fenced(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    put_operands(pair);
    __syncthreads();
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_operands_not_fenced, CopyParams, 128, operands_not_fenced)

__device__ void operands_not_awaited(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    put_operands(pair);
    ptx::fence_async_shared();
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_operands_not_awaited, CopyParams, 128, operands_not_awaited)

// A stage that a thread copies, of 1024 bytes: the columns of both pairs.
__device__ __forceinline__ void make(Pair& pair) {
    if (threadIdx.x == 0) {
        ptx::barrier_init(pair.full, 1);
        ptx::barrier_init(pair.empty, 1);
        ptx::fence_barrier_init();
    }
    ready(pair);
}
__device__ __forceinline__ void load_columns(const CopyParams& p, Pair& pair) {
    ptx::barrier_arrive_and_expect(pair.full, B_BYTES);
    ptx::load_box(pair.b[0], p.maps[0], pair.full, 0, 0, 0);
}

// One warp waits for the copy; the others multiply what it brought all the same.
__device__ void one_warp_waits(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    make(pair);
    if (threadIdx.x == 0) load_columns(p, pair);
    if (threadIdx.x / 32 == 2) ptx::barrier_wait(pair.full, 0);
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_one_warp_waits, CopyParams, 128, one_warp_waits)

// The stage is given back before its product has been waited for: by the next warp group's copy it is overwritten.
__device__ void released_under_product(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    make(pair);
    if (threadIdx.x >= 128) {
        if (threadIdx.x != 128) return;
        for (uint32_t round = 0; round < 2; ++round) {
            ptx::barrier_wait(pair.empty, round ^ 1);
            load_columns(p, pair);
        }
        ptx::barrier_wait(pair.full, 1);
        return;
    }
    float sums[16];
    ptx::barrier_wait(pair.full, 0);
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    if (threadIdx.x == 0) ptx::barrier_arrive(pair.empty);
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_released_under_product, CopyParams, 256, released_under_product)

__device__ void operand_overwritten(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    pair.b[0][threadIdx.x % 64] = make_uint4(0, 0, 0, 0);
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_operand_overwritten, CopyParams, 128, operand_overwritten)

// The first of two groups is waited for: its operands may be written anew, those of the second not.
__device__ void later_operand_overwritten(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    for (uint32_t i = 0; i < 2; ++i) {
        multiply(sums, pair, i, i > 0);
        ptx::warpgroup_commit();
    }
    ptx::warpgroup_wait<1>();
    if (threadIdx.x == 9) pair.b[0][0] = make_uint4(0, 0, 0, 0);
    if (threadIdx.x == 9) pair.b[1][0] = make_uint4(0, 0, 0, 0);
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_later_operand_overwritten, CopyParams, 128, later_operand_overwritten)

// -- Descriptors. --

template <int WHAT>
__device__ void descriptor_of(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    RIR_SHARED(Pair, fixed);
    ready(pair);
    float sums[16];
    uint64_t a = descriptor(pair.a[0]);
    if constexpr (WHAT == 0) a = ptx::matrix_descriptor(pair.b[1], ptx::Swizzle::None, 128, 4096);
    if constexpr (WHAT == 1) a = descriptor(fixed.a[0]);
    if constexpr (WHAT == 2) a = ptx::matrix_descriptor(&pair.a[0][8], ptx::Swizzle::Bytes128, 0, 1024);
    if constexpr (WHAT == 3) a += threadIdx.x == 100 ? 2 : 0;
    ptx::warpgroup_fence();
    ptx::multiply_warpgroup<ptx::Major::Depth, ptx::Major::Depth>(sums, a, descriptor(pair.b[0]), false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_descriptor_past_end, CopyParams, 128, descriptor_of<0>)
RIR_KERNEL(test_descriptor_of_static, CopyParams, 128, descriptor_of<1>)
RIR_KERNEL(test_descriptor_within_pattern, CopyParams, 128, descriptor_of<2>)
RIR_KERNEL(test_descriptors_differ, CopyParams, 128, descriptor_of<3>)

// -- Who multiplies. --

// All that there are: 96 threads.
__device__ void multiply_first(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    if (threadIdx.x < p.items) multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_multiply_first, CopyParams, 128, multiply_first)

__device__ void some_have_waited(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    ptx::warpgroup_commit();
    if (threadIdx.x < 64) ptx::warpgroup_wait<0>();
    multiply(sums, pair, 1, true);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_some_have_waited, CopyParams, 128, some_have_waited)

__device__ void some_have_committed(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Pair, pair);
    ready(pair);
    float sums[16];
    ptx::warpgroup_fence();
    multiply(sums, pair, 0, false);
    if (threadIdx.x < 64) ptx::warpgroup_commit();
    multiply(sums, pair, 1, true);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    put(p, sums);
}
RIR_KERNEL(test_some_have_committed, CopyParams, 128, some_have_committed)
