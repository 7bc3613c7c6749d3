// The rows of a tensor-core convolution over a source image, forward or transposed: row = target pixel, depth = (tap,
// channel).
//
// The order of the depth: 32 channels outermost and the taps innermost, so that the nine taps, which read nearly the
// same pixels, follow each other and L1 can keep what they share (to be measured). So channels come in whole stages;
// mma_any.cuh takes any number.
//
// What does not change from step to step is found before the first: where a row's taps begin, and which of them lie in
// the padding. A step's place is the same for the whole block, and moves all rows by the same distance.
#pragma once

#include "gather.cuh"
#include "mma_tile.cuh"

namespace conv2d {

// A step of the depth: a tap, and the first of its MMA_DEPTH channels.
struct Step {
    uint32_t i = 0, j = 0;  // tap
    uint32_t channel = 0;

    // Of a product over a source.
    __device__ __forceinline__ static uint32_t count(const Source<bf16>& source) {
        return source.rows.taps * source.columns.taps * (source.channels / MMA_DEPTH);
    }
    __device__ __forceinline__ void advance(const Source<bf16>& source) {
        if (++j < source.columns.taps) {
            return;
        }
        j = 0;
        if (++i < source.rows.taps) {
            return;
        }
        i = 0;
        channel += MMA_DEPTH;
    }
};

// A tile along the depth is filled in rounds of lines, a thread always at the same depth.
constexpr uint32_t DEPTH_CHUNKS = MMA_DEPTH / CHUNK;
__device__ __forceinline__ uint32_t own_depth() { return threadIdx.x % DEPTH_CHUNKS * CHUNK; }

// taps_outside of an origin.
__device__ __forceinline__ uint32_t taps_outside(const Source<bf16>& source, const Origin& origin) {
    return taps_outside(source.rows, source.columns, origin.y, origin.x, source.height, source.width);
}

// The tile of gathered rows. A thread fills chunks of the same rows in every step.
template <uint32_t THREADS>
struct GatheredRows {
    using Rows = OperandTile<Chunks::AlongDepth, TILE_ROWS>;
    using F = typename Rows::template FilledBy<THREADS>;
    static_assert(F::GROUP == DEPTH_CHUNKS && F::CHUNK_ROUNDS == 1, "own_depth is the depth of every round");

    const bf16* runs[F::LINE_ROUNDS];  // this thread's channels of the first step
    uint32_t outside[F::LINE_ROUNDS];  // taps_outside

    // Rows are pixels first .. first + TILE_ROWS; past the last of `pixels` they repeat it, for nobody.
    __device__ __forceinline__ GatheredRows(const Source<bf16>& source, uint32_t first, uint32_t pixels) {
#pragma unroll
        for (uint32_t round = 0; round < F::LINE_ROUNDS; ++round) {
            const Origin origin = source.origin(min(first + F::line(threadIdx.x, round), pixels - 1));
            runs[round] = source.pixels + (int64_t(origin.pixel) * source.channels + own_depth());
            outside[round] = taps_outside(source, origin);
        }
    }
    __device__ __forceinline__ void fetch(Rows& tile, const Source<bf16>& source, const Step& step) const {
        const int32_t further = source.distance(step.i, step.j) + int32_t(step.channel);
        const uint32_t bits = tap_bits(step.i, step.j);
        fill<THREADS, ptx::Through::All>(tile, [&](uint32_t round, uint32_t) -> GlobalChunk {
            return {runs[round] + further, (outside[round] & bits) != 0};
        });
    }
};

// The operands of a product over a source: gathered rows, and filters. `Filters` say how their tile lies, and
// fetch(tile, source, step) it.
template <typename Tile, typename Filters>
struct GatheredOperands {
    using Stage = MmaStage<Tile, Chunks::AlongDepth, Filters::ORDER>;

    const Source<bf16>& source;
    GatheredRows<Tile::THREADS> rows;
    Filters filters;
    Step step;  // to fetch

    __device__ __forceinline__ GatheredOperands(const Source<bf16>& source, uint32_t first_pixel, uint32_t pixels,
                                                const Filters& filters)
        : source(source), rows(source, first_pixel, pixels), filters(filters) {}
    __device__ __forceinline__ uint32_t steps() const { return Step::count(source); }
    __device__ __forceinline__ void fetch(Stage& stage) {
        rows.fetch(stage.rows, source, step);
        filters.fetch(stage.columns, source, step);
        step.advance(source);
    }
};

// The shared memory of a kernel that gathers, forward or transposed.
template <typename Tile, typename Stage, typename Staging>
union GatherShared {
    Stage stages[STAGES];
    Staging staging;  // once all is multiplied
    static_assert(sizeof(Staging) <= sizeof(Stage[STAGES]), "the launch counts the stages");
};

}  // namespace conv2d
