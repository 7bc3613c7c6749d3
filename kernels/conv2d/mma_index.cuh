// The index maths of the tensor-core convolutions: how a tile is shared out to warps, where its 16-byte chunks lie in
// shared memory, and which row of them a lane names. Like index.cuh it compiles for the host; tests/mma_index.cpp
// proves it by brute force.
#pragma once

#include "index.cuh"

namespace conv2d {

// What the chunks of an operand run along, as it lies in global memory.
enum class Chunks { AlongDepth, AcrossDepth };

// Elements of a chunk: 16 bytes of bf16, what one cp.async brings and one row of an 8 x 8 matrix holds.
constexpr uint32_t CHUNK = 8;
// Depth of a stage: two depths of mma.m16n8k16.
constexpr uint32_t MMA_DEPTH = 32;
constexpr uint32_t MMA_STEP = 16;
// Stages of shared memory: three are under way while one is multiplied.
constexpr uint32_t STAGES = 4;

// A block's tile of TILE_ROWS x COLUMNS sums, shared out to warps: 64 rows each where there are columns enough, since a
// warp of WARP_ROWS x WARP_COLUMNS reads WARP_ROWS + WARP_COLUMNS numbers for every WARP_ROWS * WARP_COLUMNS products.
template <uint32_t COLUMNS_>
struct MmaTile {
    static constexpr uint32_t COLUMNS = COLUMNS_;
    static constexpr uint32_t WARP_ROWS = COLUMNS == 32 ? 32 : 64;
    static constexpr uint32_t WARP_COLUMNS = COLUMNS == 32 ? 32 : COLUMNS == 192 ? 48 : COLUMNS / 2;
    static constexpr uint32_t WARPS_OF_ROWS = TILE_ROWS / WARP_ROWS;
    static constexpr uint32_t WARPS = WARPS_OF_ROWS * (COLUMNS / WARP_COLUMNS);
    static constexpr uint32_t THREADS = WARPS * 32;
    static_assert(COLUMNS % WARP_COLUMNS == 0 && WARP_COLUMNS % 16 == 0, "fragments of columns come in pairs");

    // The first row and column of a thread's warp.
    __host__ __device__ static constexpr uint32_t warp_row(uint32_t thread) {
        return thread / 32 % WARPS_OF_ROWS * WARP_ROWS;
    }
    __host__ __device__ static constexpr uint32_t warp_column(uint32_t thread) {
        return thread / 32 / WARPS_OF_ROWS * WARP_COLUMNS;
    }
};

// Where, in the warp's 16 x 8 sums of an mma, a lane's sum l of 4 lies.
__host__ __device__ constexpr uint32_t sum_row(uint32_t lane, uint32_t l) { return lane / 4 + l / 2 * 8; }
__host__ __device__ constexpr uint32_t sum_column(uint32_t lane, uint32_t l) { return lane % 4 * 2 + l % 2; }

// The four 8 x 8 matrices of an ldmatrix.x4 make a 16 x 16 part of an operand, `at` (rows or columns) x depth. Of the
// row operand mma takes them by `at` first, of the column operand by depth first: that makes two 8-column fragments.
// Lane 8 i + r names row r of matrix i; these are its matrix's place in the part.
__host__ __device__ constexpr uint32_t part_at(uint32_t lane, bool row_operand) {
    return (row_operand ? lane / 8 % 2 : lane / 16) * 8;
}
__host__ __device__ constexpr uint32_t part_depth(uint32_t lane, bool row_operand) {
    return (row_operand ? lane / 16 : lane / 8 % 2) * 8;
}

// Where chunk `chunk` of a line of CHUNKS chunks lies: at this index of the tile.
//
// An 8 x 8 matrix is the same chunk of eight neighbouring lines, and eight chunks fill the 32 banks once. Lines of a
// multiple of 8 chunks begin at the same bank: XOR with the line sends the eight to eight places. Other lines are an
// odd multiple of 4 chunks, so neighbours begin half of the banks apart, and XOR with every second line's number sends
// the four of each half to four places.
template <uint32_t CHUNKS>
__host__ __device__ constexpr uint32_t swizzled_chunk(uint32_t line, uint32_t chunk) {
    static_assert(CHUNKS % 4 == 0, "four chunks are half of the banks");
    return line * CHUNKS + (chunk ^ (CHUNKS % 8 == 0 ? line % 8 : line / 2 % 4));
}

// How THREADS threads fill a tile of LINES lines of CHUNKS chunks, each in LINE_ROUNDS x CHUNK_ROUNDS places. GROUP
// neighbours take the chunks of a line that the swizzle exchanges, so each eight threads meet all banks once; and all
// rounds keep to the same swizzle, so a thread's further places lie at fixed distances from its first.
template <uint32_t LINES, uint32_t CHUNKS, uint32_t THREADS>
struct Filling {
    static constexpr uint32_t GROUP = CHUNKS % 8 == 0 ? 8 : 4;
    static constexpr uint32_t LINES_AT_ONCE = THREADS / GROUP;
    static constexpr uint32_t LINE_ROUNDS = LINES / LINES_AT_ONCE;
    static constexpr uint32_t CHUNK_ROUNDS = CHUNKS / GROUP;
    static_assert(LINES % LINES_AT_ONCE == 0 && LINES_AT_ONCE % 8 == 0, "no thread is left over; one swizzle a thread");

