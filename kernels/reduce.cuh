// Sums over the rows of a [rows, channels] matrix, per channel, in an order that the shape alone decides.
//
// First pass: blocks of 256 threads; block (chunk, part) takes `chunk_rows` rows and, of the channels, its part of
// gridDim.y, at most MOST_COLUMNS vectors of WIDTH. Its threads are `lanes` rows of `columns` vectors: thread lane *
// columns + column sums rows lane, lane + lanes, ... of the chunk, so a warp reads neighbouring vectors. Then the
// lanes' sums of a channel are added in order, through shared memory, and become the chunk's partial.
//
// Second pass: blocks of FINALISE_COLUMNS channels x lanes, a power of two; a lane adds every lanes-th part, in double,
// and the lanes are added in halves.
#pragma once

#include "vector.cuh"

constexpr uint32_t REDUCE_THREADS = 256;
constexpr uint32_t MOST_COLUMNS = 64;

// The channels, and the rows, of this thread.
template <uint32_t WIDTH>
struct Tile {
    uint32_t columns, lanes;  // of the block
    uint32_t begin;           // the block's first channel
    uint32_t column;          // of this thread
    bool exists;              // whether it is in a lane, as the last few threads may not be, and has channels
    uint64_t first, end;      // its first row, and one past the chunk's last

    __device__ __forceinline__ uint32_t channel() const { return begin + column * WIDTH; }
};

template <uint32_t WIDTH>
__device__ __forceinline__ Tile<WIDTH> tile_of(uint64_t rows, uint32_t channels, uint32_t chunk_rows) {
    const uint32_t vectors = channels / WIDTH, columns = (vectors + gridDim.y - 1) / gridDim.y;
    const uint32_t lanes = REDUCE_THREADS / columns, lane = threadIdx.x / columns, column = threadIdx.x % columns;
    const uint64_t begin = uint64_t(blockIdx.x) * chunk_rows;
    const uint64_t end = begin + chunk_rows;
    const uint32_t vector = blockIdx.y * columns;
    const bool exists = lane < lanes && vector + column < vectors;
    return {columns, lanes, vector * WIDTH, column, exists, begin + lane, end < rows ? end : rows};
}

// A vector of every thread. The four floats between a vector's numbers keep the banks apart: eight neighbouring
// channels of four neighbouring columns, which a warp reads together, lie in 32 banks.
template <uint32_t WIDTH>
struct LaneSums {
    float values[WIDTH][REDUCE_THREADS + 4];
    float totals[WIDTH * MOST_COLUMNS];  // by channel of the block
};

// Adds up the lanes' sums in order; afterwards every thread may read the totals.
template <uint32_t WIDTH>
__device__ __forceinline__ void add_lanes(LaneSums<WIDTH>& shared, const Tile<WIDTH>& tile, const Vector<WIDTH>& sums) {
#pragma unroll
    for (uint32_t k = 0; k < WIDTH; ++k) {
        shared.values[k][threadIdx.x] = sums.at[k];
    }
    __syncthreads();
    for (uint32_t c = threadIdx.x; c < tile.columns * WIDTH; c += REDUCE_THREADS) {
        const float* values = shared.values[c % WIDTH] + c / WIDTH;
        float sum = values[0];
        for (uint32_t lane = 1; lane < tile.lanes; ++lane) {
            sum += values[lane * tile.columns];
        }
        shared.totals[c] = sum;
    }
    __syncthreads();
}

// Writes the totals to `partial` [channels].
template <uint32_t WIDTH>
__device__ __forceinline__ void write_totals(const LaneSums<WIDTH>& shared, const Tile<WIDTH>& tile, uint32_t channels,
                                             float* partial) {
    for (uint32_t c = threadIdx.x; c < tile.columns * WIDTH && tile.begin + c < channels; c += REDUCE_THREADS) {
        partial[tile.begin + c] = shared.totals[c];
    }
}

constexpr uint32_t FINALISE_COLUMNS = 8;
constexpr uint32_t MOST_FINALISE_THREADS = 1024;

template <int COUNT>
struct PartSums {
    double values[COUNT][MOST_FINALISE_THREADS];
};

// Adds up COUNT sums of every lane; the result is right in the threads of lane 0.
template <int COUNT>
__device__ __forceinline__ void add_parts(PartSums<COUNT>& shared, double (&sums)[COUNT]) {
    const uint32_t thread = threadIdx.x;
#pragma unroll
    for (int s = 0; s < COUNT; ++s) {
        shared.values[s][thread] = sums[s];
    }
    for (uint32_t half = blockDim.x / 2; half >= FINALISE_COLUMNS; half /= 2) {
        __syncthreads();
        if (thread < half) {
#pragma unroll
            for (int s = 0; s < COUNT; ++s) {
                sums[s] += shared.values[s][thread + half];
                shared.values[s][thread] = sums[s];
            }
        }
    }
}
