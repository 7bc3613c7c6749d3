// Form `wgmma`: bulk copies and wgmma, and nothing else. A block makes one tile with two warp groups; its first thread
// starts the copies of a step as soon as the whole block has used the stage that they go to, so there is a block's
// barrier a step, and nothing to do while a tile goes out. What the later forms improve on.
#pragma once

#include "wgmma_data_grad.cuh"
#include "wgmma_forward.cuh"
#include "wgmma_weight_grad.cuh"

namespace conv2d {

// Shared memory of a block of Hopper, at most; the launch asks for all of it.
constexpr uint32_t HOPPER_SHARED = 227 * 1024;
constexpr uint32_t MOST_STAGES = 8;

// Stages that fit beside what so many warp groups need to go out.
template <typename Product, uint32_t OUTS>
constexpr uint32_t stages_beside() {
    constexpr uint32_t BARRIERS = 2 * MOST_STAGES * sizeof(ptx::Barrier);
    constexpr uint32_t FIT =
        (HOPPER_SHARED - OUTS * sizeof(typename Product::Out) - BARRIERS) / sizeof(typename Product::Tile::Stage);
    return FIT < MOST_STAGES ? FIT : MOST_STAGES;
}

// A block's shared memory: the ring, and a way out for each of OUTS warp groups.
template <typename Product, uint32_t OUTS>
struct WgmmaShared {
    static constexpr uint32_t STAGES = stages_beside<Product, OUTS>();
    static_assert(STAGES >= 2, "one is filled while another is used");
    using Stage = typename Product::Tile::Stage;

    Stage stages[STAGES];
    typename Product::Out out[OUTS];
    ptx::Barrier full[STAGES];   // all copies of the stage have come
    ptx::Barrier empty[STAGES];  // all warps have used it

    // The columns of a step of the depth, whose rows are in a slot of the ring: here they are too.
    __device__ __forceinline__ const unsigned char* columns(uint32_t slot, uint32_t) { return stages[slot].columns; }
    // Starts copying what stays for all tiles: nothing.
    template <typename Depth>
    __device__ __forceinline__ void fetch_resident(const Product&, const typename Product::Work&, const Depth&,
                                                   uint32_t) {}
};

template <typename Product>
__device__ __forceinline__ void wgmma(const typename Product::Params& p) {
    using Tile = typename Product::Tile;
    using Shared = WgmmaShared<Product, Tile::GROUPS>;
    static_assert(sizeof(Shared) <= HOPPER_SHARED);
    RIR_SHARED_DYNAMIC(Shared, shared);
    constexpr uint32_t STAGES = Shared::STAGES;
    const Product product(p);
    const auto work = product.work(blockIdx.x);
    const uint32_t group = threadIdx.x / GROUP_THREADS;
    const bool copies = threadIdx.x == 0;
    if (copies) {
        for (ptx::Barrier& full : shared.full) {
            ptx::barrier_init(full, 1);
        }
        ptx::fence_barrier_init();
        product.prefetch();
    }
    __syncthreads();
    ptx::wait_for_launch_before();
    auto depth = product.depth(work);
    const auto fetch = [&](uint32_t step) {
        ptx::Barrier& full = shared.full[step % STAGES];
        ptx::barrier_arrive_and_expect(full, product.stage_bytes());
        product.load(shared.stages[step % STAGES], full, work, depth);
    };
    for (uint32_t step = 0; copies && step < min(STAGES, work.steps); ++step) {
        fetch(step);
    }

    typename Tile::Sums sums;
    clear_sums(sums);
    RingPlace<STAGES> place;
#pragma unroll 1
    for (uint32_t step = 0; step < work.steps; ++step) {
        ptx::barrier_wait(shared.full[place.slot], place.parity);
        const auto& stage = shared.stages[place.slot];
        multiply_step<Tile>(stage.rows, stage.columns, product.rows_of(group), sums);
        if (step > 0) {
            // The stage of the step before is used, once everybody says so.
            ptx::warpgroup_wait<1>();
            __syncthreads();
            if (copies && step - 1 + STAGES < work.steps) {
                fetch(step - 1 + STAGES);
            }
        }
        place.advance();
    }
    ptx::warpgroup_wait<0>();
    keep_sums(sums);
    product.finish(work, group, sums, shared.out[group]);
}

}  // namespace conv2d
