// The rows of a tensor-core convolution over a source image, forward or transposed: row = target pixel, depth = (tap,
// channel).
//
// The order of the depth: where channels come in whole stages, 32 of them outermost and the taps innermost, so that the
// nine taps, which read nearly the same pixels, follow each other and L1 can keep what they share (to be measured).
// Other channel counts lie flat, tap by tap, as the filters do: then a stage holds parts of several taps, and none is
// empty.
#pragma once

#include "gather.cuh"
#include "mma_tile.cuh"

namespace conv2d {

// A position in the depth.
struct DepthPosition {
    uint32_t i = 0, j = 0;  // tap
    uint32_t channel = 0;
};

struct Depth {
    uint32_t tap_rows, tap_columns, channels;

    template <typename T>
    __device__ __forceinline__ explicit Depth(const Source<T>& source)
        : tap_rows(source.rows.taps), tap_columns(source.columns.taps), channels(source.channels) {}

    // Whether 32 channels are outermost; else the depth is flat.
    __device__ __forceinline__ bool in_stages() const { return channels % MMA_DEPTH == 0; }
    // Steps of MMA_DEPTH.
    __device__ __forceinline__ uint32_t steps() const { return ceil_div(tap_rows * tap_columns * channels, MMA_DEPTH); }
    // The position `further` on in the same step.
    __device__ __forceinline__ DepthPosition after(DepthPosition at, uint32_t further) const {
        at.channel += further;
        while (!in_stages() && at.channel >= channels) {
            at.channel -= channels;
            next_tap(at);
        }
        return at;
    }
    // The same place in the next step.
    __device__ __forceinline__ DepthPosition next_step(DepthPosition at) const {
        if (!in_stages()) {
            return after(at, MMA_DEPTH);
        }
        next_tap(at);
        if (at.i == tap_rows) {
            at.i = 0;
            at.channel += MMA_DEPTH;
        }
        return at;
    }
    // Whether a position is before the end: only the last step of the flat order has others.
    __device__ __forceinline__ bool holds(const DepthPosition& at) const { return at.i < tap_rows; }

  private:
    __device__ __forceinline__ void next_tap(DepthPosition& at) const {
        if (++at.j == tap_columns) {
            at.j = 0;
            ++at.i;
        }
    }
};

// The depth of this thread's chunks of a tile along the depth: in every round the same. THREADS fill it.
template <uint32_t THREADS>
__device__ __forceinline__ uint32_t own_depth() {
    static_assert(THREADS * CHUNK % MMA_DEPTH == 0, "whole lines in every round");
    return threadIdx.x * CHUNK % MMA_DEPTH;
}

// The tile of gathered rows. A thread fills chunks of the same rows in every step, and keeps where these begin.
template <uint32_t THREADS>
struct GatheredRows {
    using Rows = OperandTile<Chunks::AlongDepth, TILE_ROWS>;

    Origin origins[fill_rounds<Rows>(THREADS)];

    // Rows are pixels first .. first + TILE_ROWS of `pixels`.
    __device__ __forceinline__ GatheredRows(const Source<bf16>& source, uint32_t first, uint32_t pixels) {
#pragma unroll
        for (uint32_t round = 0; round < fill_rounds<Rows>(THREADS); ++round) {
            const uint32_t index = first + filled_line<Rows, THREADS>(round);
            origins[round] = index < pixels ? source.origin(index) : Origin{NOWHERE, NOWHERE, 0};
        }
    }
    // Fills the tile; `own` is the position of this thread's chunks.
    __device__ __forceinline__ void fetch(Rows& tile, bool whole, const Source<bf16>& source, const Depth& depth,
                                          const DepthPosition& own) const {
        const auto address = [&](uint32_t round, uint32_t, uint32_t, uint32_t i) -> const bf16* {
            const DepthPosition position = i == 0 ? own : depth.after(own, i);
            const bf16* run = depth.holds(position) ? source.run(origins[round], position.i, position.j) : nullptr;
            return run != nullptr ? run + position.channel : nullptr;
        };
        fill<THREADS, ptx::Through::All>(tile, whole, source.pixels, address);
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