    __host__ __device__ static constexpr uint32_t line(uint32_t thread, uint32_t line_round) {
        return thread / GROUP + line_round * LINES_AT_ONCE;
    }
    __host__ __device__ static constexpr uint32_t chunk(uint32_t thread, uint32_t chunk_round) {
        return thread % GROUP + chunk_round * GROUP;
    }
    __host__ __device__ static constexpr uint32_t place(uint32_t thread, uint32_t line_round, uint32_t chunk_round) {
        return swizzled_chunk<CHUNKS>(line(thread, 0), chunk(thread, 0)) + line_round * LINES_AT_ONCE * CHUNKS +
               chunk_round * GROUP;
    }
};

// -- The padding, of a pixel's taps: known before the first step, so that a step asks in one AND. --

// Taps of a dimension at most, where bits tell which of them read the padding.
constexpr uint32_t MOST_TAPS = 16;

// Bits 0 .. n - 1; none where n is negative.
__host__ __device__ constexpr uint32_t first_bits(int32_t n) {
    const int32_t count = n < 0 ? 0 : n > int32_t(MOST_TAPS) ? int32_t(MOST_TAPS) : n;
    return (1u << count) - 1;
}
// Bits of the taps of a line that read nothing from `origin`, of a source of `extent` positions: all but those from the
// first that is inside to the last.
__host__ __device__ constexpr uint32_t taps_outside(const Line& line, int32_t origin, uint32_t extent) {
    const int32_t first = line.direction > 0 ? -origin : origin - int32_t(extent) + 1;
    return first_bits(int32_t(line.taps)) & (first_bits(first) | ~first_bits(first + int32_t(extent)));
}
// The same of both dimensions: bit i of the taps of row i, bit MOST_TAPS + j of those of column j.
__host__ __device__ constexpr uint32_t taps_outside(const Line& rows, const Line& columns, int32_t y, int32_t x,
                                                    uint32_t height, uint32_t width) {
    return taps_outside(rows, y, height) | taps_outside(columns, x, width) << MOST_TAPS;
}
// Those that decide about tap (i, j).
__host__ __device__ constexpr uint32_t tap_bits(uint32_t i, uint32_t j) { return (1u << i) | (1u << (MOST_TAPS + j)); }
// As of pixels that are none: every tap is outside.
constexpr uint32_t ALL_OUTSIDE = ~0u;

// -- The way out: sums as [rows][PASS_COLUMNS] of f32, eight neighbours a thread. --

// A tile wider than 96 columns goes out in two passes, so that the sums fit where the stages were.
__host__ __device__ constexpr uint32_t pass_columns(uint32_t columns) { return columns > 96 ? columns / 2 : columns; }

// Where in its row column `column` lies. A warp's half writes pairs of eight columns of four neighbouring rows, and
// rows are whole rounds of the banks: XOR moves each of the four by a quarter.
__host__ __device__ constexpr uint32_t staged_column(uint32_t row, uint32_t column) { return column ^ (row % 4 * 8); }

}  // namespace conv2d
