// Sums over the rows of a [rows, channels] matrix, per channel, in an order that the shape alone decides.
//
// First pass: blocks of COLUMNS x LANES threads (256); block (chunk, group) takes `chunk_rows` rows and COLUMNS
// channels. Thread (x, y) owns channel group * COLUMNS + x and sums rows y, y + LANES, ... of the chunk, so a warp
// reads 32 neighbouring channels of one row. Then the LANES sums of a channel are added in the order of y, through
// shared memory, and become the chunk's partial. Second pass: one thread a channel adds the chunks in order, in double.
#pragma once

#include "layout.cuh"

constexpr uint32_t COLUMNS = 32;
constexpr uint32_t LANES = 8;
constexpr uint32_t REDUCE_THREADS = COLUMNS * LANES;

// The channel, and the rows, of this thread.
struct RowRange {
    uint32_t channel;
    uint32_t lane;
    uint64_t first;  // its first row
    uint64_t end;    // one past the chunk's last row
};

__device__ __forceinline__ RowRange row_range(uint64_t rows, uint32_t chunk_rows) {
    const uint32_t lane = threadIdx.x / COLUMNS;
    const uint64_t begin = uint64_t(blockIdx.x) * chunk_rows;
    const uint64_t end = begin + chunk_rows;
    return {blockIdx.y * COLUMNS + threadIdx.x % COLUMNS, lane, begin + lane, end < rows ? end : rows};
}

// COUNT sums of every thread, one row a lane: lanes are added in order by the threads of lane 0.
template <int COUNT>
struct LaneSums {
    float sums[COUNT][LANES][COLUMNS];
};

// Adds up the block's lanes; the result is right in the threads of lane 0.
template <int COUNT>
__device__ __forceinline__ void add_lanes(LaneSums<COUNT>& shared, uint32_t lane, float (&sums)[COUNT]) {
    const uint32_t column = threadIdx.x % COLUMNS;
    for (int s = 0; s < COUNT; ++s) {
        shared.sums[s][lane][column] = sums[s];
    }
    __syncthreads();
    if (lane == 0) {
        for (int s = 0; s < COUNT; ++s) {
            for (uint32_t other = 1; other < LANES; ++other) {
                sums[s] += shared.sums[s][other][column];
            }
        }
    }
}
