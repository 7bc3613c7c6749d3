// The weight gradient of form `wgmma-halo`, of 3 x 3 taps at stride 1. By im2col its rows are copied nine times, and at
// 96 channels that asks 2.4 times as much of L2 as it gives, though a cluster shares the filters. So a block makes the
// three taps of one filter column, and copies what they read once: patches of 128 pixels with an image row above and
// one below, shifted by the column, 32 channels each (wgmma_halo.cuh). The operands lie across the depth, so a depth is
// a line, and a tap further down is the same patch an image row on.
//
// Rows are (tap, channel) of 3 taps and 96 channels: nine pieces of 32, and a wgmma takes two, whose distance is the
// descriptor's leading offset: taps 0 and 1 of one patch, tap 2 of two neighbours. The ninth goes alone, so a tenth of
// the products is for nothing. Five wgmma of 96 columns are 240 sums a thread: warp group 0 has three of them, group 1
// two, which costs nothing, since both share the tensor cores.
#pragma once

#include "wgmma_halo.cuh"

namespace conv2d {

// Channels of a tile, in spans; pixels of a stage.
constexpr uint32_t PATCH_SPANS = 3;
constexpr uint32_t PATCH_PIXELS = 128;
constexpr uint32_t PATCH_BYTES = HaloRows<PATCH_PIXELS>::BYTES;

// One of the nine pieces.
struct Piece {
    uint32_t span, tap;
};
// The pieces of wgmma `block`, of five; the last has one only, twice.
__host__ __device__ constexpr Piece first_piece(uint32_t block) {
    return block < PATCH_SPANS ? Piece{block, 0} : Piece{(block - PATCH_SPANS) * 2, 2};
}
__host__ __device__ constexpr Piece second_piece(uint32_t block) {
    return block < PATCH_SPANS ? Piece{block, 1} : Piece{block == PATCH_SPANS ? 1u : 2u, 2};
}
constexpr uint32_t PIECE_BLOCKS = 5;
constexpr uint32_t FIRST_GROUP_BLOCKS = 3;

// A warp group's blocks: from FIRST on, of a stage of PATCH_PIXELS depths.
template <uint32_t FIRST_, uint32_t BLOCKS_, typename Columns>
struct PieceTile {
    static constexpr uint32_t FIRST = FIRST_;
    struct Rows {
        static constexpr uint32_t WIDTH = BLOCKS_ * WGMMA_ROWS, DEPTH = PATCH_PIXELS, SPAN = HALO_SPAN;
        static constexpr bool ALONG_DEPTH = false;
        static constexpr uint32_t BYTES = PATCH_SPANS * PATCH_BYTES;
        // The leading offset is a block's own: PiecesAt adds it.
        static constexpr uint32_t STRIDE = 8 * HALO_SPAN * BF16_BYTES, LEADING = 0;
    };
    using Tile = WgmmaTile<1, BLOCKS_, Rows, Columns>;
};

// As RowsOfGroup, with the leading offset of the descriptor, in 16 bytes.
template <uint32_t FIRST>
struct PiecesAt {
    uint32_t tap;       // from a tap to the next
    uint32_t image;     // what an image's halo adds
    uint32_t of_image;  // steps of an image

    __device__ __forceinline__ explicit PiecesAt(const Patch& patch)
        : tap(patch.width * LINE),
          image((HALO_TAPS - 1) * patch.width * LINE),
          of_image(patch.rows * patch.width / WGMMA_STEP) {}
    __device__ __forceinline__ uint64_t operator()(uint32_t i, uint32_t step) const {
        const Piece first = first_piece(FIRST + i), second = second_piece(FIRST + i);
        const uint32_t leading = (second.span - first.span) * (PATCH_BYTES / 16) + (second.tap - first.tap) * tap;
        // A stage has two images at most.
        const uint32_t at = first.span * (PATCH_BYTES / 16) + first.tap * tap + step * WGMMA_STEP * LINE +
                            (step >= of_image ? image : 0);
        return uint64_t(leading) << 16 | at;
    }

  private:
    static constexpr uint32_t LINE = HALO_SPAN * BF16_BYTES / 16;
};

template <uint32_t COLUMNS>
struct HaloWeightGrad {
    using Params = WgmmaWeightGradParams;
    static constexpr uint32_t ACROSS = COLUMNS % 64 == 0 ? 64 : 32;
    using Columns = WgmmaOperand<Chunks::AcrossDepth, COLUMNS, PATCH_PIXELS, ACROSS>;
    using First = PieceTile<0, FIRST_GROUP_BLOCKS, Columns>;
    using Second = PieceTile<FIRST_GROUP_BLOCKS, PIECE_BLOCKS - FIRST_GROUP_BLOCKS, Columns>;
    using Tile = typename First::Tile;
    struct Out {};

    const Params& p;
    Patch patch;
    uint32_t pixels, filter_tiles, channel_tiles;

    struct Work {
        uint32_t first_column, first_channel, tap_column, steps;
        uint32_t split, first_pixel;
    };

