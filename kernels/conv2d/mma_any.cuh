// Operands of the tensor-core convolutions of any number of channels and of taps, where mma_gather.cuh and its likes
// take whole stages and few taps: every element's place is computed anew.
//
// The depth lies flat, tap by tap, as the filters do: then a stage holds parts of several taps, and none is empty. The
// stem's 27 products are one step.
#pragma once

#include "mma_gather.cuh"

namespace conv2d {

// Fills a tile by THREADS threads. `address(line_round, chunk_round, i)` is that of element i of the chunk that the
// thread fills in these rounds of Filling; null where there is none: a 0. `whole`: the eight elements of a chunk are
// neighbours in global memory, aligned to 16 bytes, or all null. Such chunks are copied in the background through the
// CACHES; others are gathered one by one, at once.
template <uint32_t THREADS, ptx::Through CACHES, typename Tile, typename Address>
__device__ __forceinline__ void fill_any(Tile& tile, bool whole, Address address) {
    using F = typename Tile::template FilledBy<THREADS>;
    if (whole) {
        fill<THREADS, CACHES>(tile, [&](uint32_t line_round, uint32_t chunk_round) -> GlobalChunk {
            const bf16* from = address(line_round, chunk_round, 0);
            return {from, from == nullptr};
        });
        return;
    }
#pragma unroll
    for (uint32_t line_round = 0; line_round < F::LINE_ROUNDS; ++line_round) {
#pragma unroll
        for (uint32_t chunk_round = 0; chunk_round < F::CHUNK_ROUNDS; ++chunk_round) {
            uint32_t pairs[CHUNK / 2] = {};
#pragma unroll
            for (uint32_t i = 0; i < CHUNK; ++i) {
                const bf16* from = address(line_round, chunk_round, i);
                const uint32_t bits = from != nullptr ? __bfloat16_as_ushort(*from) : 0;
                pairs[i / 2] |= bits << (i % 2 * 16);
            }
            tile.chunks[F::place(threadIdx.x, line_round, chunk_round)] =
                make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
        }
    }
}

// A position in the flat depth.
struct DepthPosition {
    uint32_t i = 0, j = 0;  // tap
    uint32_t channel = 0;
};

struct FlatDepth {
    uint32_t tap_rows, tap_columns, channels;

    template <typename T>
    __device__ __forceinline__ explicit FlatDepth(const Source<T>& source)
        : tap_rows(source.rows.taps), tap_columns(source.columns.taps), channels(source.channels) {}

    // Steps of MMA_DEPTH.
    __device__ __forceinline__ uint32_t steps() const { return ceil_div(tap_rows * tap_columns * channels, MMA_DEPTH); }
    // The position `further` on.
    __device__ __forceinline__ DepthPosition after(DepthPosition at, uint32_t further) const {
        at.channel += further;
        while (at.channel >= channels) {
            at.channel -= channels;
            if (++at.j == tap_columns) {
                at.j = 0;
                ++at.i;
            }
        }
        return at;
    }
    // Whether a position is before the end: those of the last step need not be.
    __device__ __forceinline__ bool holds(const DepthPosition& at) const { return at.i < tap_rows; }
};

// The tile of gathered rows. A thread fills chunks of the same rows in every step, and keeps where these begin.
template <uint32_t THREADS>
struct AnyGatheredRows {
    using Rows = OperandTile<Chunks::AlongDepth, TILE_ROWS>;
    using F = typename Rows::template FilledBy<THREADS>;

    Origin origins[F::LINE_ROUNDS];

    // Rows are pixels first .. first + TILE_ROWS of `pixels`.
    __device__ __forceinline__ AnyGatheredRows(const Source<bf16>& source, uint32_t first, uint32_t pixels) {
#pragma unroll
        for (uint32_t round = 0; round < F::LINE_ROUNDS; ++round) {
            const uint32_t index = first + F::line(threadIdx.x, round);
            origins[round] = index < pixels ? source.origin(index) : Origin{NOWHERE, NOWHERE, 0};
        }
    }
    // Fills the tile; `own` is the position of this thread's chunks.
    __device__ __forceinline__ void fetch(Rows& tile, const Source<bf16>& source, const FlatDepth& depth,
                                          const DepthPosition& own) const {
        const bool whole = source.channels % CHUNK == 0;
        const auto address = [&](uint32_t round, uint32_t, uint32_t i) -> const bf16* {
            const DepthPosition position = i == 0 ? own : depth.after(own, i);
            const bf16* run = depth.holds(position) ? source.run(origins[round], position.i, position.j) : nullptr;
            return run != nullptr ? run + position.channel : nullptr;
        };
        fill_any<THREADS, ptx::Through::All>(tile, whole, address);
    }
};

// The position of a step, and that of this thread's chunks along its depth.
struct FlatStep {
    DepthPosition first, own;
};

// The operands of a product over a source, as GatheredOperands of mma_gather.cuh; here `Filters`
// fetch(tile, source, depth, step).
template <typename Tile, typename Filters>
struct AnyGatheredOperands {
    using Stage = MmaStage<Tile, Chunks::AlongDepth, Filters::ORDER>;

    const Source<bf16>& source;
    AnyGatheredRows<Tile::THREADS> rows;
    Filters filters;
    FlatDepth depth;
    FlatStep step;  // to fetch

    __device__ __forceinline__ AnyGatheredOperands(const Source<bf16>& source, uint32_t first_pixel, uint32_t pixels,
                                                   const Filters& filters)
        : source(source),
          rows(source, first_pixel, pixels),
          filters(filters),
          depth(source),
          step{{}, depth.after({}, own_depth())} {}
    __device__ __forceinline__ uint32_t steps() const { return depth.steps(); }
    __device__ __forceinline__ void fetch(Stage& stage) {
        rows.fetch(stage.rows, source, depth, step.own);
        filters.fetch(stage.columns, source, depth, step);
        step = {depth.after(step.first, MMA_DEPTH), depth.after(step.own, MMA_DEPTH)};
    }
};

}  // namespace conv2d
