// Form `wgmma-store`: a tile goes out as it came, by bulk copies. A thread rounds its sums where they are, in
// registers, and a warp puts them into shared memory by stmatrix, 16 rows by 16 columns at a time, where a copy takes
// them from. So there is no way through shared memory as f32, and nobody computes where a row lies.
//
// E comes by the same way: before a warp group begins with a tile, a copy brings the channels that E adds to where the
// tile will go out, and ldmatrix gives every thread those of its sums. They are added in f32, before rounding.
//
// One thread beside does all these copies. Two mbarriers a warp group say that its place is ready, with E in it and
// nothing of the last tile, and that it is filled. It serves a product whose results are rounded and stored, with
// statistics or without. Otherwise as wgmma-halo, or as wgmma-cluster, whatever copies fewer pixels.
#pragma once

#include "wgmma_halo.cuh"

namespace conv2d {

// A warp group's rows of a tile, as it goes out: as WgmmaOperand says, its columns in the place of a depth.
template <uint32_t COLUMNS, uint32_t ROWS>
struct alignas(SWIZZLE_ALIGNMENT) StoredRows {
    using Operand = WgmmaOperand<Chunks::AlongDepth, ROWS, COLUMNS, COLUMNS % 64 == 0 ? 64 : 32>;

    unsigned char numbers[Operand::BYTES];
    float of_warps[4][COLUMNS];
    float means[COLUMNS];
    ptx::Barrier ready, filled;
};

// PRODUCT, a WgmmaForward or WgmmaDataGrad, with patches or without, that goes out so.
template <typename Product>
struct WithStores : Product {
    using Params = WgmmaStoreParams<typename Product::Params>;
    using Tile = typename Product::Tile;
    using Work = typename Product::Work;
    using Out = StoredRows<Tile::COLUMNS, Tile::GROUP_ROWS>;
    using Operand = typename Out::Operand;
    // Columns whose sums a thread holds, and pairs of them in a part of 16 columns.
    static constexpr uint32_t HELD = Tile::COLUMNS / 4, PARTS = Tile::COLUMNS / 16, PAIRS = 4;

    const Params& maps;
    uint32_t parity = 0;  // of the phase of `ready` that the next tile waits for

    __device__ __forceinline__ explicit WithStores(const Params& p) : Product(p.product), maps(p) {}
    __device__ __forceinline__ void prefetch() const {
        Product::prefetch();
        ptx::prefetch_map(maps.out);
    }
    __device__ __forceinline__ static uint32_t first_row(const Work& work, uint32_t group) {
        return work.first_row + group * Tile::GROUP_ROWS;
    }

    // By the thread beside: brings E's channels, where the tile has any, to a place that nobody uses.
    __device__ __forceinline__ void make_ready(Out& out, const Work& work, uint32_t group) const {
        const Extents& e = this->p.conv.e;
        const uint32_t channels = work.first_column < e.identity ? e.identity - work.first_column : 0;
        const uint32_t boxes = min(ceil_div(channels, Operand::SPAN), Operand::BOXES);
        const Pixel first = unpack_pixel(first_row(work, group), e.p, e.q);
        ptx::barrier_arrive_and_expect(out.ready, boxes * Operand::BOX_BYTES);
        for (uint32_t box = 0; box < boxes; ++box) {
            ptx::load_im2col(out.numbers + box * Operand::BOX_BYTES, maps.identity, out.ready,
                             int32_t(work.first_column + box * Operand::SPAN), int32_t(first.x * e.stride),
                             int32_t(first.y * e.stride), int32_t(first.image), 0, 0, 0);
        }
    }
    // By the same thread: stores what the place was filled with, and waits until it may be filled again.
    __device__ __forceinline__ void store(Out& out, const Work& work, uint32_t group) const {
        const uint32_t columns = this->out_columns();
        const bool any = first_row(work, group) < this->out_rows();
        for (uint32_t box = 0; any && box < Operand::BOXES; ++box) {
            const uint32_t column = work.first_column + box * Operand::SPAN;
            if (column < columns) {
                ptx::store_box(maps.out, out.numbers + box * Operand::BOX_BYTES, int32_t(column),
                               int32_t(first_row(work, group)));
            }
        }
        ptx::store_commit();
        ptx::store_wait_read<0>();
    }
    __device__ __forceinline__ void finish(const Work& work, uint32_t group, const typename Tile::Sums& sums, Out& out);

