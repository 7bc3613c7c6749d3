// The data gradient on wgmma, with its addends; and, fused, the gradient of the ReLU before it and the reductions of
// the batch norms before that: mma_data_grad.cu says what is computed.
//
// Rows are the input pixels of one residue class under the stride, at most four classes, columns the C channels. A
// class is a convolution of stride 1 over dz with the taps that reach it, in reverse; its tensor map has the bounding
// box that walks its pixels. The filters lie across the depth and stay so: wgmma reads them that way. The depth of a
// projection, which has the same extents and other tensor maps, follows in the same sums.
#pragma once

#include "gather.cuh"
#include "wgmma_forward.cuh"

namespace conv2d {

// What a warp group needs of shared memory to go out.
template <uint32_t PLACES_ = 2>
struct DataGradOut {
    static constexpr uint32_t PLACES = PLACES_;
    float sums[PLACES][WGMMA_ROWS][PART];        // taken in turns
    float of_warps[1 + MOST_BRANCHES][4][PART];  // of the quantities' partial sums
};

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS = 1>
struct WgmmaDataGrad {
    using Params = WgmmaDataGradParams;
    static constexpr uint32_t DEPTH = stage_depth(SPAN), SPANS = DEPTH / SPAN;
    // Channels of a line of filters.
    static constexpr uint32_t ACROSS = COLUMNS % 64 == 0 ? 64 : 32;
    using Rows = WgmmaOperand<Chunks::AlongDepth, GROUPS * BLOCKS * WGMMA_ROWS, DEPTH, SPAN>;
    using Columns = WgmmaOperand<Chunks::AcrossDepth, COLUMNS, DEPTH, ACROSS>;
    using Tile = WgmmaTile<GROUPS, BLOCKS, Rows, Columns>;
    using Out = DataGradOut<>;

    const Params& p;
    uint32_t channel_tiles;
    uint32_t row_tiles;  // of the largest class, of SHARERS blocks each

    // A block's part of a tile. Past the end of a class a tile has no steps, and goes out only for its partial sums,
    // which are zeros.
    struct Work {
        uint32_t first_row, first_column, steps;
        uint32_t residue_class, rows;  // rows of the class
        uint32_t part;                 // of the partial sums, the first of the tile's groups
        int32_t x, y, image;           // of the first row: the corner that its taps count from
        uint32_t tap_rows, tap_columns;
        uint32_t r, s;  // the filter's element at the corner: its last of the class
    };

