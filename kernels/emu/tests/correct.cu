// Programs that CUDA's documentation allows: whatever the order of threads, no fault and one result.
#include "params.hpp"
#include "ptx.cuh"

struct Partials {
    float sums[32];
};

// Sums by shuffles within warps, and through shared memory across them.
__device__ void block_sum(const TestParams& p) {
    RIR_SHARED(Partials, shared);
    float sum = 0;
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) sum += p.x[i];
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    if (lane == 0) shared.sums[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        sum = lane < warps ? shared.sums[lane] : 0.0f;
        for (int distance = WARP / 2; distance > 0; distance /= 2) sum += __shfl_down_sync(0xffffffffu, sum, distance);
        if (lane == 0) p.y[blockIdx.x] = sum;
    }
}
RIR_KERNEL(test_block_sum, TestParams, 1024, block_sum)

// A tree in shared memory: the last five steps are one warp's, and need its barrier only.
struct Tree {
    float values[256];
};
__device__ void tree_sum(const TestParams& p) {
    RIR_SHARED(Tree, shared);
    const unsigned t = threadIdx.x;
    shared.values[t] = p.x[blockIdx.x * 256 + t];
    __syncthreads();
    for (unsigned half = 128; half >= 32; half /= 2) {
        if (t < half) shared.values[t] += shared.values[t + half];
        __syncthreads();
    }
    if (t < 32) {
        float value = shared.values[t];
        for (unsigned half = 16; half > 0; half /= 2) {
            if (t < 32 - half) value += shared.values[t + half];
            __syncwarp();
            shared.values[t] = value;
            __syncwarp();
        }
    }
    if (t == 0) p.y[blockIdx.x] = shared.values[0];
}
RIR_KERNEL(test_tree_sum, TestParams, 256, tree_sum)

// A square matrix of `elements` rows, transposed by tiles that a column of padding keeps free of bank conflicts.
struct Tile {
    float at[32][33];
};
__device__ void transpose(const TestParams& p) {
    RIR_SHARED(Tile, tile);
    const uint64_t rows = p.elements, row = blockIdx.y * 32, column = blockIdx.x * 32;
    for (unsigned y = threadIdx.y; y < 32; y += blockDim.y) {
        tile.at[y][threadIdx.x] = p.x[(row + y) * rows + column + threadIdx.x];
    }
    __syncthreads();
    for (unsigned y = threadIdx.y; y < 32; y += blockDim.y) {
        p.y[(column + y) * rows + row + threadIdx.x] = tile.at[threadIdx.x][y];
    }
}
RIR_KERNEL(test_transpose, TestParams, 256, transpose)

// Counts in shared memory first, then in global memory, both by atomics.
struct Bins {
    unsigned counts[16];
};
__device__ void histogram(const TestParams& p) {
    RIR_SHARED(Bins, bins);
    if (threadIdx.x < 16) bins.counts[threadIdx.x] = 0;
    __syncthreads();
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) atomicAdd(&bins.counts[int(p.x[i]) & 15], 1u);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(&p.counts[threadIdx.x], bins.counts[threadIdx.x]);
}
RIR_KERNEL(test_histogram, TestParams, 256, histogram)

// Each thread stores one byte, and one bf16, beside those of others.
__device__ void narrow_neighbours(const TestParams& p) {
    const uint64_t i = grid_thread();
    if (i >= p.elements) return;
    reinterpret_cast<unsigned char*>(p.counts)[i] = (unsigned char)(i);
    reinterpret_cast<bf16*>(p.y)[i] = store<bf16>(p.x[i]);
}
RIR_KERNEL(test_narrow_neighbours, TestParams, 256, narrow_neighbours)

// All threads of a warp read what one wrote; after the warp's barrier it is written anew.
struct Word {
    float value;
};
__device__ void warp_broadcast(const TestParams& p) {
    RIR_SHARED(Word, word);
    float sum = 0;
    for (unsigned i = 0; i < 8; ++i) {
        if (threadIdx.x == i) word.value = p.x[i];
        __syncwarp();
        sum += word.value;
        __syncwarp();
    }
    p.y[threadIdx.x] = sum;
}
RIR_KERNEL(test_warp_broadcast, TestParams, 32, warp_broadcast)

// Threads that have exited are not waited for, in a barrier or a warp.
__device__ void early_exit(const TestParams& p) {
    if (threadIdx.x >= p.elements) return;
    RIR_SHARED(Tree, shared);
    shared.values[threadIdx.x] = p.x[threadIdx.x];
    __syncthreads();
    const float value = shared.values[p.elements - 1 - threadIdx.x];
    __syncwarp();
    p.y[threadIdx.x] = value;
}
RIR_KERNEL(test_early_exit, TestParams, 256, early_exit)

