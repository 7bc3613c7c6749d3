// Form `wgmma-resident`: where a tile is as wide as the product, every tile of a block has the same columns; and 9 x 96
// x 96 filters in bf16 are 162 KiB of the 227 that a block has. So they are copied once and stay, and the ring holds
// patches alone. Otherwise as wgmma-halo, but in no cluster: there is nothing to share.
//
// A tile of 128 x 96 then moves 108 KiB through L2 (every pixel 4.5 times), where wgmma-halo moves 189, and writes as
// much less to shared memory, whose other traffic, the operands of wgmma, takes five sixths of its time.
#pragma once

#include "wgmma_halo.cuh"

namespace conv2d {

// Channels of the depth, at most.
constexpr uint32_t RESIDENT_CHANNELS = 96;
constexpr uint32_t RESIDENT_STEPS = RESIDENT_CHANNELS / HALO_SPAN * HALO_TAPS;

// PRODUCT, HaloForward or HaloDataGrad of one sharer.
template <typename Product, typename Out>
struct Resident : Product {
    using Product::Product;
    using Tile = typename Product::Tile;

    struct alignas(SWIZZLE_ALIGNMENT) Stage {
        unsigned char rows[Tile::Rows::BYTES];
    };
    // A block's shared memory; see WgmmaShared.
    struct Shared {
        using Stage = Resident::Stage;
        static constexpr uint32_t COLUMN_BYTES = RESIDENT_STEPS * Tile::Columns::BYTES;
        static constexpr uint32_t BARRIERS = (2 * MOST_STAGES + RESIDENT_STEPS) * sizeof(ptx::Barrier);
        static constexpr uint32_t FIT =
            (HOPPER_SHARED - COLUMN_BYTES - CONSUMERS * sizeof(Out) - BARRIERS) / sizeof(Stage);
        static constexpr uint32_t STAGES = FIT < MOST_STAGES ? FIT : MOST_STAGES;
        static_assert(STAGES >= 3, "copies run ahead of both groups");

        alignas(SWIZZLE_ALIGNMENT) unsigned char resident[RESIDENT_STEPS][Tile::Columns::BYTES];
        Stage stages[STAGES];
        Out out[CONSUMERS];
        ptx::Barrier full[STAGES];
        ptx::Barrier empty[STAGES];
        ptx::Barrier come[RESIDENT_STEPS];  // the columns of a step have come

        __device__ __forceinline__ const unsigned char* columns(uint32_t, uint32_t step) {
            ptx::barrier_wait(come[step], 0);
            return resident[step];
        }
        __device__ __forceinline__ void fetch_resident(const Resident& product, const typename Product::Work& work,
                                                       const typename Product::Depth& at, uint32_t step) {
            ptx::barrier_arrive_and_expect(come[step], Tile::Columns::BYTES);
            product.load_taps(resident[step], come[step], work, at, 0);
        }
    };

    __device__ __forceinline__ uint32_t stage_bytes() const { return this->patch.lines() * Tile::Rows::LINE_BYTES; }
    __device__ __forceinline__ void load(Stage& stage, ptx::Barrier& full, const typename Product::Work& work,
                                         typename Product::Depth& at, uint32_t) const {
        this->load_patch(stage.rows, full, work, at);
        this->advance(at);
    }
};

template <typename Product>
__device__ __forceinline__ void wgmma_resident(const typename Product::Params& p) {
    using Shared = typename Product::Shared;
    RIR_SHARED_DYNAMIC(Shared, shared);
    if (threadIdx.x == 0) {
        for (ptx::Barrier& come : shared.come) {
            ptx::barrier_init(come, 1);
        }
    }
    begin_alone<Product>(p, shared, Product::Tile::GROUPS * (GROUP_THREADS / WARP));
    wgmma_tiles<Product, 1>(p, shared, 0, [](const Product&) {});
}

template <uint32_t COLUMNS>
using ResidentForward = Resident<HaloForward<COLUMNS, 1, 2, 1>, ForwardOut<COLUMNS, 1>>;
template <uint32_t COLUMNS>
using ResidentDataGrad = Resident<HaloDataGrad<COLUMNS, 1, 2, 1>, DataGradOut<1>>;

}  // namespace conv2d
