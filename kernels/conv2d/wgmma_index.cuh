// The index maths of the convolutions on wgmma: how an operand lies in shared memory, as bulk copies bring it and as
// descriptors name it, and which sums a thread holds. Compiles for the host; tests/wgmma_index.cpp proves it.
#pragma once

#include "mma_index.cuh"

namespace conv2d {

constexpr uint32_t BF16_BYTES = 2;
// Rows and depth of one wgmma, and threads of the group that executes it.
constexpr uint32_t WGMMA_ROWS = 64;
constexpr uint32_t WGMMA_STEP = 16;
constexpr uint32_t GROUP_THREADS = 128;
// Lines are whole rounds of a swizzle from here on: 8 lines of 128 bytes.
constexpr uint32_t SWIZZLE_ALIGNMENT = 1024;

// An operand of a stage: WIDTH rows or columns, DEPTH deep, in boxes of lines of SPAN elements, each as a bulk copy
// leaves it. A line is as wide as its swizzle, 64 elements or 32, so that none of 8 neighbours shares a bank.
//     AlongDepth: a line is SPAN of the depth of one row; a box has WIDTH lines, and DEPTH / SPAN boxes follow each
//     other. AcrossDepth: a line is SPAN of the width at one depth; a box has DEPTH lines, and WIDTH / SPAN boxes
//     follow.
template <Chunks ORDER_, uint32_t WIDTH_, uint32_t DEPTH_, uint32_t SPAN_>
struct WgmmaOperand {
    static constexpr Chunks ORDER = ORDER_;
    static constexpr uint32_t WIDTH = WIDTH_, DEPTH = DEPTH_, SPAN = SPAN_;
    static constexpr bool ALONG_DEPTH = ORDER == Chunks::AlongDepth;
    static constexpr uint32_t LINES = ALONG_DEPTH ? WIDTH : DEPTH;
    static constexpr uint32_t BOXES = (ALONG_DEPTH ? DEPTH : WIDTH) / SPAN;
    static constexpr uint32_t LINE_BYTES = SPAN * BF16_BYTES;
    static constexpr uint32_t BOX_BYTES = LINES * LINE_BYTES;
    static constexpr uint32_t BYTES = BOXES * BOX_BYTES;
    static_assert(SPAN == 64 || SPAN == 32);
    static_assert((ALONG_DEPTH ? DEPTH : WIDTH) % SPAN == 0 && DEPTH % WGMMA_STEP == 0);
    static_assert(BOX_BYTES % (8 * LINE_BYTES) == 0 && BYTES % SWIZZLE_ALIGNMENT == 0);

    // Of the descriptor: from a group of eight lines to the next, and, across the depth, from a box to the next.
    static constexpr uint32_t STRIDE = 8 * LINE_BYTES;
    static constexpr uint32_t LEADING = ALONG_DEPTH ? 0 : BOX_BYTES;

    // Where 16 depths from WGMMA_STEP * step on, of rows or columns from `first` on, begin; in bytes.
    __host__ __device__ static constexpr uint32_t offset(uint32_t first, uint32_t step) {
        const uint32_t depth = step * WGMMA_STEP;
        return ALONG_DEPTH ? depth / SPAN * BOX_BYTES + first * LINE_BYTES + depth % SPAN * BF16_BYTES
                           : first / SPAN * BOX_BYTES + depth * LINE_BYTES;
    }
    // Where an element lies; in bytes. The swizzle exchanges chunks of 16 bytes by the bits of the address above a line
    // of 128: of lines of 128 bytes by all three of eight lines, of 64 by two.
    __host__ __device__ static constexpr uint32_t place(uint32_t at, uint32_t depth) {
        const uint32_t line = ALONG_DEPTH ? at : depth, along = ALONG_DEPTH ? depth : at;
        const uint32_t flat = along / SPAN * BOX_BYTES + line * LINE_BYTES + along % SPAN * BF16_BYTES;
        return flat ^ (flat / 128 % (LINE_BYTES / 16)) * 16;
    }
};

// Where copies are in the depth of a tile: its channels in spans, then its taps, row by row. Counted, since a division
// would take as long as a copy may.
struct TapSpan {
    uint32_t channel, row, column;

