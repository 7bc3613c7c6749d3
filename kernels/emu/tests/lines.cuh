// Lines of shared memory with barriers, as programs that break a rule use them.
#pragma once

#include "params.hpp"
#include "ptx_hopper.cuh"

struct alignas(1024) Lines {
    float values[4][32];
    ptx::Barrier full, empty, spare;
};

// Makes two barriers known to all threads and to copies: `full` of one arrival, `empty` of `users`.
__device__ __forceinline__ void begin(Lines& lines, uint32_t users = 1) {
    if (threadIdx.x == 0) {
        ptx::barrier_init(lines.full, 1);
        ptx::barrier_init(lines.empty, users);
        ptx::fence_barrier_init();
    }
    __syncthreads();
}

// By one thread.
__device__ __forceinline__ void load_line(const CopyParams& p, Lines& lines, uint32_t line) {
    ptx::barrier_arrive_and_expect(lines.full, sizeof lines.values[line]);
    ptx::load_box(lines.values[line], p.maps[0], lines.full, 0, int32_t(line), 0);
}
