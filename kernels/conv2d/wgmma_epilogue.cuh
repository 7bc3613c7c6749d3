// The way out of a convolution on wgmma: a warp group's sums through shared memory, 64 rows by PART columns at a time,
// so that a thread gets eight neighbouring columns of a row, which it finishes and stores (eight.cuh).
//
// Every warp group goes out alone: its barrier is of its 128 threads, its partial sums are of its rows. A column's sum
// over a group's rows is added in an order that the shape alone decides: a thread's rows, then by exchanges the eight
// lanes of a warp that share the column, then the four warps.
#pragma once

#include "eight.cuh"
#include "wgmma_tile.cuh"

namespace conv2d {

// A thread of a warp group, and where its group works.
template <typename Tile>
struct GroupPlace {
    uint32_t thread;        // of the group
    uint32_t first_row;     // of the group
    uint32_t count;         // rows of it that there are
    uint32_t first_column;  // of the tile

    __device__ __forceinline__ GroupPlace(uint32_t first_row, uint32_t rows, uint32_t first_column)
        : thread(threadIdx.x % GROUP_THREADS),
          first_row(first_row),
          count(first_row < rows ? min(Tile::GROUP_ROWS, rows - first_row) : 0),
          first_column(first_column) {}
    // All threads of the group. Number 0 is the block's barrier.
    __device__ __forceinline__ void sync() const {
        ptx::named_barrier_sync(1 + threadIdx.x / GROUP_THREADS, GROUP_THREADS);
    }
    __device__ __forceinline__ uint32_t warp() const { return thread / WARP; }
};

// Puts a part of a group's sums of 64 rows, AT or one of those that follow, where `at` says which, into a place.
// Registers have no index, so each is named.
template <typename Tile, uint32_t AT = 0>
__device__ __forceinline__ void write_part(float (&staged)[WGMMA_ROWS][PART], uint32_t thread,
                                           const typename Tile::Sums& sums, uint32_t at) {
    if constexpr (AT < Tile::COLUMNS / PART * Tile::BLOCKS) {
        if (at != AT) {
            write_part<Tile, AT + 1>(staged, thread, sums, at);
            return;
        }
#pragma unroll
        for (uint32_t j = 0; j < PART / 8; ++j) {
#pragma unroll
            for (uint32_t half = 0; half < 2; ++half) {
                const float* pair = &sums[AT % Tile::BLOCKS][AT / Tile::BLOCKS * (PART / 2) + j * 4 + half * 2];
                const uint32_t row = fragment_row(thread, half);
                const uint32_t column = staged_column(row, fragment_column(thread, j));
                *reinterpret_cast<float2*>(&staged[row][column]) = make_float2(pair[0], pair[1]);
            }
        }
        ptx::keep_apart<AT>();
    }
}

// Puts a part of a group's sums of 64 rows, those of block i, where every thread finds its rows and columns: out.sums,
// in two places, or one where room is short. Parts follow each other; of two places, both have been passed before one
// is taken again, so one barrier a part is enough.
template <typename Tile, typename Out>
__device__ __forceinline__ float (&stage_part(Out& out, const GroupPlace<Tile>& place, const typename Tile::Sums& sums,
                                              uint32_t part, uint32_t i))[WGMMA_ROWS][PART] {
    const uint32_t at = part * Tile::BLOCKS + i;
    float(&staged)[WGMMA_ROWS][PART] = out.sums[at % Out::PLACES];
    if (Out::PLACES == 1 && at > 0) {
        place.sync();
    }
    write_part<Tile>(staged, place.thread, sums, at);
    place.sync();
    return staged;
}

// Rows of a part that a thread finishes.
constexpr uint32_t PART_ROUNDS = WGMMA_ROWS / PART_ROWS_AT_ONCE;

// A thread's row of a part, of those of the group; and its eight sums.
__device__ __forceinline__ uint32_t group_row(uint32_t thread, uint32_t i, uint32_t round) {
    return i * WGMMA_ROWS + part_row(thread, round);
}
__device__ __forceinline__ void read_part(const float (&staged)[WGMMA_ROWS][PART], uint32_t thread, uint32_t round,
                                          Eight& sums) {
    const uint32_t row = part_row(thread, round);
    read_eight(&staged[row][staged_column(row, part_column(thread))], sums);
}

// Sums over the lanes of a warp that have the same columns, an eighth of them in each: the first COUNT / 8 are those of
// columns first_summed on. Of LEFT columns, lanes that differ in BIT keep a half each.
template <uint32_t COUNT, uint32_t LEFT = COUNT, uint32_t BIT = LAST_PART_ROW_BIT>
__device__ __forceinline__ void add_lanes(float (&sums)[COUNT], uint32_t lane) {
    constexpr uint32_t HALF = LEFT / 2;
    const bool upper = (lane & BIT) != 0;
#pragma unroll
    for (uint32_t i = 0; i < HALF; ++i) {
        const float kept = upper ? sums[HALF + i] : sums[i];
        const float given = upper ? sums[i] : sums[HALF + i];
        sums[i] = kept + __shfl_xor_sync(0xffffffffu, given, int(BIT));
    }
    if constexpr (BIT > FIRST_PART_ROW_BIT) {
        add_lanes<COUNT, HALF, BIT / 2>(sums, lane);
    }
}

// Every lane's sum of a column of each part, to its warp's. All parts are out, and whoever reads is waited for.
template <uint32_t COLUMNS>
__device__ __forceinline__ void store_lanes(float (&of_warps)[4][COLUMNS], uint32_t thread,
                                            const float (&of_parts)[COLUMNS / PART]) {
#pragma unroll
    for (uint32_t part = 0; part < COLUMNS / PART; ++part) {
        of_warps[thread / WARP][part * PART + summed_column(thread % WARP)] = of_parts[part];
    }
}

// The sum of the warps' sums of a column, in order.
template <uint32_t COLUMNS>
__device__ __forceinline__ float add_warps(const float (&of_warps)[4][COLUMNS], uint32_t column) {
    float total = 0;
#pragma unroll
    for (uint32_t warp = 0; warp < 4; ++warp) {
        total += of_warps[warp][column];
    }
    return total;
}

}  // namespace conv2d
