// The way out of a convolution on wgmma: a warp group finishes its sums in registers, in f32, PART columns at a time;
// rounds them; and stores them as lines of 64 bytes, through shared memory.
//
// Every warp group goes out alone: its barrier is of its 128 threads, its partial sums are of its rows. A column's sum
// over a group's rows is added in an order that the shape alone decides: a thread's rows, then by exchanges the eight
// lanes that share the column, then the four warps.
#pragma once

#include "../vector.cuh"
#include "epilogue.cuh"
#include "wgmma_tile.cuh"

namespace conv2d {

// What a warp group needs of shared memory to go out, with partial sums of so many quantities.
template <uint32_t COLUMNS, uint32_t QUANTITIES>
struct WayOut {
    uint4 lines[2][WGMMA_ROWS * PART_CHUNKS];  // taken in turns, see part_chunk
    float of_warps[QUANTITIES][4][COLUMNS];
    float means[COLUMNS];
};

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
    // Of the group: the row of a thread's sums of block i.
    __device__ __forceinline__ uint32_t row(uint32_t i, uint32_t half) const {
        return i * WGMMA_ROWS + fragment_row(thread, half);
    }
    // Of the product: the first column of the thread's pair j of a part.
    __device__ __forceinline__ uint32_t column(uint32_t part, uint32_t j) const {
        return first_column + part * PART + fragment_column(thread, j);
    }
};

// A thread's numbers of a part of 64 rows: of each 8 columns a pair of one row, and a pair of the row 8 below.
using PartSums = float[PART / 8][4];
// Its sums of the columns of a part.
using ColumnSums = float[PART / 4];

__device__ __forceinline__ uint32_t pack_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return uint32_t(__bfloat16_as_ushort(pair.x)) | uint32_t(__bfloat16_as_ushort(pair.y)) << 16;
}
__device__ __forceinline__ float2 unpack_pair(uint32_t pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

// Elements at and at + 1, an even number, of a run that ends at `end`; 0 past the end. Runs begin at even elements.
__device__ __forceinline__ float2 load_pair(const bf16* run, uint32_t at, uint32_t end) {
    if (at + 2 <= end) {
        return unpack_pair(*reinterpret_cast<const uint32_t*>(run + at));
    }
    return make_float2(at < end ? load(run[at]) : 0, 0);
}

// Rounds a part to bf16, as it is stored; its sums are left as rounded, and lie in `lines` once the group has met.
__device__ __forceinline__ void stage_part(uint4* lines, uint32_t thread, PartSums& part) {
    const uint32_t lane = thread % WARP;
    const uint32_t line = thread / WARP * 16 + part_matrix_half(lane) * 8 + lane % 8;
#pragma unroll
    for (uint32_t j = 0; j < PART / 8; j += 2) {
        uint32_t pairs[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
            float* pair = &part[j + i / 2][i % 2 * 2];
            pairs[i] = pack_pair(pair[0], pair[1]);
            const float2 rounded = unpack_pair(pairs[i]);
            pair[0] = rounded.x;
            pair[1] = rounded.y;
        }
        ptx::store_matrices(&lines[part_chunk(line, j + part_matrix_chunk(lane))], pairs);
    }
}

// Stores `count` lines of a part, of which `columns` columns exist, a multiple of eight. `run(line)` is where a line
// begins.
template <typename Run>
__device__ __forceinline__ void copy_part(const uint4* lines, uint32_t thread, uint32_t count, uint32_t columns,
                                          Run run) {
    const uint32_t chunk = thread % PART_CHUNKS;
#pragma unroll
    for (uint32_t round = 0; round < WGMMA_ROWS * PART_CHUNKS / GROUP_THREADS; ++round) {
        const uint32_t line = thread / PART_CHUNKS + round * (GROUP_THREADS / PART_CHUNKS);
        if (line < count && chunk * CHUNK < columns) {
            *reinterpret_cast<uint4*>(run(line) + chunk * CHUNK) = lines[part_chunk(line, chunk)];
        }
    }
}

// The sum over the eight lanes that hold a column: each exchange halves the columns that a lane still has. What is left
// is that of column summed_column(lane).
__device__ __forceinline__ float add_lanes(ColumnSums& sums, uint32_t lane) {
    static_assert(sizeof(ColumnSums) == 8 * sizeof(float));
#pragma unroll
    for (uint32_t half = 4; half >= 1; half /= 2) {
        const bool upper = (lane & half * 4) != 0;
#pragma unroll
        for (uint32_t i = 0; i < half; ++i) {
            const float kept = upper ? sums[half + i] : sums[i];
            const float given = upper ? sums[i] : sums[half + i];
            sums[i] = kept + __shfl_xor_sync(0xffffffffu, given, int(half * 4));
        }
    }
    return sums[0];
}

// The sum of the warps' sums of a column, in order.
template <uint32_t COLUMNS>
__device__ __forceinline__ float add_warps(const float (&of_warps)[4][COLUMNS], uint32_t column) {
    float total = 0;
#pragma unroll
    for (const float(&warp)[COLUMNS] : of_warps) {
        total += warp[column];
    }
    return total;
}

// The part `part` of a thread's sums of 64 rows.
template <uint32_t SUMS>
__device__ __forceinline__ void take_part(PartSums& values, const float (&sums)[SUMS], uint32_t part) {
#pragma unroll
    for (uint32_t at = 0; at < PART / 2; ++at) {
        values[at / 4][at % 4] = sums[part * (PART / 2) + at];
    }
}

}  // namespace conv2d