// Both halves of a warp shuffle on their own.
__device__ void half_warps(const TestParams& p) {
    const bool upper = threadIdx.x % WARP >= 16;
    float value = p.x[threadIdx.x];
    if (upper) {
        value = __shfl_sync(0xffff0000u, value, 16);
    } else {
        value = __shfl_sync(0x0000ffffu, value, 3);
    }
    p.y[threadIdx.x] = value;
}
RIR_KERNEL(test_half_warps, TestParams, 256, half_warps)

// What shuffles of segments give, lane by lane, and votes.
__device__ void warp_primitives(const TestParams& p) {
    const int lane = int(ptx::lane_id());
    unsigned* out = p.counts + lane * 10;
    const unsigned all = 0xffffffffu;
    out[0] = unsigned(__shfl_sync(all, lane, 5, 8));
    out[1] = unsigned(__shfl_up_sync(all, lane, 3, 16));
    out[2] = unsigned(__shfl_down_sync(all, lane, 3, 16));
    out[3] = unsigned(__shfl_xor_sync(all, lane, 9));
    out[4] = unsigned(__shfl_xor_sync(all, lane, 8, 8));
    out[5] = __ballot_sync(all, lane % 3 == 0);
    out[6] = unsigned(__all_sync(all, lane < 32)) * 2 + unsigned(__all_sync(all, lane < 31));
    out[7] = unsigned(__any_sync(all, lane == 7)) * 2 + unsigned(__any_sync(all, lane == 32));
    out[8] = unsigned(__shfl_sync(all, double(lane) * 0.5, 31 - lane) * 2.0);
    out[9] = __activemask() >> lane & 1;
}
RIR_KERNEL(test_warp_primitives, TestParams, 32, warp_primitives)

__device__ void barrier_votes(const TestParams& p) {
    const int odd = threadIdx.x % 2, count = __syncthreads_count(odd);
    const int all = __syncthreads_and(threadIdx.x < 96), none = __syncthreads_and(odd);
    const int any = __syncthreads_or(threadIdx.x == 95);
    p.counts[threadIdx.x] = unsigned(count * 1000 + (all != 0) * 100 + (none != 0) * 10 + (any != 0));
}
RIR_KERNEL(test_barrier_votes, TestParams, 96, barrier_votes)

// Two stages of dynamic shared memory, filled by cp.async while the other is summed.
struct Stages {
    float4 values[2][64];
};
__device__ void double_buffer(const TestParams& p) {
    RIR_SHARED_DYNAMIC(Stages, stages);
    const unsigned t = threadIdx.x, steps = unsigned(p.elements / 256);
    const float4* x = reinterpret_cast<const float4*>(p.x);
    ptx::copy_async<16>(&stages.values[0][t], x + t);
    ptx::copy_async_commit();
    float sum = 0;
    for (unsigned step = 0; step < steps; ++step) {
        if (step + 1 < steps) ptx::copy_async<16>(&stages.values[(step + 1) % 2][t], x + (step + 1) * 64 + t);
        ptx::copy_async_commit();
        ptx::copy_async_wait<1>();
        __syncthreads();
        const float4 other = stages.values[step % 2][63 - t];
        sum += other.x + other.y + other.z + other.w;
        __syncthreads();
    }
    p.y[t] = sum;
}
RIR_KERNEL(test_double_buffer, TestParams, 64, double_buffer)

// 16 bytes at a time.
__device__ void copy_vectors(const TestParams& p) {
    const uint64_t i = grid_thread();
    if (i * 4 < p.elements) {
        ptx::store_streaming(reinterpret_cast<uint4*>(p.y) + i,
                             ptx::load_streaming(reinterpret_cast<const uint4*>(p.x) + i));
    }
}
RIR_KERNEL(test_copy_vectors, TestParams, 256, copy_vectors)

// A flag that threads poll and set, both as volatile, is no race; nor are atomics beside volatile reads.
__device__ void strong_accesses(const TestParams& p) {
    volatile unsigned* flag = p.counts;
    if (threadIdx.x == 5) *flag = 1;
    p.y[threadIdx.x] = *flag <= 1 ? 1.0f : 0.0f;
    atomicMax(&p.counts[1], threadIdx.x);
    volatile unsigned* most = p.counts + 1;
    if (*most < threadIdx.x) p.y[threadIdx.x] = -1.0f;
}
RIR_KERNEL(test_strong_accesses, TestParams, 256, strong_accesses)
