// The way out of a tensor-core convolution: sums through shared memory, so that a thread gets eight neighbouring
// columns of a row, which it finishes in f32 and stores as 16 bytes.
//
// A tile goes out in passes of PASS columns. Thread t owns columns 8 (t % GROUPS) on, and rows t / GROUPS, + ROW_LANES,
// ...: its columns never change, so it sums them up over its rows in registers; a column's ROW_LANES sums are then
// added in order through shared memory.
#pragma once

#include "eight.cuh"
#include "mma_tile.cuh"

namespace conv2d {

template <typename Tile>
struct Staging {
    static constexpr uint32_t PASS = pass_columns(Tile::COLUMNS);
    static constexpr uint32_t PASSES = Tile::COLUMNS / PASS;
    static constexpr uint32_t GROUPS = PASS / CHUNK;
    static constexpr uint32_t ROW_LANES = Tile::THREADS / GROUPS;
    static_assert(PASS % 32 == 0, "rows are whole rounds of the banks");
    static_assert(PASS % Tile::WARP_COLUMNS == 0, "a warp goes out in one pass");
    static_assert(PASS <= Tile::THREADS, "a thread a column adds up the lanes");

    float sums[TILE_ROWS][PASS];   // see staged_column
    float lanes[ROW_LANES][PASS];  // of each lane of rows, its sums of the columns
    float totals[PASS];

    // The thread's place; threads that are left over have none.
    __device__ __forceinline__ static uint32_t group() { return threadIdx.x % GROUPS; }
    __device__ __forceinline__ static uint32_t row_lane() { return threadIdx.x / GROUPS; }
    __device__ __forceinline__ static bool has_place() { return row_lane() < ROW_LANES; }
    // Its first column in the tile.
    __device__ __forceinline__ static uint32_t column(uint32_t pass) { return pass * PASS + group() * CHUNK; }
    // Its eight sums of a row.
    __device__ __forceinline__ float* at(uint32_t row) { return &sums[row][staged_column(row, group() * CHUNK)]; }
};

// Puts the sums of a pass where every thread finds its rows and columns. Between passes, whoever still reads is waited
// for; before the first, `multiply` has done so.
template <typename Tile>
__device__ __forceinline__ void stage_sums(Staging<Tile>& staging, const MmaSums<Tile>& sums, uint32_t pass) {
    using S = Staging<Tile>;
    if (pass > 0) {
        __syncthreads();
    }
    const uint32_t lane = threadIdx.x % WARP;
    const uint32_t first = Tile::warp_column(threadIdx.x);
    if (first / S::PASS == pass) {
#pragma unroll
        for (uint32_t i = 0; i < Tile::WARP_ROWS / 16; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < Tile::WARP_COLUMNS / 8; ++j) {
#pragma unroll
                for (uint32_t l = 0; l < 4; l += 2) {
                    const uint32_t row = Tile::warp_row(threadIdx.x) + i * 16 + sum_row(lane, l);
                    const uint32_t column = first % S::PASS + j * 8 + sum_column(lane, l);
                    *reinterpret_cast<float2*>(&staging.sums[row][staged_column(row, column)]) =
                        make_float2(sums[i][j][l], sums[i][j][l + 1]);
                }
            }
        }
    }
    __syncthreads();
}

// Adds every thread's sums of its columns up, in the order of lanes. The result is that of column threadIdx.x, in the
// first PASS threads. Two calls need a barrier between them.
template <typename Tile>
__device__ __forceinline__ float add_row_lanes(Staging<Tile>& staging, const Eight& sums) {
    using S = Staging<Tile>;
    if (S::has_place()) {
        write_eight(&staging.lanes[S::row_lane()][S::group() * CHUNK], sums);
    }
    __syncthreads();
    float total = 0;
    if (threadIdx.x < S::PASS) {
        for (uint32_t lane = 0; lane < S::ROW_LANES; ++lane) {
            total += staging.lanes[lane][threadIdx.x];
        }
    }
    return total;
}

}  // namespace conv2d
