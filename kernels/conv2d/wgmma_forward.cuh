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

// What a warp group needs of shared memory to go out.
template <uint32_t COLUMNS, uint32_t PLACES_ = 2>
struct ForwardOut {
    static constexpr uint32_t PLACES = PLACES_;
    union {
        float sums[PLACES][WGMMA_ROWS][PART];  // taken in turns
        float of_warps[4][COLUMNS];            // once all parts are out
    };
    float means[COLUMNS];
};

// Depth of a stage.
constexpr uint32_t stage_depth(uint32_t span) { return span == 64 ? 64 : 96; }

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS = 1>
struct WgmmaForward {
    using Params = WgmmaForwardParams;
    static constexpr uint32_t DEPTH = stage_depth(SPAN), SPANS = DEPTH / SPAN;
    using Rows = WgmmaOperand<Chunks::AlongDepth, GROUPS * BLOCKS * WGMMA_ROWS, DEPTH, SPAN>;
    using Columns = WgmmaOperand<Chunks::AlongDepth, COLUMNS, DEPTH, SPAN>;
    using Tile = WgmmaTile<GROUPS, BLOCKS, Rows, Columns>;
    using Out = ForwardOut<COLUMNS>;

    const Params& p;
    uint32_t pixels, filter_tiles;

    // A tile.
    struct Work {
        uint32_t first_row, first_column, steps;
        int32_t x, y, image;  // of the first row: where its taps begin
    };

