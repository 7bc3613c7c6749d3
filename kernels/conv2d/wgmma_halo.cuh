// Form `wgmma-halo`: of 3 x 3 taps at stride 1, the three that lie below each other read the same pixels but for a row
// of the image. So a stage holds a patch: the pixels of the tile's rows, one row of the image above and one below,
// shifted by one filter column, 32 channels of them; and the filters of that column's three taps. A tap further down is
// the same patch, one image row on: the descriptor moves by as many lines, which are whole rounds of the swizzle where
// an image's width is a multiple of 8.
//
// A tile of 128 rows then reads every pixel 4.5 times at a width of 32, and 3.75 times at 16 and 8, instead of nine.
// The border is filled with zeros by the copies, which begin outside of the tensor. Otherwise as wgmma-cluster.
#pragma once

#include "wgmma_cluster.cuh"

namespace conv2d {

constexpr uint32_t HALO_SPAN = 32;
// Lines of a patch beyond those of the tile's rows, at most.
constexpr uint32_t MOST_HALO_LINES = 64;

// The patch of a tile of ROWS rows, which the launch holds to its size.
template <uint32_t ROWS>
struct HaloRows {
    static constexpr uint32_t WIDTH = ROWS, DEPTH = HALO_TAPS * HALO_SPAN, SPAN = HALO_SPAN;
    static constexpr bool ALONG_DEPTH = true;
    static constexpr uint32_t LINE_BYTES = SPAN * BF16_BYTES;
    static constexpr uint32_t MOST_LINES = ROWS + MOST_HALO_LINES;
    static constexpr uint32_t BYTES = MOST_LINES * LINE_BYTES;
    static constexpr uint32_t STRIDE = 8 * LINE_BYTES, LEADING = 0;
};

// As RowsOfGroup: two steps of 16 depths a tap.
template <uint32_t BLOCKS>
struct PatchOfGroup {
    uint32_t blocks[BLOCKS];
    uint32_t tap;  // from a tap to the next

    __device__ __forceinline__ PatchOfGroup(const Patch& patch, uint32_t group) {
        constexpr uint32_t LINE = HALO_SPAN * BF16_BYTES / 16;
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS; ++i) {
            blocks[i] = patch.line((group * BLOCKS + i) * WGMMA_ROWS) * LINE;
        }
        tap = patch.width * LINE;
    }
    __device__ __forceinline__ uint32_t operator()(uint32_t i, uint32_t step) const {
        constexpr uint32_t STEPS = HALO_SPAN / WGMMA_STEP, STEP = WGMMA_STEP * BF16_BYTES / 16;
        return blocks[i] + step / STEPS * tap + step % STEPS * STEP;
    }
};

// PRODUCT, WgmmaForward or WgmmaDataGrad of span 32, with patches for rows.
template <typename Product, typename Rows>
struct WithPatches : Product {
    using Tile = WgmmaTile<Product::Tile::GROUPS, Product::Tile::BLOCKS, Rows, typename Product::Columns>;

    Patch patch;

    __device__ __forceinline__ explicit WithPatches(const typename Product::Params& p)
        : Product(p), patch(Tile::ROWS, p.conv.e.h, p.conv.e.w) {}
    __device__ __forceinline__ uint32_t stage_bytes() const {
        return patch.lines() * Rows::LINE_BYTES + Product::Columns::BYTES;
    }
    __device__ __forceinline__ PatchOfGroup<Tile::BLOCKS> rows_of(uint32_t group) const { return {patch, group}; }
    // A step is a span of channels and a column of taps.
    __device__ __forceinline__ void load(typename Tile::Stage& stage, ptx::Barrier& full,
                                         const typename Product::Work& work, typename Product::Depth& at,
                                         uint32_t sharer) const {
        load_patch(stage.rows, full, work, at);
        load_taps(stage.columns, full, work, at, sharer);
        advance(at);
    }
    __device__ __forceinline__ void load_patch(unsigned char* rows, ptx::Barrier& full,
                                               const typename Product::Work& work,
                                               const typename Product::Depth& at) const {
        ptx::load_box(rows, this->source_map(work, at), full, int32_t(at.channel), work.x + int32_t(at.column), work.y,
                      work.image, 0);
    }
    __device__ __forceinline__ void load_taps(unsigned char* columns, ptx::Barrier& full,
                                              const typename Product::Work& work, typename Product::Depth at,
                                              uint32_t sharer) const {
#pragma unroll
        for (at.row = 0; at.row < HALO_TAPS; ++at.row) {
            this->load_columns(columns, full, work, at.row, at, sharer);
        }
    }
    __device__ __forceinline__ void advance(typename Product::Depth& at) const {
        if (++at.column == HALO_TAPS) {
            at.column = 0;
            at.channel += HALO_SPAN;
            if (at.channel == this->depth_channels()) {
                this->turn(at);
            }
        }
    }
};

template <uint32_t COLUMNS, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS = CLUSTER>
using HaloForward =
    WithPatches<WgmmaForward<COLUMNS, HALO_SPAN, GROUPS, BLOCKS, SHARERS>, HaloRows<GROUPS * BLOCKS * WGMMA_ROWS>>;
template <uint32_t COLUMNS, uint32_t GROUPS, uint32_t BLOCKS, uint32_t SHARERS = CLUSTER>
using HaloDataGrad =
    WithPatches<WgmmaDataGrad<COLUMNS, HALO_SPAN, GROUPS, BLOCKS, SHARERS>, HaloRows<GROUPS * BLOCKS * WGMMA_ROWS>>;

}  // namespace conv2d