  private:
    // A thread's numbers as they are stored.
    using Stored = uint32_t[Tile::BLOCKS][PARTS][PAIRS];

    // Sums `term` of every number that there is, column by column, to the group's four warps' sums. Numbers are
    // unpacked anew each time: the compiler would rather keep all of them in registers, twice as many.
    template <typename Term>
    __device__ __forceinline__ static void add_up(Out& out, const GroupPlace<Tile>& place, Stored& stored,
                                                  const Term& term) {
        float held[HELD] = {};
#pragma unroll
        for (uint32_t i = 0; i < Tile::BLOCKS; ++i) {
#pragma unroll
            for (uint32_t half = 0; half < 2; ++half) {
                if (i * WGMMA_ROWS + fragment_row(place.thread, half) < place.count) {
#pragma unroll
                    for (uint32_t n = 0; n < HELD; n += 2) {
                        uint32_t& pair = stored[i][n / 4][n / 2 % 2 * 2 + half];
                        ptx::keep(pair);
                        held[n] += term(n, low_of_pair(pair));
                        held[n + 1] += term(n + 1, high_of_pair(pair));
                    }
                }
            }
        }
        const uint32_t lane = place.thread % WARP;
        add_lanes(held, lane);
        place.sync();
#pragma unroll
        for (uint32_t n = 0; n < HELD / 8; ++n) {
            out.of_warps[place.warp()][held_column(lane, first_summed<HELD>(lane) + n)] = held[n];
        }
        place.sync();
    }
};

// All copies of the ways out of a block's warp groups.
template <uint32_t SHARERS, typename Product, typename Shared>
__device__ __forceinline__ void keep_storing(const Product& product, Shared& shared, uint32_t sharer) {
    constexpr uint32_t GROUPS = Product::Tile::GROUPS, TEAMS = CONSUMERS / GROUPS;
    const uint32_t first = blockIdx.x / SHARERS, step = gridDim.x / SHARERS;
    const auto make_ready = [&](uint32_t tile, uint32_t team) {
        for (uint32_t group = 0; tile < product.tiles() && group < GROUPS; ++group) {
            product.make_ready(shared.out[team * GROUPS + group], product.work(tile, sharer), group);
        }
    };
    for (uint32_t team = 0; team < TEAMS; ++team) {
        make_ready(first + team * step, team);
    }
    // Whose turn it is, and the parity of its tile.
    RingPlace<TEAMS> turn;
#pragma unroll 1
    for (uint32_t tile = first; tile < product.tiles(); tile += step) {
        const auto work = product.work(tile, sharer);
        for (uint32_t group = 0; group < GROUPS; ++group) {
            auto& out = shared.out[turn.slot * GROUPS + group];
            ptx::barrier_wait(out.filled, turn.parity);
            product.store(out, work, group);
        }
        make_ready(tile + TEAMS * step, turn.slot);
        turn.advance();
    }
    // What waited before was that places had been read.
    ptx::store_wait<0>();
}

template <typename Product>
__device__ __forceinline__ void WithStores<Product>::finish(const Work& work, uint32_t group,
                                                            const typename Tile::Sums& sums, Out& out) {
    const uint32_t columns = this->out_columns(), identity = this->p.conv.e.identity;
    const GroupPlace<Tile> place(first_row(work, group), this->out_rows(), work.first_column);
    const uint32_t lane = place.thread % WARP;
    Stored stored;
    ptx::barrier_wait(out.ready, parity);
    parity ^= 1;
#pragma unroll
    for (uint32_t i = 0; i < Tile::BLOCKS; ++i) {
        const uint32_t row = i * WGMMA_ROWS + matrix_row(place.thread);
        const auto at = [&](uint32_t part) {
            return out.numbers + Operand::place(row, part * 16 + matrix_column(place.thread));
        };
#pragma unroll
        for (uint32_t part = 0; part < PARTS; ++part) {
            uint32_t(&pairs)[PAIRS] = stored[i][part];
            const uint32_t column = place.first_column + part * 16;
            // E's channels come by eight.
            if (column < identity) {
                ptx::load_matrices<false>(pairs, at(part));
            }
#pragma unroll
            for (uint32_t pair = 0; pair < PAIRS; ++pair) {
                const bool added = column + pair / 2 * 8 < identity;
                const float* sum = &sums[i][part * 8 + pair * 2];
                pairs[pair] = ptx::round_pair(sum[0] + (added ? low_of_pair(pairs[pair]) : 0.0f),
                                              sum[1] + (added ? high_of_pair(pairs[pair]) : 0.0f));
            }
        }
        __syncwarp();
#pragma unroll
        for (uint32_t part = 0; part < PARTS; ++part) {
            ptx::store_matrices(at(part), stored[i][part]);
        }
    }
    ptx::fence_async_shared();
    __syncwarp();
    if (lane == 0) {
        ptx::barrier_arrive(out.filled);
    }
    float* partials = this->statistics();
    if (partials == nullptr || place.count == 0) {
        return;
    }
    // [parts, 2, K] of mean and squared deviations, a part for each warp group's rows.
    partials += uint64_t(place.first_row / Tile::GROUP_ROWS) * 2 * columns + place.first_column;
    add_up(out, place, stored, [](uint32_t, float z) { return z; });
    for (uint32_t c = place.thread; c < Tile::COLUMNS; c += GROUP_THREADS) {
        const float mean = add_warps(out.of_warps, c) / float(place.count);
        out.means[c] = mean;
        if (place.first_column + c < columns) {
            partials[c] = mean;
        }
    }
    place.sync();
    float means[HELD];
#pragma unroll
    for (uint32_t n = 0; n < HELD; n += 2) {
        const float2 pair = *reinterpret_cast<const float2*>(&out.means[held_column(lane, n)]);
        means[n] = pair.x;
        means[n + 1] = pair.y;
    }
    add_up(out, place, stored, [&](uint32_t n, float z) { return (z - means[n]) * (z - means[n]); });
    for (uint32_t c = place.thread; c < Tile::COLUMNS; c += GROUP_THREADS) {
        if (place.first_column + c < columns) {
            partials[columns + c] = add_warps(out.of_warps, c);
        }
    }
}

template <typename Product>
__device__ __forceinline__ void wgmma_store(const typename Product::Params& p) {
    using Shared = WgmmaShared<Product, CONSUMERS>;
    RIR_SHARED_DYNAMIC(Shared, shared);
    if (threadIdx.x == 0) {
        for (auto& out : shared.out) {
            ptx::barrier_init(out.ready, 1);
            ptx::barrier_init(out.filled, GROUP_THREADS / WARP);
        }
    }
    wgmma_cluster<Product>(
        p, [&](const Product& product) { keep_storing<CLUSTER>(product, shared, ptx::block_of_cluster()); });
}

template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS>
using StoredForward = WithStores<WgmmaForward<COLUMNS, SPAN, GROUPS, BLOCKS, CLUSTER>>;
template <uint32_t COLUMNS, uint32_t SPAN, uint32_t GROUPS, uint32_t BLOCKS>
using StoredDataGrad = WithStores<WgmmaDataGrad<COLUMNS, SPAN, GROUPS, BLOCKS, CLUSTER>>;
template <uint32_t COLUMNS, uint32_t GROUPS, uint32_t BLOCKS>
using StoredHaloForward = WithStores<HaloForward<COLUMNS, GROUPS, BLOCKS>>;
template <uint32_t COLUMNS, uint32_t GROUPS, uint32_t BLOCKS>
using StoredHaloDataGrad = WithStores<HaloDataGrad<COLUMNS, GROUPS, BLOCKS>>;

using StoreForwardParams = WgmmaStoreParams<WgmmaForwardParams>;
using StoreDataGradParams = WgmmaStoreParams<WgmmaDataGradParams>;

}  // namespace conv2d
