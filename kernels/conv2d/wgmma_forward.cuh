// Forward on wgmma: what a tile is, what its copies bring, and how it goes out. The forms (wgmma.cu and its followers)
// differ in who does what when.
//
//     z[m, k] = sum over (c, r, s) of x[pixel(m, r, s), c] w[k, (r, s, c)]  (+ E x)
//
// Rows are the N P Q output pixels, columns the K filters. A bulk copy of the im2col kind brings one tap's SPAN
// channels of all rows, padding as zeros, wherever in the batch the rows begin; one of tiles brings the same of the
// filters. SPAN is 64 where the channels are a multiple, and then the depth of a stage; else 32, of which a stage holds
// three: all 96 channels of a tap of the first group.
//
// Epilogue as in mma_forward.cu: E, scale and shift, outer shortcut, ReLU; storing; mean and squared deviations of each
// warp group's rows, in two passes over what is stored.
#pragma once

#include "wgmma_epilogue.cuh"
#include "wgmma_params.cuh"

namespace conv2d {

// Depth of a stage.
constexpr uint32_t stage_depth(uint32_t span) { return span == 64 ? 64 : 96; }

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS = 1>
struct WgmmaForward {
    using Params = WgmmaForwardParams;
    static constexpr uint32_t DEPTH = stage_depth(SPAN), SPANS = DEPTH / SPAN;
    using Rows = WgmmaOperand<Chunks::AlongDepth, GROUPS * BLOCKS * WGMMA_ROWS, DEPTH, SPAN>;
    using Columns = WgmmaOperand<Chunks::AlongDepth, COLUMNS, DEPTH, SPAN>;
    using Tile = WgmmaTile<GROUPS, BLOCKS, Rows, Columns>;
    using Out = WayOut<COLUMNS, 1>;

    const Params& p;
    uint32_t pixels, filter_tiles, spans;  // spans of a tap

    // A tile.
    struct Work {
        uint32_t first_row, first_column, steps;
        int32_t x, y, image;  // of the first row: where its taps begin
    };

    __device__ __forceinline__ explicit WgmmaForward(const Params& p)
        : p(p),
          pixels(p.conv.e.n * p.conv.e.p * p.conv.e.q),
          filter_tiles(ceil_div(p.conv.e.k, COLUMNS)),
          spans(p.conv.e.c / SPAN) {}
    // Tiles, each of as many blocks as share its columns, one below the other.
    __device__ __forceinline__ uint32_t tiles() const { return ceil_div(pixels, Tile::ROWS * SHARERS) * filter_tiles; }
    // A block's part of a tile. Filters first: tiles that are worked on together read the same pixels.
    __device__ __forceinline__ Work work(uint32_t tile, uint32_t sharer = 0) const {
        const Extents& e = p.conv.e;
        const uint32_t first_row = (tile / filter_tiles * SHARERS + sharer) * Tile::ROWS;
        const Pixel first = unpack_pixel(first_row, e.p, e.q);
        return {first_row,
                tile % filter_tiles * COLUMNS,
                e.r * e.s * spans / SPANS,
                int32_t(first.x * e.stride) - int32_t(e.pad),
                int32_t(first.y * e.stride) - int32_t(e.pad),
                int32_t(first.image)};
    }
    // Bytes that a step's copies bring.
    __device__ __forceinline__ static constexpr uint32_t stage_bytes() { return sizeof(typename Tile::Stage); }
    __device__ __forceinline__ RowsOfGroup<Tile> rows_of(uint32_t group) const { return {group}; }
    __device__ __forceinline__ const TensorMap& source_map(const Work&) const { return p.x; }
    // By one thread: the copies of a step, on the stage's barrier.
    __device__ __forceinline__ void load(typename Tile::Stage& stage, ptx::Barrier& full, const Work& work,
                                         uint32_t step, uint32_t sharer = 0) const {
#pragma unroll
        for (uint32_t i = 0; i < SPANS; ++i) {
            const uint32_t span = step * SPANS + i, tap = span / spans, channel = span % spans * SPAN;
            const uint32_t tap_row = tap / p.conv.e.s, tap_column = tap % p.conv.e.s;
            ptx::load_im2col(stage.rows + i * Rows::BOX_BYTES, p.x, full, int32_t(channel), work.x, work.y, work.image,
                             uint16_t(tap_column), uint16_t(tap_row), 0);
            load_columns(stage.columns, full, work, i, tap_row, tap_column, channel, sharer);
        }
    }
    // The filters of span `i` of a stage: this block's part of what SHARERS blocks share.
    __device__ __forceinline__ void load_columns(unsigned char* columns, ptx::Barrier& full, const Work& work,
                                                 uint32_t i, uint32_t tap_row, uint32_t tap_column, uint32_t channel,
                                                 uint32_t sharer) const {
        constexpr uint32_t LINES = COLUMNS / SHARERS;
        constexpr uint16_t SHARED_BY = SHARERS > 1 ? (1 << SHARERS) - 1 : 0;
        const uint32_t element = (tap_row * p.conv.e.s + tap_column) * p.conv.e.c + channel;
        ptx::load_box(columns + i * Columns::BOX_BYTES + sharer * LINES * Columns::LINE_BYTES, p.w, full,
                      int32_t(element), int32_t(work.first_column + sharer * LINES), SHARED_BY);
    }
    __device__ __forceinline__ void finish(const Work& work, uint32_t group, typename Tile::Sums& sums, Out& out) const;
};

// Adds E x to a part of 64 rows, and finishes it.
template <typename Tile>
__device__ __forceinline__ void finish_part(const ForwardParams& p, const GroupPlace<Tile>& place, uint32_t i,
                                            uint32_t part, PartSums& values) {
    const Extents& e = p.e;
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        const uint32_t row = place.row(i, half);
        if (row >= place.count) {
            continue;
        }
        const uint32_t m = place.first_row + row;
        const uint64_t from = uint64_t(identity_input(unpack_pixel(m, e.p, e.q), e)) * e.c;
#pragma unroll
        for (uint32_t j = 0; j < PART / 8; ++j) {
            const uint32_t k = place.column(part, j);
            float* pair = &values[j][half * 2];
            if (k < e.identity) {
                const float2 x = load_pair(static_cast<const bf16*>(p.x) + from, k, e.identity);
                pair[0] += x.x;
                pair[1] += x.y;
            }
            if (p.scale_shift != nullptr && k < e.k) {
                const float* scale = p.scale_shift + k;
                const float2 outer = p.outer == nullptr
                                         ? make_float2(0, 0)
                                         : load_pair(static_cast<const bf16*>(p.outer) + uint64_t(m) * e.k, k, e.k);
                pair[0] = finish_forward(p, pair[0], scale[0], scale[e.k], outer.x);
                pair[1] = finish_forward(p, pair[1], scale[1], scale[e.k + 1], outer.y);
            }
        }
    }
}

