// Form `wgmma-persistent`: as many blocks as multiprocessors, each of which makes tile after tile, so that the copies
// of the next tile come while one goes out. The depth of 96 channels is only 864, and going out takes a good part of
// that time: there the two warp groups that multiply take tiles in turns, each 128 rows of its own, and one goes out
// while the other multiplies ("ping-pong"). At 192 columns 128 rows are more sums than a thread has registers, so both
// groups share a tile.
//
// Stages are filled tile by tile, but the ring alone does not keep the turns: a parity tells a phase from the next, not
// from the one after. Whoever waited for a stage of its next tile while the other still waits for one in the same place
// would take that for its own.
#pragma once

#include "wgmma_ws.cuh"

namespace conv2d {

// The named barrier at which team 0 waits for its turn; that of team 1 follows. Those before are the warp groups' own.
constexpr uint32_t TURN_BARRIER = 1 + ROLES_THREADS / GROUP_THREADS;

// `beside(product)` is run by one thread of a warp that has nothing else to do.
template <typename Product, uint32_t SHARERS, typename Shared, typename Beside>
__device__ __forceinline__ void wgmma_tiles(const typename Product::Params& p, Shared& shared, uint32_t sharer,
                                            const Beside& beside) {
    using Tile = typename Product::Tile;
    static_assert(CONSUMERS % Tile::GROUPS == 0 && sizeof(Shared) <= HOPPER_SHARED);
    // Teams take tiles in turns.
    constexpr uint32_t TEAMS = CONSUMERS / Tile::GROUPS;
    const uint32_t first = blockIdx.x / SHARERS, step = gridDim.x / SHARERS;
    if (threadIdx.x < GROUP_THREADS) {
        ptx::registers_decrease<PRODUCER_REGISTERS>();
        const uint32_t warp = threadIdx.x / WARP;
        if (warp == 0 && ptx::elect()) {
            const Product product(p);
            RingPlace<Shared::STAGES> place;
#pragma unroll 1
            for (uint32_t tile = first; tile < product.tiles(); tile += step) {
                produce(product, shared, product.work(tile, sharer), place, tile == first, sharer);
            }
        } else if (warp == 1 && ptx::elect()) {
            beside(Product(p));
        }
    } else {
        ptx::registers_increase<CONSUMER_REGISTERS>();
        Product product(p);
        const uint32_t consumer = threadIdx.x / GROUP_THREADS - 1;
        const uint32_t team = consumer / Tile::GROUPS, group = consumer % Tile::GROUPS;
        uint32_t turn = 0;
        RingPlace<Shared::STAGES> place;
#pragma unroll 1
        for (uint32_t tile = first; tile < product.tiles(); tile += step) {
            const auto work = product.work(tile, sharer);
            if (turn == team) {
                if (TEAMS > 1 && tile != first) {
                    ptx::named_barrier_sync(TURN_BARRIER + team, CONSUMERS * GROUP_THREADS);
                }
                const auto pass_turn = [&] {
                    if (TEAMS > 1 && tile + step < product.tiles()) {
                        ptx::named_barrier_arrive(TURN_BARRIER + 1 - team, CONSUMERS * GROUP_THREADS);
                    }
                };
                typename Tile::Sums sums;
                consume<SHARERS, Tile>(shared, work.steps, product.rows_of(group), place, sums, pass_turn);
                product.finish(work, group, sums, shared.out[consumer]);
            } else {
                place.skip(work.steps);
            }
            turn = turn + 1 == TEAMS ? 0 : turn + 1;
        }
    }
}

template <typename Product>
__device__ __forceinline__ void wgmma_persistent(const typename Product::Params& p) {
    using Shared = WgmmaShared<Product, CONSUMERS>;
    RIR_SHARED_DYNAMIC(Shared, shared);
    begin_alone<Product>(p, shared, Product::Tile::GROUPS * (GROUP_THREADS / WARP));
    wgmma_tiles<Product, 1>(p, shared, 0, [](const Product&) {});
}

}  // namespace conv2d
