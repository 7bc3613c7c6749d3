// The matrix product of the tensor-core convolutions: a block computes [TILE_ROWS x COLUMNS] sums over any depth, of
// bf16 in f32.
//
//     sum[row][column] = sum over depth of rows[depth][row] * columns[depth][column]
//
// A ring of STAGES stages in shared memory, MMA_DEPTH of the depth each, filled by cp.async. In a step the block starts
// the copies of the step STAGES - 1 later, and multiplies; one barrier a step both publishes the next stage and frees
// this one. A warp's operands of the next 16 depths come to registers by ldmatrix while mma works on the 16 before.
//
// Arithmetic, of a step of a tile of R x C (128 x 96), warps of r x c (64 x 48):
//     products      R C 32                      393,216, in R C 32 / 2048 = 192 mma of a warp
//     global        (R + C) 32 x 2 bytes        14,336 asked for: 55 FLOP a byte (of 128 x 192: 77)
//     shared, in    as much
//     shared, out   (r + c) 32 x 2 bytes a warp 28,672: 27 FLOP a byte, 2 of 3 bytes of shared memory's traffic
//
// Shared memory of a stage, in 16-byte chunks (mma_index.cuh tells where each lies): rows [R x 32], then columns
// [C x 32]. An operand lies as it does in global memory, its chunks along the depth or across it; ldmatrix turns it
// over on the way, so neither operand needs a transposed copy.
//
// Invariants: whatever lies outside of an operand enters as 0, but rows past the last pixel, which nobody stores; each
// sum's order is that of the depth, 16 at a time.
#pragma once

#include "../ptx.cuh"
#include "../rir.cuh"
#include "mma_index.cuh"

namespace conv2d {

// WIDTH rows or columns of an operand, MMA_DEPTH deep.
template <Chunks ORDER, uint32_t WIDTH>
struct OperandTile {
    static constexpr bool ALONG_DEPTH = ORDER == Chunks::AlongDepth;
    // Along the depth a line is a row or column, across it one depth.
    static constexpr uint32_t LINES = ALONG_DEPTH ? WIDTH : MMA_DEPTH;
    static constexpr uint32_t CHUNKS = (ALONG_DEPTH ? MMA_DEPTH : WIDTH) / CHUNK;

    uint4 chunks[LINES * CHUNKS];

    // How a block fills it.
    template <uint32_t THREADS>
    using FilledBy = Filling<LINES, CHUNKS, THREADS>;
};

// Where a lane finds its rows of an operand's parts for ldmatrix, in chunks of the tile: PARTS of 16 x 16, from row or
// column `first` on.
template <typename Tile, bool ROW_OPERAND, uint32_t PARTS>
struct PartPlaces {
    // Along the depth a part is 16 lines on from the one before, where the swizzle is the same: one place says all.
    uint32_t places[Tile::ALONG_DEPTH ? 1 : PARTS];

