// The data gradient on wgmma, with its addends; and, fused, the gradient of the ReLU before it and the reductions of
// the batch norms before that: mma_data_grad.cu says what is computed.
//
// Rows are the input pixels of one residue class under the stride, at most four classes, columns the C channels. A
// class is a convolution of stride 1 over dz with the taps that reach it, in reverse; its tensor map has the bounding
// box that walks its pixels. The filters lie across the depth and stay so: wgmma reads them that way.
#pragma once

#include "gather.cuh"
#include "wgmma_forward.cuh"

namespace conv2d {

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS = 1>
struct WgmmaDataGrad {
    using Params = WgmmaDataGradParams;
    static constexpr uint32_t DEPTH = stage_depth(SPAN), SPANS = DEPTH / SPAN;
    // Channels of a line of filters.
    static constexpr uint32_t ACROSS = COLUMNS % 64 == 0 ? 64 : 32;
    using Rows = WgmmaOperand<Chunks::AlongDepth, GROUPS * BLOCKS * WGMMA_ROWS, DEPTH, SPAN>;
    using Columns = WgmmaOperand<Chunks::AcrossDepth, COLUMNS, DEPTH, ACROSS>;
    using Tile = WgmmaTile<GROUPS, BLOCKS, Rows, Columns>;
    using Out = WayOut<COLUMNS, 1 + MOST_BRANCHES>;

    const Params& p;
    uint32_t channel_tiles, row_tiles,
        spans;  // row_tiles: of the largest class, of SHARERS blocks each; spans of a tap

    // A block's part of a tile. Past the end of a class a tile has no steps, and goes out only for its partial sums,
    // which are zeros.
    struct Work {
        uint32_t first_row, first_column, steps;
        uint32_t residue_class, rows;  // rows of the class
        uint32_t part;                 // of the partial sums, the first of the tile's groups
        int32_t x, y, image;           // of the first row: the corner that its taps count from
    };