    __host__ __device__ constexpr void advance(uint32_t span, uint32_t channels, uint32_t tap_columns) {
        channel += span;
        if (channel == channels) {
            channel = 0;
            if (++column == tap_columns) {
                column = 0;
                ++row;
            }
        }
    }
};

// Taps below each other, which read the same patch.
constexpr uint32_t HALO_TAPS = 3;
// How the rows of a tile lie in images of height x width, and in a patch: of each image so many rows, and one more
// above and below.
struct Patch {
    uint32_t width, rows, images;  // rows of an image, without the halo

    __host__ __device__ constexpr Patch(uint32_t tile_rows, uint32_t height, uint32_t width)
        : width(width),
          rows(height < tile_rows / width ? height : tile_rows / width),
          images(tile_rows / (rows * width)) {}
    __host__ __device__ constexpr uint32_t lines() const { return images * (rows + HALO_TAPS - 1) * width; }
    // The line that the first tap of row `row` of the tile reads.
    __host__ __device__ constexpr uint32_t line(uint32_t row) const {
        const uint32_t image_row = row / width;
        return (image_row + image_row / rows * (HALO_TAPS - 1)) * width + row % width;
    }
};

// The row, of the 64 of a wgmma, of a thread's sums 4 j and 4 j + 1 (half 0) or 4 j + 2 and 4 j + 3 (half 1), and the
// first of their two columns.
__host__ __device__ constexpr uint32_t fragment_row(uint32_t thread, uint32_t half) {
    return thread / 32 % 4 * 16 + thread % 32 / 4 + half * 8;
}
__host__ __device__ constexpr uint32_t fragment_column(uint32_t thread, uint32_t j) { return j * 8 + thread % 4 * 2; }

// -- The way out: 64 rows by PART columns at a time, as floats through shared memory; see staged_column. --

constexpr uint32_t PART = 32;
// A thread then has eight columns, always the same, of two of the rows.
constexpr uint32_t PART_GROUPS = PART / CHUNK;
constexpr uint32_t PART_ROWS_AT_ONCE = GROUP_THREADS / PART_GROUPS;
__host__ __device__ constexpr uint32_t part_row(uint32_t thread, uint32_t round) {
    return thread / PART_GROUPS + round * PART_ROWS_AT_ONCE;
}
__host__ __device__ constexpr uint32_t part_column(uint32_t thread) { return thread % PART_GROUPS * CHUNK; }

// Eight lanes have the same columns, and differ in these bits. They add COUNT sums up by exchanges that each halve what
// a lane still has, and a lane is left with an eighth of them, from this one on.
constexpr uint32_t FIRST_PART_ROW_BIT = 4;
constexpr uint32_t LAST_PART_ROW_BIT = 16;
template <uint32_t COUNT>
__host__ __device__ constexpr uint32_t first_summed(uint32_t lane) {
    return lane / 16 % 2 * (COUNT / 2) + lane / 8 % 2 * (COUNT / 4) + lane / 4 % 2 * (COUNT / 8);
}
// The column that it has of a part.
__host__ __device__ constexpr uint32_t summed_column(uint32_t lane) {
    return part_column(lane) + first_summed<CHUNK>(lane);
}

// -- The way out by bulk copies: 16 rows of a warp by 16 columns at a time, as an operand lies in shared memory. --

// The row, of a wgmma's 64, and the column that a thread names for the four 8 x 8 matrices of such a part: the upper
// and the lower rows of the first eight columns, then of the others, so that they are a thread's sums in order.
__host__ __device__ constexpr uint32_t matrix_row(uint32_t thread) {
    return thread / 32 % 4 * 16 + thread / 8 % 2 * 8 + thread % 8;
}
__host__ __device__ constexpr uint32_t matrix_column(uint32_t thread) { return thread % 32 / 16 * 8; }

// Column `n` of those in which a thread's sums lie, a quarter of all.
__host__ __device__ constexpr uint32_t held_column(uint32_t lane, uint32_t n) {
    return fragment_column(lane, n / 2) + n % 2;
}

// -- The ring of stages. --

// A place in the ring, and the parity of the phase in which it is used there.
template <uint32_t STAGES>
struct RingPlace {
    uint32_t slot = 0, parity = 0;

    __host__ __device__ constexpr void advance() {
        if (++slot == STAGES) {
            slot = 0;
            parity ^= 1;
        }
    }
    // By any number of stages.
    __host__ __device__ constexpr void skip(uint32_t stages) {
        const uint32_t at = slot + stages;
        parity ^= at / STAGES % 2;
        slot = at % STAGES;
    }
};

}  // namespace conv2d