    __device__ __forceinline__ explicit WgmmaForward(const Params& p)
        : p(p), pixels(p.conv.e.n * p.conv.e.p * p.conv.e.q), filter_tiles(ceil_div(p.conv.e.k, COLUMNS)) {}
    // Asks for the tensor maps.
    __device__ __forceinline__ void prefetch() const {
        ptx::prefetch_map(p.x);
        ptx::prefetch_map(p.w);
    }
    // Tiles, each of as many blocks as share its columns, one below the other.
    __device__ __forceinline__ uint32_t tiles() const { return ceil_div(pixels, Tile::ROWS * SHARERS) * filter_tiles; }
    // A block's part of a tile. Filters first: tiles that are worked on together read the same pixels.
    __device__ __forceinline__ Work work(uint32_t tile, uint32_t sharer = 0) const {
        const Extents& e = p.conv.e;
        const uint32_t first_row = (tile / filter_tiles * SHARERS + sharer) * Tile::ROWS;
        const Pixel first = unpack_pixel(first_row, e.p, e.q);
        return {first_row,
                tile % filter_tiles * COLUMNS,
                e.r * e.s * (e.c / SPAN) / SPANS,
                int32_t(first.x * e.stride) - int32_t(e.pad),
                int32_t(first.y * e.stride) - int32_t(e.pad),
                int32_t(first.image)};
    }
    // Bytes that a step's copies bring.
    __device__ __forceinline__ static constexpr uint32_t stage_bytes() { return sizeof(typename Tile::Stage); }
    // The result, a matrix; and where the statistics of its columns go, if anywhere.
    __device__ __forceinline__ uint32_t out_rows() const { return pixels; }
    __device__ __forceinline__ uint32_t out_columns() const { return p.conv.e.k; }
    __device__ __forceinline__ float* statistics() const { return p.conv.partials; }
    __device__ __forceinline__ RowsOfGroup<Tile> rows_of(uint32_t group) const { return {group}; }
    // Where the depth begins.
    using Depth = TapSpan;
    __device__ __forceinline__ Depth depth(const Work&) const { return {0, 0, 0}; }
    __device__ __forceinline__ const TensorMap& source_map(const Work&, const Depth&) const { return p.x; }
    // Once all channels and taps are through, nothing follows.
    __device__ __forceinline__ uint32_t depth_channels() const { return p.conv.e.c; }
    __device__ __forceinline__ void turn(Depth&) const {}
    // By one thread: the copies of a step, on the stage's barrier. Moves on to the next.
    __device__ __forceinline__ void load(typename Tile::Stage& stage, ptx::Barrier& full, const Work& work, Depth& at,
                                         uint32_t sharer = 0) const {
#pragma unroll
        for (uint32_t i = 0; i < SPANS; ++i) {
            ptx::load_im2col(stage.rows + i * Rows::BOX_BYTES, p.x, full, int32_t(at.channel), work.x, work.y,
                             work.image, uint16_t(at.column), uint16_t(at.row), 0);
            load_columns(stage.columns, full, work, i, at, sharer);
            at.advance(SPAN, p.conv.e.c, p.conv.e.s);
        }
    }
    // The filters of span `i` of a stage: this block's part of what SHARERS blocks share.
    __device__ __forceinline__ void load_columns(unsigned char* columns, ptx::Barrier& full, const Work& work,
                                                 uint32_t i, const TapSpan& at, uint32_t sharer) const {
        constexpr uint32_t LINES = COLUMNS / SHARERS;
        constexpr uint16_t SHARED_BY = SHARERS > 1 ? (1 << SHARERS) - 1 : 0;
        const uint32_t element = (at.row * p.conv.e.s + at.column) * p.conv.e.c + at.channel;
        ptx::load_box(columns + i * Columns::BOX_BYTES + sharer * LINES * Columns::LINE_BYTES, p.w, full,
                      int32_t(element), int32_t(work.first_column + sharer * LINES), SHARED_BY);
    }
    template <typename WayOut>
    __device__ __forceinline__ void finish(const Work& work, uint32_t group, const typename Tile::Sums& sums,
                                           WayOut& out) const;
};

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS>
template <typename WayOut>
__device__ __forceinline__ void WgmmaForward<COLUMNS, SPAN, GROUPS, BLOCKS, SHARERS>::finish(
    const Work& work, uint32_t group, const typename Tile::Sums& sums, WayOut& out) const {
    constexpr uint32_t PARTS = COLUMNS / PART;
    const ForwardParams& conv = p.conv;
    const uint32_t filters = conv.e.k;
    const GroupPlace<Tile> place(work.first_row + group * Tile::GROUP_ROWS, pixels, work.first_column);
    if (place.count == 0) {
        return;
    }
    const bool statistics = conv.partials != nullptr;
    Packed stored[PARTS][BLOCKS][PART_ROUNDS];
    float of_parts[PARTS];
    // Whoever still reads what the group left of its last tile is waited for.
    place.sync();
#pragma unroll
    for (uint32_t part = 0; part < PARTS; ++part) {
        const uint32_t k = place.first_column + part * PART + part_column(place.thread);
        const ForwardColumns columns(conv, k);
        // Where rows lie is found anew for each part, rather than kept for all of them.
        uint32_t first_row = place.first_row;
        ptx::keep(first_row);
        Eight column_sums = {};
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS; ++i) {
            const auto& staged = stage_part(out, place, sums, part, i);
#pragma unroll
            for (uint32_t round = 0; round < PART_ROUNDS; ++round) {
                const uint32_t row = group_row(place.thread, i, round);
                Eight z = {};
                stored[part][i][round] = {};
                if (row < place.count && k < filters) {
                    read_part(staged, place.thread, round, z);
                    stored[part][i][round] = store_forward<true>(conv, columns, first_row + row, z);
                }
#pragma unroll
                for (uint32_t l = 0; l < CHUNK; ++l) {
                    column_sums[l] += z[l];
                }
            }
        }
        add_lanes(column_sums, place.thread % WARP);
        of_parts[part] = column_sums[0];
    }
    if (!statistics) {
        return;
    }
    // [parts, 2, K] of mean and squared deviations, a part for each warp group's rows.
    float* partials = conv.partials + uint64_t(place.first_row / Tile::GROUP_ROWS) * 2 * filters + place.first_column;
    place.sync();
    store_lanes(out.of_warps, place.thread, of_parts);
    place.sync();
    for (uint32_t c = place.thread; c < COLUMNS; c += GROUP_THREADS) {
        const float mean = add_warps(out.of_warps, c) / float(place.count);
        out.means[c] = mean;
        if (place.first_column + c < filters) {
            partials[c] = mean;
        }
    }
    place.sync();
#pragma unroll
    for (uint32_t part = 0; part < PARTS; ++part) {
        Eight means, squares = {};
        read_eight(&out.means[part * PART + part_column(place.thread)], means);
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS; ++i) {
#pragma unroll
            for (uint32_t round = 0; round < PART_ROUNDS; ++round) {
                if (group_row(place.thread, i, round) < place.count) {
#pragma unroll
                    for (uint32_t l = 0; l < CHUNK; ++l) {
                        const float deviation = stored[part][i][round][l] - means[l];
                        squares[l] += deviation * deviation;
                    }
                }
            }
        }
        add_lanes(squares, place.thread % WARP);
        of_parts[part] = squares[0];
    }
    store_lanes(out.of_warps, place.thread, of_parts);
    place.sync();
    for (uint32_t c = place.thread; c < COLUMNS; c += GROUP_THREADS) {
        if (place.first_column + c < filters) {
            partials[filters + c] = add_warps(out.of_warps, c);
        }
    }
}

}  // namespace conv2d
