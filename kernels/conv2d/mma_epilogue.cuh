// The way out of a tensor-core convolution: sums through shared memory, so that a thread gets eight neighbouring
// columns of a row, which it finishes in f32 and stores as 16 bytes.
//
// A tile goes out in passes of PASS columns. Thread t owns columns 8 (t % GROUPS) on, and rows t / GROUPS, + ROW_LANES,
// ...: its columns never change, so it sums them up over its rows in registers; a column's ROW_LANES sums are then
// added in order through shared memory.
#pragma once

#include "../vector.cuh"
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

// Eight numbers of a thread.
using Eight = float[CHUNK];

// Eight neighbouring numbers of shared memory as two vectors. Every other four lanes take the second first, so that
// eight lanes, of 32 bytes each, meet all banks once.
__device__ __forceinline__ void read_eight(const float* from, Eight& v) {
    const uint32_t second = threadIdx.x / 4 % 2;
    const float4 a = reinterpret_cast<const float4*>(from)[second];
    const float4 b = reinterpret_cast<const float4*>(from)[1 - second];
    const bool turned = second != 0;
    v[0] = turned ? b.x : a.x;
    v[1] = turned ? b.y : a.y;
    v[2] = turned ? b.z : a.z;
    v[3] = turned ? b.w : a.w;
    v[4] = turned ? a.x : b.x;
    v[5] = turned ? a.y : b.y;
    v[6] = turned ? a.z : b.z;
    v[7] = turned ? a.w : b.w;
}
__device__ __forceinline__ void write_eight(float* to, const Eight& v) {
    const uint32_t second = threadIdx.x / 4 % 2;
    const bool turned = second != 0;
    reinterpret_cast<float4*>(to)[second] =
        make_float4(turned ? v[4] : v[0], turned ? v[5] : v[1], turned ? v[6] : v[2], turned ? v[7] : v[3]);
    reinterpret_cast<float4*>(to)[1 - second] =
        make_float4(turned ? v[0] : v[4], turned ? v[1] : v[5], turned ? v[2] : v[6], turned ? v[3] : v[7]);
}

// Elements at .. at + 8 of a run that ends at `end`; 0 past the end, and where there is no run. `whole`: the run begins
// on 16 bytes.
__device__ __forceinline__ void load_eight(const bf16* run, uint32_t at, uint32_t end, bool whole, Eight& v) {
    if (run != nullptr && whole && at + CHUNK <= end) {
        ::load_eight(run + at, v);
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; ++i) {
        v[i] = run != nullptr && at + i < end ? load(run[at + i]) : 0;
    }
}

// Rounds to bf16 and stores what lies before `end`; v is left as it was stored.
__device__ __forceinline__ void store_eight(bf16* run, uint32_t at, uint32_t end, bool whole, Eight& v) {
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; ++i) {
        v[i] = load(store<bf16>(v[i]));
    }
    if (whole && at + CHUNK <= end) {
        ::store_eight(run + at, v);
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; ++i) {
        if (at + i < end) {
            run[at + i] = store<bf16>(v[i]);
        }
    }
}

// The mask's bits of `count` elements, at most 8, from `at` on. `whole`: they are one byte.
__device__ __forceinline__ uint32_t load_bits(const uint8_t* mask, uint64_t at, uint32_t count, bool whole) {
    if (whole) {
        return passing<CHUNK>(mask, at);
    }
    uint32_t bits = 0;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; ++i) {
        bits |= uint32_t(i < count && mask_bit(mask, at + i)) << i;
    }
    return bits;
}

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