    __device__ __forceinline__ explicit HaloWeightGrad(const Params& p)
        : p(p),
          patch(PATCH_PIXELS, p.conv.e.h, p.conv.e.w),
          pixels(p.conv.e.n * p.conv.e.p * p.conv.e.q),
          filter_tiles(ceil_div(p.conv.e.k, COLUMNS)),
          channel_tiles(ceil_div(p.conv.e.c, PATCH_SPANS * HALO_SPAN)) {}
    __device__ __forceinline__ void prefetch() const {
        ptx::prefetch_map(p.x);
        ptx::prefetch_map(p.dz);
    }
    __device__ __forceinline__ uint32_t tiles_of_split() const { return HALO_TAPS * channel_tiles * filter_tiles; }
    __device__ __forceinline__ uint32_t tiles() const {
        return ceil_div(pixels, p.conv.pixels_per_split) * tiles_of_split();
    }
    // Tiles of one split follow each other: together they read its pixels once from memory.
    __device__ __forceinline__ Work work(uint32_t tile, uint32_t = 0) const {
        const uint32_t of_split = tile % tiles_of_split(), split = tile / tiles_of_split();
        const uint32_t of_filters = of_split / filter_tiles;
        const uint32_t first_pixel = split * p.conv.pixels_per_split;
        const uint32_t count = min(p.conv.pixels_per_split, pixels - first_pixel);
        return {of_split % filter_tiles * COLUMNS,
                of_filters / HALO_TAPS * PATCH_SPANS * HALO_SPAN,
                of_filters % HALO_TAPS,
                ceil_div(count, PATCH_PIXELS),
                split,
                first_pixel};
    }
    __device__ __forceinline__ uint32_t stage_bytes() const {
        return PATCH_SPANS * patch.lines() * HALO_SPAN * BF16_BYTES + Columns::BYTES;
    }
    using Depth = PixelDepth;
    __device__ __forceinline__ Depth depth(const Work& work) const { return {work.first_pixel, p.conv.e}; }
    __device__ __forceinline__ void load(typename Tile::Stage& stage, ptx::Barrier& full, const Work& work, Depth& at,
                                         uint32_t = 0) const {
        // The tap in the middle reads the pixel itself.
#pragma unroll
        for (uint32_t span = 0; span < PATCH_SPANS; ++span) {
            ptx::load_box(stage.rows + span * PATCH_BYTES, p.x, full, int32_t(work.first_channel + span * HALO_SPAN),
                          int32_t(work.tap_column) - 1, int32_t(at.pixel.y) - 1, int32_t(at.pixel.image), 0);
        }
#pragma unroll
        for (uint32_t box = 0; box < Columns::BOXES; ++box) {
            ptx::load_box(stage.columns + box * Columns::BOX_BYTES, p.dz, full,
                          int32_t(work.first_column + box * ACROSS), int32_t(at.m), 0);
        }
        at.advance(PATCH_PIXELS, p.conv.e);
    }
    // By a warp group, whose blocks are PIECES'.
    template <typename Pieces>
    __device__ __forceinline__ void finish(const Work& work, const typename Pieces::Tile::Sums& sums) const {
        const Extents& e = p.conv.e;
        const uint32_t thread = threadIdx.x % GROUP_THREADS, elements = e.r * e.s * e.c;
        float* dw = p.conv.dw + uint64_t(work.split) * e.k * elements;
#pragma unroll
        for (uint32_t i = 0; i < Pieces::Tile::BLOCKS; ++i) {
            const Piece first = first_piece(Pieces::FIRST + i), second = second_piece(Pieces::FIRST + i);
            const bool twice = first.span == second.span && first.tap == second.tap;
#pragma unroll
            for (uint32_t at = 0; at < COLUMNS / 2; ++at) {
                const uint32_t row = fragment_row(thread, at / 2 % 2);
                const Piece piece = row < HALO_SPAN ? first : second;
                const uint32_t c = work.first_channel + piece.span * HALO_SPAN + row % HALO_SPAN;
                const uint32_t k = work.first_column + fragment_column(thread, at / 4) + at % 2;
                if (c < e.c && k < e.k && !(twice && row >= HALO_SPAN)) {
                    dw[uint64_t(k) * elements + (piece.tap * e.s + work.tap_column) * e.c + c] = sums[i][at];
                }
            }
        }
    }
};

// By a warp group: all tiles of its block.
template <typename Pieces, typename Product, typename Shared>
__device__ __forceinline__ void make_pieces(const Product& product, Shared& shared) {
    RingPlace<Shared::STAGES> place;
    const PiecesAt<Pieces::FIRST> rows_at(product.patch);
#pragma unroll 1
    for (uint32_t tile = blockIdx.x; tile < product.tiles(); tile += gridDim.x) {
        const auto work = product.work(tile);
        typename Pieces::Tile::Sums sums;
        consume<1, typename Pieces::Tile>(shared, work.steps, rows_at, place, sums, [] {});
        product.template finish<Pieces>(work, sums);
    }
}

template <typename Product>
__device__ __forceinline__ void wgmma_weight_grad_halo(const typename Product::Params& p) {
    using Shared = WgmmaShared<Product, CONSUMERS>;
    static_assert(sizeof(Shared) <= HOPPER_SHARED);
    RIR_SHARED_DYNAMIC(Shared, shared);
    begin_alone<Product>(p, shared, CONSUMERS * (GROUP_THREADS / WARP));
    if (threadIdx.x < GROUP_THREADS) {
        ptx::registers_decrease<PRODUCER_REGISTERS>();
        if (threadIdx.x < WARP && ptx::elect()) {
            const Product product(p);
            RingPlace<Shared::STAGES> place;
#pragma unroll 1
            for (uint32_t tile = blockIdx.x; tile < product.tiles(); tile += gridDim.x) {
                produce(product, shared, product.work(tile), place, tile == blockIdx.x);
            }
        }
    } else {
        ptx::registers_increase<CONSUMER_REGISTERS>();
        const Product product(p);
        if (threadIdx.x < 2 * GROUP_THREADS) {
            make_pieces<typename Product::First>(product, shared);
        } else {
            make_pieces<typename Product::Second>(product, shared);
        }
    }
}

}  // namespace conv2d
