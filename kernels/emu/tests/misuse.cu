// Programs that break one rule each.
#include "params.hpp"
#include "ptx.cuh"

struct Words {
    float values[64];
};

__device__ void write_past_end(const TestParams& p) { p.y[threadIdx.x] = 1.0f; }
RIR_KERNEL(test_write_past_end, TestParams, 256, write_past_end)

__device__ void read_before(const TestParams& p) { p.y[0] = p.x[-1]; }
RIR_KERNEL(test_read_before, TestParams, 1, read_before)

__device__ void read_null(const TestParams& p) { p.y[0] = float(p.counts[0]); }
RIR_KERNEL(test_read_null, TestParams, 1, read_null)

__device__ void misaligned(const TestParams& p) {
    p.y[0] = *reinterpret_cast<const float*>(reinterpret_cast<const char*>(p.x) + 2);
}
RIR_KERNEL(test_misaligned, TestParams, 1, misaligned)

__device__ void misaligned_vector(const TestParams& p) {
    const float4 value = *reinterpret_cast<const float4*>(p.x + 2);
    p.y[0] = value.x;
}
RIR_KERNEL(test_misaligned_vector, TestParams, 1, misaligned_vector)

__device__ void vector_past_end(const TestParams& p) {
    reinterpret_cast<float4*>(p.y)[0] = *reinterpret_cast<const float4*>(p.x + p.elements);
}
RIR_KERNEL(test_vector_past_end, TestParams, 1, vector_past_end)

__device__ void write_read_only(const TestParams& p) { const_cast<float*>(p.x)[threadIdx.x] = 1.0f; }
RIR_KERNEL(test_write_read_only, TestParams, 32, write_read_only)

__device__ void shared_past_end(const TestParams& p) {
    RIR_SHARED(Words, words);
    words.values[threadIdx.x] = p.x[0];
}
RIR_KERNEL(test_shared_past_end, TestParams, 128, shared_past_end)

__device__ void dynamic_past_end(const TestParams& p) {
    RIR_SHARED_DYNAMIC(Words, words);
    words.values[threadIdx.x] = p.x[0];
}
RIR_KERNEL(test_dynamic_past_end, TestParams, 128, dynamic_past_end)

__device__ void uninitialised(const TestParams& p) {
    RIR_SHARED(Words, words);
    if (threadIdx.x != 7) words.values[threadIdx.x] = 1.0f;
    __syncthreads();
    p.y[threadIdx.x] = words.values[threadIdx.x];
}
RIR_KERNEL(test_uninitialised, TestParams, 64, uninitialised)

struct Large {
    char bytes[49 << 10];
};
__device__ void too_large(const TestParams&) {
    RIR_SHARED(Large, large);
    large.bytes[0] = 0;
}
RIR_KERNEL(test_too_large, TestParams, 1, too_large)

__device__ void missing_barrier(const TestParams& p) {
    RIR_SHARED(Words, words);
    words.values[threadIdx.x] = p.x[threadIdx.x];
    if (threadIdx.x == 0) {
        for (int i = 0; i < 64; ++i) p.y[i] = words.values[i];
    }
}
RIR_KERNEL(test_missing_barrier, TestParams, 64, missing_barrier)

// The loop's second barrier is missing: a write races with reads of the round before.
__device__ void missing_second_barrier(const TestParams& p) {
    RIR_SHARED(Words, words);
    float sum = 0;
    for (int round = 0; round < 2; ++round) {
        words.values[threadIdx.x] = p.x[threadIdx.x];
        __syncthreads();
        for (int i = 0; i < 64; ++i) sum += words.values[i];
    }
    p.y[threadIdx.x] = sum;
}
RIR_KERNEL(test_missing_second_barrier, TestParams, 64, missing_second_barrier)

__device__ void all_write_one(const TestParams& p) { p.y[0] = p.x[0]; }
RIR_KERNEL(test_all_write_one, TestParams, 256, all_write_one)

// Lane 0 waits for lane 1, which has read, but not for lane 2, which has too.
__device__ void forgotten_reader(const TestParams& p) {
    RIR_SHARED(Words, words);
    if (threadIdx.x == 0) words.values[0] = 1.0f;
    __syncwarp();
    p.y[threadIdx.x] = words.values[0];
    if (threadIdx.x < 2) __syncwarp(3);
    if (threadIdx.x == 0) words.values[0] = 2.0f;
}
RIR_KERNEL(test_forgotten_reader, TestParams, 3, forgotten_reader)

__device__ void missing_syncwarp(const TestParams& p) {
    RIR_SHARED(Words, words);
    words.values[threadIdx.x] = p.x[threadIdx.x];
    p.y[threadIdx.x] = words.values[threadIdx.x ^ 1];
}
RIR_KERNEL(test_missing_syncwarp, TestParams, 32, missing_syncwarp)

// A warp's barrier orders that warp only.
__device__ void syncwarp_across_warps(const TestParams& p) {
    RIR_SHARED(Words, words);
    words.values[threadIdx.x] = p.x[threadIdx.x];
    __syncwarp();
    p.y[threadIdx.x] = words.values[threadIdx.x ^ 32];
}
RIR_KERNEL(test_syncwarp_across_warps, TestParams, 64, syncwarp_across_warps)