// Adds f of each number of the part's rows that there are to the sums of its columns.
template <typename Tile, typename F>
__device__ __forceinline__ void add_rows(const GroupPlace<Tile>& place, uint32_t i, const PartSums& values,
                                         ColumnSums& sums, F f) {
#pragma unroll
    for (uint32_t half = 0; half < 2; ++half) {
        if (place.row(i, half) < place.count) {
#pragma unroll
            for (uint32_t at = 0; at < PART / 4; ++at) {
                sums[at] += f(values[at / 2][half * 2 + at % 2], at);
            }
        }
    }
}

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS>
__device__ __forceinline__ void WgmmaForward<COLUMNS, SPAN, GROUPS, BLOCKS, SHARERS>::finish(const Work& work,
                                                                                             uint32_t group,
                                                                                             typename Tile::Sums& sums,
                                                                                             Out& out) const {
    const ForwardParams& conv = p.conv;
    const uint32_t filters = conv.e.k;
    const GroupPlace<Tile> place(work.first_row + group * Tile::GROUP_ROWS, pixels, work.first_column);
    if (place.count == 0) {
        return;
    }
    const bool statistics = conv.partials != nullptr;
    const uint32_t lane = place.thread % WARP;
    // Whoever still reads what the group left of its last tile is waited for.
    place.sync();
#pragma unroll
    for (uint32_t part = 0; part < COLUMNS / PART; ++part) {
        ColumnSums column_sums = {};
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS; ++i) {
            PartSums values;
            take_part(values, sums[i], part);
            finish_part(conv, place, i, part, values);
            uint4* lines = out.lines[(part * BLOCKS + i) % 2];
            stage_part(lines, place.thread, values);
            if (statistics) {
                add_rows(place, i, values, column_sums, [](float z, uint32_t) { return z; });
#pragma unroll
                for (uint32_t at = 0; at < PART / 2; ++at) {
                    sums[i][part * (PART / 2) + at] = values[at / 4][at % 4];
                }
            }
            place.sync();
            const uint32_t first = place.first_row + i * WGMMA_ROWS, k = place.first_column + part * PART;
            const uint32_t rows = place.count > i * WGMMA_ROWS ? place.count - i * WGMMA_ROWS : 0;
            copy_part(lines, place.thread, rows, k < filters ? filters - k : 0,
                      [&](uint32_t line) { return static_cast<bf16*>(conv.z) + uint64_t(first + line) * filters + k; });
        }
        if (statistics) {
            out.of_warps[0][place.warp()][part * PART + summed_column(lane)] = add_lanes(column_sums, lane);
        }
    }
    if (!statistics) {
        return;
    }
    // The tensor [parts, 2, K] of mean and squared deviations, a part for each warp group's rows.
    float* partials = conv.partials + uint64_t(place.first_row / Tile::GROUP_ROWS) * 2 * filters;
    place.sync();
    for (uint32_t c = place.thread; c < COLUMNS; c += GROUP_THREADS) {
        const float mean = add_warps(out.of_warps[0], c) / float(place.count);
        out.means[c] = mean;
        if (place.first_column + c < filters) {
            partials[place.first_column + c] = mean;
        }
    }
    place.sync();
#pragma unroll
    for (uint32_t part = 0; part < COLUMNS / PART; ++part) {
        ColumnSums squares = {};
        float means[PART / 4];
#pragma unroll
        for (uint32_t at = 0; at < PART / 4; ++at) {
            means[at] = out.means[part * PART + fragment_column(place.thread, at / 2) + at % 2];
        }
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS; ++i) {
            PartSums values;
            take_part(values, sums[i], part);
            add_rows(place, i, values, squares,
                     [&](float z, uint32_t at) { return (z - means[at]) * (z - means[at]); });
        }
        out.of_warps[0][place.warp()][part * PART + summed_column(lane)] = add_lanes(squares, lane);
    }
    place.sync();
    for (uint32_t c = place.thread; c < COLUMNS; c += GROUP_THREADS) {
        if (place.first_column + c < filters) {
            partials[filters + place.first_column + c] = add_warps(out.of_warps[0], c);
        }
    }
}

}  // namespace conv2d
