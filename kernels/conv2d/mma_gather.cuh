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

    // Steps of MMA_DEPTH.
    __device__ __forceinline__ uint32_t steps() const { return ceil_div(tap_rows * tap_columns * channels, MMA_DEPTH); }
    // The position `further` on in the flat order; within a stage both orders are that.
    __device__ __forceinline__ DepthPosition after(DepthPosition at, uint32_t further) const {
        at.channel += further;
        while (at.channel >= channels) {
            at.channel -= channels;
            next_tap(at);
        }
        return at;
    }
    // The position at which the next step begins.
    __device__ __forceinline__ DepthPosition next_step(DepthPosition at) const {
        if (channels % MMA_DEPTH != 0) {
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

// Fills a tile of gathered rows with the step that begins at `step`.
template <uint32_t THREADS>
__device__ __forceinline__ void gather_rows(OperandTile<Chunks::AlongDepth, TILE_ROWS>& tile, bool whole,
                                            const Source<bf16>& source, const OriginVector (&origins)[TILE_ROWS],
                                            const Depth& depth, const DepthPosition& step) {
    fill<THREADS, ptx::Through::All>(tile, whole, source.pixels, [&](uint32_t row, uint32_t at) -> const bf16* {
        const DepthPosition position = depth.after(step, at);
        if (!depth.holds(position)) {
            return nullptr;
        }
        const bf16* run = source.run(to_origin(origins[row]), position.i, position.j);
        return run != nullptr ? run + position.channel : nullptr;
    });
}

// Of a tile along the pixels: the shared memory of a kernel that gathers, forward or transposed.
template <typename Tile, typename Stage, typename Staging>
struct GatherShared {
    union {
        Stage stages[STAGES];
        Staging staging;  // once all is multiplied
    };
    OriginVector origins[TILE_ROWS];
    static_assert(sizeof(Staging) <= sizeof(Stage[STAGES]), "the launch counts the stages and the origins");
};

}  // namespace conv2d