// Shuffles make threads wait, but do not order their memory.
__device__ void shuffle_as_barrier(const TestParams& p) {
    RIR_SHARED(Words, words);
    words.values[threadIdx.x] = p.x[threadIdx.x];
    const int zero = __shfl_sync(0xffffffffu, 0, 0);
    p.y[threadIdx.x] = words.values[(threadIdx.x ^ 1) + unsigned(zero)];
}
RIR_KERNEL(test_shuffle_as_barrier, TestParams, 32, shuffle_as_barrier)

__device__ void blocks_write_one(const TestParams& p) {
    if (threadIdx.x == 0) p.y[0] = float(blockIdx.x);
}
RIR_KERNEL(test_blocks_write_one, TestParams, 32, blocks_write_one)

__device__ void blocks_read_others(const TestParams& p) {
    if (threadIdx.x > 0) return;
    p.y[blockIdx.x] = 1.0f;
    __threadfence();
    const float other = p.y[blockIdx.x ^ 1];
    if (other > 2.0f) p.y[blockIdx.x] = other;
}
RIR_KERNEL(test_blocks_read_others, TestParams, 32, blocks_read_others)

__device__ void atomic_and_plain(const TestParams& p) {
    atomicAdd(&p.counts[0], 1u);
    if (threadIdx.x == 9) p.y[0] = float(p.counts[0]);
}
RIR_KERNEL(test_atomic_and_plain, TestParams, 32, atomic_and_plain)

__device__ void divergent_barrier(const TestParams& p) {
    if (threadIdx.x < 16) {
        p.y[threadIdx.x] = 1.0f;
        __syncthreads();
    } else {
        __syncthreads();
    }
}
RIR_KERNEL(test_divergent_barrier, TestParams, 64, divergent_barrier)

__device__ void barrier_for_some(const TestParams& p) {
    if (threadIdx.x < 16) __syncthreads();
    p.y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, p.x[threadIdx.x], 1);
}
RIR_KERNEL(test_barrier_for_some, TestParams, 64, barrier_for_some)

__device__ void other_mask(const TestParams& p) {
    __syncwarp(threadIdx.x == 3 ? 0x0000ffffu : 0xffffffffu);
    p.y[threadIdx.x] = 1.0f;
}
RIR_KERNEL(test_other_mask, TestParams, 32, other_mask)

__device__ void mask_without_self(const TestParams& p) {
    p.y[threadIdx.x] = __shfl_sync(0x0000ffffu, p.x[threadIdx.x], 0);
}
RIR_KERNEL(test_mask_without_self, TestParams, 32, mask_without_self)

__device__ void shuffle_from_absent(const TestParams& p) {
    if (threadIdx.x < 16) p.y[threadIdx.x] = __shfl_down_sync(0x0000ffffu, p.x[threadIdx.x], 1);
}
RIR_KERNEL(test_shuffle_from_absent, TestParams, 32, shuffle_from_absent)

__device__ void copy_not_waited_for(const TestParams& p) {
    RIR_SHARED(Words, words);
    ptx::copy_async<4>(&words.values[threadIdx.x], p.x + threadIdx.x);
    ptx::copy_async_commit();
    ptx::copy_async_wait<1>();
    p.y[threadIdx.x] = words.values[threadIdx.x];
}
RIR_KERNEL(test_copy_not_waited_for, TestParams, 32, copy_not_waited_for)

__device__ void copy_without_barrier(const TestParams& p) {
    RIR_SHARED(Words, words);
    ptx::copy_async<4>(&words.values[threadIdx.x], p.x + threadIdx.x);
    ptx::copy_async_wait_all();
    p.y[threadIdx.x] = words.values[threadIdx.x ^ 1];
}
RIR_KERNEL(test_copy_without_barrier, TestParams, 32, copy_without_barrier)

// The barrier comes before the wait: other threads' copies may still be under way.
__device__ void copy_barrier_first(const TestParams& p) {
    RIR_SHARED(Words, words);
    ptx::copy_async<4>(&words.values[threadIdx.x], p.x + threadIdx.x);
    __syncthreads();
    ptx::copy_async_wait_all();
    p.y[threadIdx.x] = words.values[threadIdx.x ^ 1];
}
RIR_KERNEL(test_copy_barrier_first, TestParams, 32, copy_barrier_first)

__device__ float recurse(const float* x, int depth) {
    volatile float frame[64];
    frame[depth % 64] = x[0];
    return depth == 0 ? frame[0] : recurse(x, depth - 1) + frame[depth % 64];
}
__device__ void stack_overflow(const TestParams& p) { p.y[0] = recurse(p.x, 1 << 20); }
RIR_KERNEL(test_stack_overflow, TestParams, 1, stack_overflow)

__device__ void failed_assertion(const TestParams& p) { assert(threadIdx.x != 5 && p.elements > 0); }
RIR_KERNEL(test_failed_assertion, TestParams, 32, failed_assertion)