    __device__ __forceinline__ explicit WgmmaDataGrad(const Params& p) : p(p) {
        const Extents& e = p.conv.e;
        channel_tiles = ceil_div(e.c, COLUMNS);
        row_tiles = ceil_div(e.n * ceil_div(e.h, e.stride) * ceil_div(e.w, e.stride), Tile::ROWS * SHARERS);
    }
    // Of the classes that of the first, where taps reach it: no other has a map.
    __device__ __forceinline__ void prefetch() const {
        const Source<bf16> first = source(0);
        if (first.rows.taps > 0 && first.columns.taps > 0) {
            ptx::prefetch_map(p.maps[0].dz[0]);
        }
        ptx::prefetch_map(p.maps[0].w);
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
            work.steps = convolutions(p.conv) * (rows.taps * columns.taps * (p.conv.e.k / SPAN) / SPANS);
            // Taps count downwards from the origin: the last is the corner.
            work.y = rows.source(rows.origin(first.y), rows.taps - 1);
            work.x = columns.source(columns.origin(first.x), columns.taps - 1);
            work.image = int32_t(first.image);
            work.tap_rows = rows.taps;
            work.tap_columns = columns.taps;
            work.r = rows.filter(rows.taps - 1);
            work.s = columns.filter(columns.taps - 1);
        }
        return work;
    }
    __device__ __forceinline__ static constexpr uint32_t stage_bytes() { return sizeof(typename Tile::Stage); }
    // Of stride 1 alone, where all pixels are one class.
    __device__ __forceinline__ uint32_t out_rows() const { return p.conv.e.n * p.conv.e.h * p.conv.e.w; }
    __device__ __forceinline__ uint32_t out_columns() const { return p.conv.e.c; }
    __device__ __forceinline__ static constexpr float* statistics() { return nullptr; }
    __device__ __forceinline__ RowsOfGroup<Tile> rows_of(uint32_t group) const { return {group}; }
    // Channels of this depth are filters, and its taps in the order of the pixels that they read, from the corner on:
    // that of the filters' elements, reversed.
    struct Depth : TapSpan {
        uint32_t convolution;
    };
    __device__ __forceinline__ Depth depth(const Work&) const { return {{0, 0, 0}, 0}; }
    __device__ __forceinline__ const TensorMap& source_map(const Work& work, const Depth& at) const {
        return p.maps[at.convolution].dz[work.residue_class];
    }
    // Once all channels and taps are through, the projection's follow.
    __device__ __forceinline__ uint32_t depth_channels() const { return p.conv.e.k; }
    __device__ __forceinline__ void turn(Depth& at) const { at = {{0, 0, 0}, 1}; }
    __device__ __forceinline__ void load(typename Tile::Stage& stage, ptx::Barrier& full, const Work& work, Depth& at,
                                         uint32_t sharer = 0) const {
        // Not unrolled: whoever copies has few registers.
#pragma unroll 1
        for (uint32_t i = 0; i < SPANS; ++i) {
            ptx::load_im2col(stage.rows + i * Rows::BOX_BYTES, source_map(work, at), full, int32_t(at.channel), work.x,
                             work.y, work.image, uint16_t(at.column), uint16_t(at.row), 0);
            load_columns(stage.columns, full, work, i, at, sharer);
            at.advance(SPAN, depth_channels(), work.tap_columns);
            if (at.row == work.tap_rows) {
                turn(at);
            }
        }
    }
    // The filters of span `i` of a stage: this block's part of what SHARERS blocks share.
    __device__ __forceinline__ void load_columns(unsigned char* columns, ptx::Barrier& full, const Work& work,
                                                 uint32_t i, const Depth& at, uint32_t sharer) const {
        constexpr uint32_t LINES = SPAN / SHARERS;
        constexpr uint16_t SHARED_BY = SHARERS > 1 ? (1 << SHARERS) - 1 : 0;
        const uint32_t r = work.r - at.row * p.conv.e.stride, s = work.s - at.column * p.conv.e.stride;
        const uint32_t line = i * SPAN + sharer * LINES;
#pragma unroll
        for (uint32_t box = 0; box < Columns::BOXES; ++box) {
            ptx::load_box(columns + box * Columns::BOX_BYTES + line * Columns::LINE_BYTES, p.maps[at.convolution].w,
                          full, int32_t(work.first_column + box * ACROSS), int32_t(r * p.conv.e.s + s),
                          int32_t(at.channel + sharer * LINES), SHARED_BY);
        }
    }
    template <typename WayOut>
    __device__ __forceinline__ void finish(const Work& work, uint32_t group, const typename Tile::Sums& sums,
                                           WayOut& out) const;
};

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS>
template <typename WayOut>
__device__ __forceinline__ void WgmmaDataGrad<COLUMNS, SPAN, GROUPS, BLOCKS, SHARERS>::finish(
    const Work& work, uint32_t group, const typename Tile::Sums& sums, WayOut& out) const {
    const DataGradParams& conv = p.conv;
    const uint32_t channels = conv.e.c;
    const GroupPlace<Tile> place(work.first_row + group * Tile::GROUP_ROWS, work.rows, work.first_column);
    // The thread's rows: a pixel of dx each, and, in the first class, which E joins, the pixel of dz of the same
    // number.
    uint32_t pixels[BLOCKS][PART_ROUNDS];
#pragma unroll
    for (uint32_t i = 0; i < BLOCKS; ++i) {
#pragma unroll
        for (uint32_t round = 0; round < PART_ROUNDS; ++round) {
            const uint32_t row = group_row(place.thread, i, round), index = place.first_row + row;
            pixels[i][round] = index;
            if (conv.e.stride != 1 && row < place.count) {
                pixels[i][round] = pack_pixel(source(work.residue_class).target(index), conv.e.h, conv.e.w);
            }
        }
    }
    // Whoever still reads what the group left of its last tile is waited for.
    place.sync();
    // Not unrolled: the code would not fit where instructions are kept.
#pragma unroll 1
    for (uint32_t part = 0; part < COLUMNS / PART; ++part) {
        const uint32_t first_channel = place.first_column + part * PART;
        const uint32_t c = first_channel + part_column(place.thread);
        Eight means[MOST_BRANCHES];
#pragma unroll
        for (uint32_t b = 0; b < MOST_BRANCHES; ++b) {
            if (conv.z[b] != nullptr && c < channels) {
                ::load_eight(conv.stats[b] + c, means[b]);
            }
        }
        ReluSums relu_sums = {};
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS; ++i) {
            const auto pixel = [&](uint32_t round) -> DataGradPixel {
                const uint32_t index = place.first_row + group_row(place.thread, i, round);
                return {pixels[i][round], index, work.residue_class == 0};
            };
            const auto has = [&](uint32_t round) {
                return group_row(place.thread, i, round) < place.count && c < channels;
            };
            DataGradOperands operands[PART_ROUNDS];
#pragma unroll
            for (uint32_t round = 0; round < PART_ROUNDS; ++round) {
                if (has(round)) {
                    operands[round] = load_data_grad<true>(conv, pixel(round), c);
                }
            }
            const auto& staged = stage_part(out, place, sums, part, i);
#pragma unroll
            for (uint32_t round = 0; round < PART_ROUNDS; ++round) {
                if (has(round)) {
                    Eight dx;
                    read_part(staged, place.thread, round, dx);
                    store_data_grad<true>(conv, pixel(round), c, operands[round], means, dx, relu_sums);
                }
            }
        }
        if (conv.relu == nullptr) {
            continue;
        }
#pragma unroll
        for (uint32_t quantity = 0; quantity <= MOST_BRANCHES; ++quantity) {
            if (quantity <= branches(conv)) {
                Eight& of_lane = relu_sums.of[quantity];
                add_lanes(of_lane, place.thread % WARP);
                out.of_warps[quantity][place.warp()][summed_column(place.thread % WARP)] = of_lane[0];
            }
        }
        place.sync();
        // [parts, 1 + branches, C], a part for each warp group's rows.
        const uint32_t quantity = place.warp(), column = place.thread % WARP;
        if (quantity <= branches(conv) && first_channel + column < channels) {
            const uint64_t row = uint64_t(work.part + group) * (1 + branches(conv)) + quantity;
            conv.partials[row * channels + first_channel + column] = add_warps(out.of_warps[quantity], column);
        }
    }
}
static_assert(PART == WARP && MOST_BRANCHES < GROUP_THREADS / WARP, "a warp a quantity, a lane a column");

}  // namespace conv2d
