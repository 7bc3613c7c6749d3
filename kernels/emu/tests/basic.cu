#include "rir.cuh"

struct SumParams {
    const float* x;
    float* sums;
    uint64_t elements;
};

struct SumShared {
    float partial[8];
};

// The sum of each block's part: within warps by shuffles, across warps through shared memory.
__device__ void block_sum(const SumParams& p) {
    RIR_SHARED(SumShared, shared);
    float sum = 0;
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) sum += p.x[i];
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % WARP == 0) shared.partial[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        float total = 0;
        for (unsigned i = 0; i < blockDim.x / WARP; ++i) total += shared.partial[i];
        p.sums[blockIdx.x] = total;
    }
}
RIR_KERNEL(block_sum, SumParams, 256, block_sum)