    __device__ __forceinline__ explicit WgmmaDataGrad(const Params& p) : p(p) {
        const Extents& e = p.conv.e;
        channel_tiles = ceil_div(e.c, COLUMNS);
        row_tiles = ceil_div(e.n * ceil_div(e.h, e.stride) * ceil_div(e.w, e.stride), Tile::ROWS * SHARERS);
        spans = e.k / SPAN;
    }
    __device__ __forceinline__ uint32_t tiles() const {
        return p.conv.e.stride * p.conv.e.stride * row_tiles * channel_tiles;
    }
    __device__ __forceinline__ Source<bf16> source(uint32_t residue_class) const {
        return gradient_source<bf16>(p.conv.dz, p.conv.e, residue_class);
    }
    __device__ __forceinline__ Work work(uint32_t tile, uint32_t sharer = 0) const {
        const uint32_t row_tile = tile / channel_tiles;
        const uint32_t first_of_tile = row_tile % row_tiles * SHARERS * Tile::ROWS;
        Work work = {};
        work.residue_class = row_tile / row_tiles;
        work.first_row = first_of_tile + sharer * Tile::ROWS;
        work.first_column = tile % channel_tiles * COLUMNS;
        work.part = (row_tile * SHARERS + sharer) * GROUPS;
        const Source<bf16> of_class = source(work.residue_class);
        const Line &rows = of_class.rows, &columns = of_class.columns;
        work.rows = p.conv.e.n * rows.positions * columns.positions;
        if (first_of_tile < work.rows) {
            const Pixel first = unpack_pixel(work.first_row, rows.positions, columns.positions);
            work.steps = rows.taps * columns.taps * spans / SPANS;
            // Taps count downwards from the origin: the last is the corner.
            work.y = rows.source(rows.origin(first.y), rows.taps - 1);
            work.x = columns.source(columns.origin(first.x), columns.taps - 1);
            work.image = int32_t(first.image);
        }
        return work;
    }
    __device__ __forceinline__ static constexpr uint32_t stage_bytes() { return sizeof(typename Tile::Stage); }
    __device__ __forceinline__ RowsOfGroup<Tile> rows_of(uint32_t group) const { return {group}; }
    __device__ __forceinline__ const TensorMap& source_map(const Work& work) const { return p.dz[work.residue_class]; }
    // Taps in the order of the pixels that they read, from the corner on: that of the filters, reversed.
    __device__ __forceinline__ void load(typename Tile::Stage& stage, ptx::Barrier& full, const Work& work,
                                         uint32_t step, uint32_t sharer = 0) const {
        const uint32_t tap_columns = source(work.residue_class).columns.taps;
#pragma unroll
        for (uint32_t i = 0; i < SPANS; ++i) {
            const uint32_t span = step * SPANS + i, tap = span / spans, filter = span % spans * SPAN;
            const uint32_t tap_row = tap / tap_columns, tap_column = tap % tap_columns;
            ptx::load_im2col(stage.rows + i * Rows::BOX_BYTES, source_map(work), full, int32_t(filter), work.x, work.y,
                             work.image, uint16_t(tap_column), uint16_t(tap_row), 0);
            load_columns(stage.columns, full, work, i, tap_row, tap_column, filter, sharer);
        }
    }
    // The filters of span `i` of a stage: this block's part of what SHARERS blocks share.
    __device__ __forceinline__ void load_columns(unsigned char* columns, ptx::Barrier& full, const Work& work,
                                                 uint32_t i, uint32_t tap_row, uint32_t tap_column, uint32_t filter,
                                                 uint32_t sharer) const {
        constexpr uint32_t LINES = SPAN / SHARERS;
        constexpr uint16_t SHARED_BY = SHARERS > 1 ? (1 << SHARERS) - 1 : 0;
        const Source<bf16> of_class = source(work.residue_class);
        const uint32_t r = of_class.rows.filter(of_class.rows.taps - 1 - tap_row);
        const uint32_t s = of_class.columns.filter(of_class.columns.taps - 1 - tap_column);
        const uint32_t line = i * SPAN + sharer * LINES;
#pragma unroll
        for (uint32_t box = 0; box < Columns::BOXES; ++box) {
            ptx::load_box(columns + box * Columns::BOX_BYTES + line * Columns::LINE_BYTES, p.w, full,
                          int32_t(work.first_column + box * ACROSS), int32_t(r * p.conv.e.s + s),
                          int32_t(filter + sharer * LINES), SHARED_BY);
        }
    }
    __device__ __forceinline__ void finish(const Work& work, uint32_t group, typename Tile::Sums& sums, Out& out) const;
};

// A thread's sums of the columns of a part: of g, and of g (z - mean) of each branch.
struct ReluColumnSums {
    ColumnSums of[1 + MOST_BRANCHES];
};

// Adds E^T dz and the addend to a row's pairs of a part, and masks them by the ReLU.
__device__ __forceinline__ void finish_row(const DataGradParams& p, Pixel pixel, uint64_t at, uint32_t j, uint32_t c,
                                           uint32_t half, PartSums& values) {
    const Extents& e = p.e;
    float* pair = &values[j][half * 2];
    if (c < e.identity && on_identity_grid(pixel, e)) {
        const bf16* run = static_cast<const bf16*>(p.dz) + uint64_t(identity_output(pixel, e)) * e.k;
        const float2 identity = load_pair(run, c, e.identity);
        pair[0] += identity.x;
        pair[1] += identity.y;
    }
    if (p.addend != nullptr) {
        const float2 addend = load_pair(static_cast<const bf16*>(p.addend) + at, c, e.c);
        pair[0] += adds(p, at + c) ? addend.x : 0;
        pair[1] += adds(p, at + c + 1) ? addend.y : 0;
    }
    pair[0] = passes(p, at + c) ? pair[0] : 0;
    pair[1] = passes(p, at + c + 1) ? pair[1] : 0;
}

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS>
__device__ __forceinline__ void WgmmaDataGrad<COLUMNS, SPAN, GROUPS, BLOCKS, SHARERS>::finish(const Work& work,
                                                                                              uint32_t group,
                                                                                              typename Tile::Sums& sums,
                                                                                              Out& out) const {
    const DataGradParams& conv = p.conv;
    const Extents& e = conv.e;
    const GroupPlace<Tile> place(work.first_row + group * Tile::GROUP_ROWS, work.rows, work.first_column);
    const bool reduces = conv.relu != nullptr;
    const Source<bf16> of_class = source(work.residue_class);
    const uint32_t lane = place.thread % WARP;
    // Where a row of the group lies, in elements of dx.
    const auto element = [&](Pixel pixel) { return uint64_t(pack_pixel(pixel, e.h, e.w)) * e.c; };
    place.sync();
#pragma unroll
    for (uint32_t part = 0; part < COLUMNS / PART; ++part) {
        ReluColumnSums column_sums = {};
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS; ++i) {
            PartSums values;
            take_part(values, sums[i], part);
            Pixel pixels[2];
#pragma unroll
            for (uint32_t half = 0; half < 2; ++half) {
                const uint32_t row = place.row(i, half);
                pixels[half] = of_class.target(place.first_row + min(row, max(place.count, 1u) - 1));
                if (row < place.count) {
#pragma unroll
                    for (uint32_t j = 0; j < PART / 8; ++j) {
                        if (const uint32_t c = place.column(part, j); c < e.c) {
                            finish_row(conv, pixels[half], element(pixels[half]), j, c, half, values);
                        }
                    }
                }
            }
            uint4* lines = out.lines[(part * BLOCKS + i) % 2];
            stage_part(lines, place.thread, values);
            if (reduces) {
#pragma unroll
                for (uint32_t half = 0; half < 2; ++half) {
                    if (place.row(i, half) >= place.count) {
                        continue;
                    }
#pragma unroll
                    for (uint32_t j = 0; j < PART / 8; ++j) {
                        const uint32_t c = place.column(part, j);
                        if (c >= e.c) {
                            continue;
                        }
                        const float g[2] = {values[j][half * 2], values[j][half * 2 + 1]};
                        column_sums.of[0][j * 2] += g[0];
                        column_sums.of[0][j * 2 + 1] += g[1];
#pragma unroll
                        for (uint32_t b = 0; b < MOST_BRANCHES; ++b) {
                            if (conv.z[b] != nullptr) {
                                const float2 z =
                                    load_pair(static_cast<const bf16*>(conv.z[b]) + element(pixels[half]), c, e.c);
                                const float* mean = conv.stats[b] + c;
                                column_sums.of[1 + b][j * 2] += g[0] * (z.x - mean[0]);
                                column_sums.of[1 + b][j * 2 + 1] += g[1] * (z.y - mean[1]);
                            }
                        }
                    }
                }
            }
            place.sync();
            const uint32_t first = place.first_row + i * WGMMA_ROWS, c = place.first_column + part * PART;
            const uint32_t rows = place.count > i * WGMMA_ROWS ? place.count - i * WGMMA_ROWS : 0;
            copy_part(lines, place.thread, rows, c < e.c ? e.c - c : 0, [&](uint32_t line) {
                return static_cast<bf16*>(conv.dx) + element(of_class.target(first + line)) + c;
            });
        }
#pragma unroll
        for (uint32_t quantity = 0; reduces && quantity < 1 + MOST_BRANCHES; ++quantity) {
            out.of_warps[quantity][place.warp()][part * PART + summed_column(lane)] =
                add_lanes(column_sums.of[quantity], lane);
        }
    }
    if (!reduces) {
        return;
    }
    // [parts, 1 + branches, C]
    float* partials = conv.partials + uint64_t(work.part + group) * (1 + branches(conv)) * e.c;
    place.sync();
    for (uint32_t c = place.thread; c < COLUMNS; c += GROUP_THREADS) {
        for (uint32_t quantity = 0; quantity <= branches(conv) && place.first_column + c < e.c; ++quantity) {
            partials[quantity * e.c + place.first_column + c] = add_warps(out.of_warps[quantity], c);
        }
    }
}

}  // namespace conv2d
