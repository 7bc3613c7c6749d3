// The weight gradient on wgmma, split over pixels; tiled_weight_grad.cu's second kernel adds the splits in order.
//
//     dw[k, j] = sum over pixels m of x[pixel(m, r, s), c] dz[m, k], where j = (r, s, c)
//
// Rows are the R S C elements of a filter, columns the K filters, the depth is the N P Q output pixels. At 96 channels
// that wastes 4 % of the rows (7 tiles of 128 for 864), where filters as rows would waste a quarter. Both operands lie
// across the depth and stay so. Rows come as spans of SPAN channels of one tap: a bulk copy of the im2col kind each, of
// the pixels of a stage.
#pragma once

#include "wgmma_forward.cuh"

namespace conv2d {

// Pixels of a stage.
constexpr uint32_t WEIGHT_GRAD_DEPTH = 64;

// The first of a step's pixels.
struct PixelDepth {
    uint32_t m;
    Pixel pixel;

    __device__ __forceinline__ PixelDepth(uint32_t m, const Extents& e) : m(m), pixel(unpack_pixel(m, e.p, e.q)) {}
    __device__ __forceinline__ void advance(uint32_t pixels, const Extents& e) {
        m += pixels;
        advance_pixel(pixel, pixels, e.p, e.q);
    }
};

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS = 1>
struct WgmmaWeightGrad {
    using Params = WgmmaWeightGradParams;
    static constexpr uint32_t ACROSS = COLUMNS % 64 == 0 ? 64 : 32;
    using Rows = WgmmaOperand<Chunks::AcrossDepth, GROUPS * BLOCKS * WGMMA_ROWS, WEIGHT_GRAD_DEPTH, SPAN>;
    using Columns = WgmmaOperand<Chunks::AcrossDepth, COLUMNS, WEIGHT_GRAD_DEPTH, ACROSS>;
    using Tile = WgmmaTile<GROUPS, BLOCKS, Rows, Columns>;
    // Sums are stored from registers.
    struct Out {};

    const Params& p;
    uint32_t pixels, elements, filter_tiles, row_tiles;

    struct Work {
        uint32_t first_row, first_column, steps;
        uint32_t split, first_pixel;
        TapSpan tap;  // of the first row
    };

    __device__ __forceinline__ explicit WgmmaWeightGrad(const Params& p) : p(p) {
        const Extents& e = p.conv.e;
        pixels = e.n * e.p * e.q;
        elements = e.r * e.s * e.c;
        filter_tiles = ceil_div(e.k, COLUMNS);
        row_tiles = ceil_div(elements, Tile::ROWS * SHARERS);
    }
    __device__ __forceinline__ void prefetch() const {
        ptx::prefetch_map(p.x);
        ptx::prefetch_map(p.dz);
    }
    __device__ __forceinline__ uint32_t tiles() const {
        return ceil_div(pixels, p.conv.pixels_per_split) * row_tiles * filter_tiles;
    }
    // Tiles of one split follow each other: together they read its pixels once from memory.
    __device__ __forceinline__ Work work(uint32_t tile, uint32_t sharer = 0) const {
        const uint32_t of_split = tile % (row_tiles * filter_tiles), split = tile / (row_tiles * filter_tiles);
        const uint32_t first_pixel = split * p.conv.pixels_per_split;
        const uint32_t count = min(p.conv.pixels_per_split, pixels - first_pixel);
        const uint32_t first_row = (of_split / filter_tiles * SHARERS + sharer) * Tile::ROWS;
        const Tap tap = unpack_tap(first_row, p.conv.e.s, p.conv.e.c);
        return {first_row,
                of_split % filter_tiles * COLUMNS,
                ceil_div(count, WEIGHT_GRAD_DEPTH),
                split,
                first_pixel,
                {tap.c, tap.r, tap.s}};
    }
    __device__ __forceinline__ static constexpr uint32_t stage_bytes() { return sizeof(typename Tile::Stage); }
    __device__ __forceinline__ RowsOfGroup<Tile> rows_of(uint32_t group) const { return {group}; }
    using Depth = PixelDepth;
    __device__ __forceinline__ Depth depth(const Work& work) const { return {work.first_pixel, p.conv.e}; }
    __device__ __forceinline__ void load(typename Tile::Stage& stage, ptx::Barrier& full, const Work& work, Depth& at,
                                         uint32_t sharer = 0) const {
        const Extents& e = p.conv.e;
        constexpr uint32_t LINES = WEIGHT_GRAD_DEPTH / SHARERS;
        constexpr uint16_t SHARED_BY = SHARERS > 1 ? (1 << SHARERS) - 1 : 0;
        const int32_t x = int32_t(at.pixel.x * e.stride) - int32_t(e.pad);
        const int32_t y = int32_t(at.pixel.y * e.stride) - int32_t(e.pad);
        TapSpan tap = work.tap;
#pragma unroll
        for (uint32_t box = 0; box < Rows::BOXES; ++box) {
            // Past the last tap there is none: channels past the last come as zeros, and count.
            const bool past = tap.row >= e.r;
            ptx::load_im2col(stage.rows + box * Rows::BOX_BYTES, p.x, full, int32_t(past ? e.c : tap.channel), x, y,
                             int32_t(at.pixel.image), uint16_t(tap.column), uint16_t(past ? 0 : tap.row), 0);
            tap.advance(SPAN, e.c, e.s);
        }
#pragma unroll
        for (uint32_t box = 0; box < Columns::BOXES; ++box) {
            ptx::load_box(stage.columns + box * Columns::BOX_BYTES + sharer * LINES * Columns::LINE_BYTES, p.dz, full,
                          int32_t(work.first_column + box * ACROSS), int32_t(at.m + sharer * LINES), SHARED_BY);
        }
        at.advance(WEIGHT_GRAD_DEPTH, e);
    }
    // Eight lanes hold eight neighbours of a filter: a whole sector.
    __device__ __forceinline__ void finish(const Work& work, uint32_t group, const typename Tile::Sums& sums,
                                           Out&) const {
        const uint32_t filters = p.conv.e.k;
        const GroupPlace<Tile> place(work.first_row + group * Tile::GROUP_ROWS, elements, work.first_column);
        const uint32_t row = fragment_row(place.thread, 0),
                       column = place.first_column + fragment_column(place.thread, 0);
        float* at =
            p.conv.dw + uint64_t(work.split) * filters * elements + place.first_row + row + uint64_t(column) * elements;
        // One address moves along, since as many as there are sums would not fit beside them.
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS / 8; ++j) {
#pragma unroll
            for (uint32_t sum = 0; sum < 4 * BLOCKS; ++sum) {
                const uint32_t i = sum / 4, down = i * WGMMA_ROWS + sum / 2 % 2 * 8, right = sum % 2;
                if (row + down < place.count && column + j * 8 + right < filters) {
                    at[down + right * elements] = sums[i][j * 4 + sum % 4];
                }
            }
            at += 8 * uint64_t(elements);
        }
    }
};

}  // namespace conv2d
