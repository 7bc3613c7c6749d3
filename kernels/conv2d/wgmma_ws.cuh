// Form `wgmma-ws`: warp specialisation. One warp group only copies, two only multiply; what they say to each other are
// two mbarriers a stage: full, when the copies have come, and empty, when all warps that multiply have used it. So
// copies run ahead as far as the ring goes, nobody waits for a whole block, and registers go to those who hold sums.
#pragma once

#include "wgmma.cuh"

namespace conv2d {

// Warp groups that multiply, and registers of a thread: with 384 threads a block is launched with 168 each.
constexpr uint32_t CONSUMERS = 2;
constexpr uint32_t ROLES_THREADS = (1 + CONSUMERS) * GROUP_THREADS;
constexpr int PRODUCER_REGISTERS = 40;
constexpr int CONSUMER_REGISTERS = 232;
static_assert(PRODUCER_REGISTERS + int(CONSUMERS) * CONSUMER_REGISTERS <= 3 * 168);

// Makes the ring's barriers, for `users` warps of each stage, and asks for the tensor maps. The block's barrier, or the
// cluster's, follows, and then the wait for the launch before, behind whose end all of it lies up to there.
template <typename Product, typename Shared>
__device__ __forceinline__ void make_ring(const typename Product::Params& p, Shared& shared, uint32_t users) {
    if (threadIdx.x == 0) {
        for (uint32_t slot = 0; slot < Shared::STAGES; ++slot) {
            ptx::barrier_init(shared.full[slot], 1);
            ptx::barrier_init(shared.empty[slot], users);
        }
        ptx::fence_barrier_init();
        Product(p).prefetch();
    }
}
// The same by a block without a cluster, up to where it may touch memory.
template <typename Product, typename Shared>
__device__ __forceinline__ void begin_alone(const typename Product::Params& p, Shared& shared, uint32_t users) {
    make_ring<Product>(p, shared, users);
    __syncthreads();
    ptx::wait_for_launch_before();
}

// By one thread: copies a tile's steps, from `place` on. `first`: it is the block's first tile.
template <typename Product, typename Shared>
__device__ __forceinline__ void produce(const Product& product, Shared& shared, const typename Product::Work& work,
                                        RingPlace<Shared::STAGES>& place, bool first = true, uint32_t sharer = 0) {
    auto depth = product.depth(work);
#pragma unroll 1
    for (uint32_t step = 0; step < work.steps; ++step) {
        if (first) {
            shared.fetch_resident(product, work, depth, step);
        }
        ptx::Barrier& full = shared.full[place.slot];
        // The phase before: of the first round, one that never was.
        ptx::barrier_wait(shared.empty[place.slot], place.parity ^ 1);
        ptx::barrier_arrive_and_expect(full, product.stage_bytes());
        product.load(shared.stages[place.slot], full, work, depth, sharer);
        place.advance();
    }
}

// One thread a warp, in each of the SHARERS blocks that fill the stage.
template <uint32_t SHARERS>
__device__ __forceinline__ void release(ptx::Barrier& empty) {
    const uint32_t lane = threadIdx.x % WARP;
    if constexpr (SHARERS > 1) {
        if (lane < SHARERS) {
            ptx::barrier_arrive_at(empty, lane);
        }
    } else if (lane == 0) {
        ptx::barrier_arrive(empty);
    }
}

// By a warp group: multiplies a tile's steps, from `place` on, and calls `started` when all have come and their
// products are under way.
template <uint32_t SHARERS, typename Tile, typename Shared, typename RowsAt, typename Started>
__device__ __forceinline__ void consume(Shared& shared, uint32_t steps, const RowsAt& rows_at,
                                        RingPlace<Shared::STAGES>& place, typename Tile::Sums& sums,
                                        const Started& started) {
    clear_sums(sums);
    uint32_t used = 0;  // the slot of the step before
#pragma unroll 1
    for (uint32_t step = 0; step < steps; ++step) {
        ptx::barrier_wait(shared.full[place.slot], place.parity);
        multiply_step<Tile>(shared.stages[place.slot].rows, shared.columns(place.slot, step), rows_at, sums);
        if (step > 0) {
            ptx::warpgroup_wait<1>();
            release<SHARERS>(shared.empty[used]);
        }
        used = place.slot;
        place.advance();
    }
    started();
    ptx::warpgroup_wait<0>();
    if (steps > 0) {
        release<SHARERS>(shared.empty[used]);
    }
    keep_sums(sums);
}

template <typename Product>
__device__ __forceinline__ void wgmma_ws(const typename Product::Params& p) {
    using Tile = typename Product::Tile;
    using Shared = WgmmaShared<Product, CONSUMERS>;
    static_assert(Tile::GROUPS == CONSUMERS && sizeof(Shared) <= HOPPER_SHARED);
    RIR_SHARED_DYNAMIC(Shared, shared);
    const Product product(p);
    const auto work = product.work(blockIdx.x);
    begin_alone<Product>(p, shared, CONSUMERS * (GROUP_THREADS / WARP));
    RingPlace<Shared::STAGES> place;
    if (threadIdx.x < GROUP_THREADS) {
        ptx::registers_decrease<PRODUCER_REGISTERS>();
        if (threadIdx.x < WARP && ptx::elect()) {
            produce(product, shared, work, place);
        }
    } else {
        ptx::registers_increase<CONSUMER_REGISTERS>();
        const uint32_t group = threadIdx.x / GROUP_THREADS - 1;
        typename Tile::Sums sums;
        consume<1, Tile>(shared, work.steps, product.rows_of(group), place, sums, [] {});
        product.finish(work, group, sums, shared.out[group]);
    }
}

}  // namespace conv2d