    __device__ __forceinline__ explicit PartPlaces(uint32_t first) {
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t at = first + part_at(lane, ROW_OPERAND);
        const uint32_t depth = part_depth(lane, ROW_OPERAND);
#pragma unroll
        for (uint32_t i = 0; i < (Tile::ALONG_DEPTH ? 1 : PARTS); ++i) {
            places[i] = Tile::ALONG_DEPTH ? swizzled_chunk<Tile::CHUNKS>(at + lane % 8, depth / CHUNK)
                                          : swizzled_chunk<Tile::CHUNKS>(depth + lane % 8, (at + i * 16) / CHUNK);
            ptx::keep(places[i]);
        }
    }
    // Of part i, of the first or the second 16 depths of the stage: those are the other two chunks of the same line, or
    // 16 lines on.
    __device__ __forceinline__ uint32_t place(uint32_t i, bool second) const {
        static_assert(MMA_DEPTH == 2 * MMA_STEP);
        return Tile::ALONG_DEPTH ? (second ? places[0] ^ (MMA_STEP / CHUNK) : places[0]) + i * 16 * Tile::CHUNKS
                                 : places[i] + (second ? MMA_STEP * Tile::CHUNKS : 0);
    }
    // To the four registers of an mma's operand.
    __device__ __forceinline__ void load(uint32_t (&part)[4], const Tile& tile, uint32_t i, bool second) const {
        ptx::load_matrices<!Tile::ALONG_DEPTH>(part, &tile.chunks[place(i, second)]);
    }
};

// A chunk of an operand in global memory: eight neighbours, aligned to 16 bytes. Nothing enters as zeros, and is read
// from nowhere: `from` may then be any address.
struct GlobalChunk {
    const bf16* from;
    bool nothing;
};

// Fills a tile by THREADS threads, in the background through the CACHES. `chunk_at(line_round, chunk_round)` is the one
// that the thread fills in these rounds of Filling.
template <uint32_t THREADS, ptx::Through CACHES, typename Tile, typename ChunkAt>
__device__ __forceinline__ void fill(Tile& tile, ChunkAt chunk_at) {
    using F = typename Tile::template FilledBy<THREADS>;
#pragma unroll
    for (uint32_t line_round = 0; line_round < F::LINE_ROUNDS; ++line_round) {
#pragma unroll
        for (uint32_t chunk_round = 0; chunk_round < F::CHUNK_ROUNDS; ++chunk_round) {
            const GlobalChunk global = chunk_at(line_round, chunk_round);
            uint4* to = &tile.chunks[F::place(threadIdx.x, line_round, chunk_round)];
            ptx::copy_async<16, CACHES>(to, global.from, global.nothing ? 0 : 16);
        }
    }
}

template <typename Tile, Chunks ROWS, Chunks COLUMNS>
struct MmaStage {
    OperandTile<ROWS, TILE_ROWS> rows;
    OperandTile<COLUMNS, Tile::COLUMNS> columns;
};

// A thread's sums: of mma (i, j) of its warp, 16 rows x 8 columns, number l of 4.
template <typename Tile>
using MmaSums = float[Tile::WARP_ROWS / 16][Tile::WARP_COLUMNS / 8][4];

// Where a lane finds a warp's operands.
template <typename Tile, typename Stage>
struct WarpPlaces {
    PartPlaces<decltype(Stage::rows), true, Tile::WARP_ROWS / 16> rows{Tile::warp_row(threadIdx.x)};
    PartPlaces<decltype(Stage::columns), false, Tile::WARP_COLUMNS / 16> columns{Tile::warp_column(threadIdx.x)};
};

// A warp's operands of 16 depths.
template <typename Tile>
struct Fragments {
    uint32_t rows[Tile::WARP_ROWS / 16][4];
    uint32_t columns[Tile::WARP_COLUMNS / 16][4];  // of two mma each

    template <typename Stage>
    __device__ __forceinline__ void load(const Stage& stage, const WarpPlaces<Tile, Stage>& places, bool second) {
#pragma unroll
        for (uint32_t i = 0; i < Tile::WARP_ROWS / 16; ++i) {
            places.rows.load(rows[i], stage.rows, i, second);
        }
#pragma unroll
        for (uint32_t j = 0; j < Tile::WARP_COLUMNS / 16; ++j) {
            places.columns.load(columns[j], stage.columns, j, second);
        }
    }
    __device__ __forceinline__ void multiply(MmaSums<Tile>& sums) const {
#pragma unroll
        for (uint32_t i = 0; i < Tile::WARP_ROWS / 16; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < Tile::WARP_COLUMNS / 8; ++j) {
                const uint32_t column[2] = {columns[j / 2][j % 2 * 2], columns[j / 2][j % 2 * 2 + 1]};
                ptx::multiply_matrices(sums[i][j], rows[i], column);
            }
        }
    }
};

// Adds a whole product, of `steps` steps. `operands.fetch(stage)` starts the copies of the next step, in order. After
// it, all has arrived and nobody reads the stages any more.
template <typename Tile, typename Stage, typename Operands>
__device__ __forceinline__ void multiply(Stage (&stages)[STAGES], Operands& operands, uint32_t steps,
                                         MmaSums<Tile>& sums) {
    if (steps == 0) {
        return;  // the same for the whole block
    }
    // A group of copies a step, empty past the last: so the same count of groups is waited for throughout.
#pragma unroll
    for (uint32_t step = 0; step < STAGES - 1; ++step) {
        if (step < steps) {
            operands.fetch(stages[step]);
        }
        ptx::copy_async_commit();
    }
    ptx::copy_async_wait<STAGES - 2>();
    __syncthreads();

    const WarpPlaces<Tile, Stage> places;
    Fragments<Tile> fragments[2];
    fragments[0].load(stages[0], places, false);
    for (uint32_t step = 0; step < steps; ++step) {
        fragments[1].load(stages[step % STAGES], places, true);
        // The stage of the step before: the barrier below was behind its last reads.
        if (step + STAGES - 1 < steps) {
            operands.fetch(stages[(step + STAGES - 1) % STAGES]);
        }
        ptx::copy_async_commit();
        fragments[0].multiply(sums);
        ptx::copy_async_wait<STAGES - 2>();
        __syncthreads();
        if (step + 1 < steps) {
            fragments[0].load(stages[(step + 1) % STAGES], places, false);
        }
        fragments[1].multiply(sums);
    }
}

}  // namespace conv2d
