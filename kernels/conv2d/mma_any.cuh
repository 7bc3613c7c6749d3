// Operands of the tensor-core convolutions of any number of channels and of taps, where mma_gather.cuh and its likes
// take whole stages and few taps: every element's place is computed anew.
//
// The depth lies flat, tap by tap, as the filters do: then a stage holds parts of several taps, and none is empty. The
// stem's 27 products are one step.
#pragma once

#include "gather.cuh"
#include "mma_tile.cuh"

namespace conv2d {

// Fills a tile by THREADS threads. `address(round, line, at, i)` is that of element at + i of a line, where `at` begins
// the thread's chunk of the round; null where there is none: a 0. `whole`: the eight elements of a chunk are neighbours
// in global memory, aligned to 16 bytes, or all null. Such chunks are copied in the background through the CACHES;
// others are gathered one by one, at once. `somewhere` is any valid address.
template <uint32_t THREADS, ptx::Through CACHES, typename Tile, typename Address>
__device__ __forceinline__ void fill_any(Tile& tile, bool whole, const bf16* somewhere, Address address) {
    if (whole) {
        fill<THREADS, CACHES>(tile, [&](uint32_t round, uint32_t line, uint32_t at) -> GlobalChunk {
            const bf16* from = address(round, line, at, 0);
            return {from != nullptr ? from : somewhere, from == nullptr};
        });
        return;
    }
#pragma unroll
    for (uint32_t round = 0; round < fill_rounds<Tile>(THREADS); ++round) {
        const uint32_t line = filled_line<Tile, THREADS>(round);
        const uint32_t chunk = (round * THREADS + threadIdx.x) % Tile::CHUNKS;
        uint32_t pairs[CHUNK / 2] = {};
#pragma unroll
        for (uint32_t i = 0; i < CHUNK; ++i) {
            const bf16* from = address(round, line, chunk * CHUNK, i);
            const uint32_t bits = from != nullptr ? __bfloat16_as_ushort(*from) : 0;
            pairs[i / 2] |= bits << (i % 2 * 16);
        }
        tile.chunk(line, chunk) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
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

    Origin origins[fill_rounds<Rows>(THREADS)];

    // Rows are pixels first .. first + TILE_ROWS of `pixels`.
    __device__ __forceinline__ AnyGatheredRows(const Source<bf16>& source, uint32_t first, uint32_t pixels) {
#pragma unroll
        for (uint32_t round = 0; round < fill_rounds<Rows>(THREADS); ++round) {
            const uint32_t index = first + filled_line<Rows, THREADS>(round);
            origins[round] = index < pixels ? source.origin(index) : Origin{NOWHERE, NOWHERE, 0};
        }
    }
    // Fills the tile; `own` is the position of this thread's chunks.
    __device__ __forceinline__ void fetch(Rows& tile, const Source<bf16>& source, const FlatDepth& depth,
                                          const DepthPosition& own) const {
        const bool whole = source.channels % CHUNK == 0;
        const auto address = [&](uint32_t round, uint32_t, uint32_t, uint32_t i) -> const bf16* {
            const DepthPosition position = i == 0 ? own : depth.after(own, i);
            const bf16* run = depth.holds(position) ? source.run(origins[round], position.i, position.j) : nullptr;
            return run != nullptr ? run + position.channel : nullptr;
        };
        fill_any<THREADS, ptx::Through::All>(tile, whole, source.pixels, address);
    }
};

}  // namespace conv2d
