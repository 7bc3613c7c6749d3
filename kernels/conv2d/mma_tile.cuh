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
// Invariants: whatever lies outside of an operand enters as 0; each sum's order is that of the depth, 16 at a time.
#pragma once

#include "../ptx.cuh"
#include "../rir.cuh"
#include "mma_index.cuh"

namespace conv2d {

// What the chunks of an operand run along, as it lies in global memory.
enum class Chunks { AlongDepth, AcrossDepth };

// WIDTH rows or columns of an operand, MMA_DEPTH deep.
template <Chunks ORDER, uint32_t WIDTH>
struct OperandTile {
    static constexpr bool ALONG_DEPTH = ORDER == Chunks::AlongDepth;
    static constexpr uint32_t LINES = ALONG_DEPTH ? WIDTH : MMA_DEPTH;
    static constexpr uint32_t CHUNKS = (ALONG_DEPTH ? MMA_DEPTH : WIDTH) / CHUNK;

    uint4 chunks[LINES * CHUNKS];

    // Chunk `chunk` of line `line`: along the depth a line is a row or column, across it one depth.
    __device__ __forceinline__ uint4& chunk(uint32_t line, uint32_t chunk) {
        return chunks[swizzled_chunk<CHUNKS>(line, chunk)];
    }
    // The 16 x 16 part from `at` and `depth` on, to the four registers of an mma's operand.
    template <bool ROW_OPERAND>
    __device__ __forceinline__ void load_part(uint32_t (&part)[4], uint32_t at, uint32_t depth) {
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t matrix_at = at + part_at(lane, ROW_OPERAND);
        const uint32_t matrix_depth = depth + part_depth(lane, ROW_OPERAND);
        const uint4& row = ALONG_DEPTH ? chunk(matrix_at + lane % 8, matrix_depth / CHUNK)
                                       : chunk(matrix_depth + lane % 8, matrix_at / CHUNK);
        ptx::load_matrices<!ALONG_DEPTH>(part, &row);
    }
};

// Rounds in which so many threads fill a tile, a chunk each.
template <typename Tile>
__host__ __device__ constexpr uint32_t fill_rounds(uint32_t threads) {
    return ceil_div(Tile::LINES * Tile::CHUNKS, threads);
}
// The line of this thread's chunk of a round.
template <typename Tile, uint32_t THREADS>
__device__ __forceinline__ uint32_t filled_line(uint32_t round) {
    return (round * THREADS + threadIdx.x) / Tile::CHUNKS;
}

// A chunk of an operand in global memory: eight neighbours, aligned to 16 bytes. Nothing enters as zeros, and is read
// from nowhere: `from` may then be any address.
struct GlobalChunk {
    const bf16* from;
    bool nothing;
};

// Fills a tile by THREADS threads, in the background through the CACHES. `chunk(round, line, at)` is the one that holds
// elements at .. at + 8 of a line.
template <uint32_t THREADS, ptx::Through CACHES, typename Tile, typename ChunkAt>
__device__ __forceinline__ void fill(Tile& tile, ChunkAt chunk_at) {
    static_assert(Tile::LINES * Tile::CHUNKS % THREADS == 0, "no thread is left over");
#pragma unroll
    for (uint32_t round = 0; round < fill_rounds<Tile>(THREADS); ++round) {
        const uint32_t line = filled_line<Tile, THREADS>(round);
        const uint32_t chunk = (round * THREADS + threadIdx.x) % Tile::CHUNKS;
        const GlobalChunk global = chunk_at(round, line, chunk * CHUNK);
        ptx::copy_async<16, CACHES>(&tile.chunk(line, chunk), global.from, global.nothing ? 0 : 16);
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

// A warp's operands of 16 depths.
template <typename Tile>
struct Fragments {
    uint32_t rows[Tile::WARP_ROWS / 16][4];
    uint32_t columns[Tile::WARP_COLUMNS / 16][4];  // of two mma each

    template <typename Stage>
    __device__ __forceinline__ void load(Stage& stage, uint32_t depth) {
#pragma unroll
        for (uint32_t i = 0; i < Tile::WARP_ROWS / 16; ++i) {
            stage.rows.template load_part<true>(rows[i], Tile::warp_row(threadIdx.x) + i * 16, depth);
        }
#pragma unroll
        for (uint32_t j = 0; j < Tile::WARP_COLUMNS / 16; ++j) {
            stage.columns.template load_part<false>(columns[j], Tile::warp_column(threadIdx.x) + j * 16, depth);
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

// The whole product, of `steps` steps. `operands.fetch(stage)` starts the copies of the next step, in order. After it,
// all has arrived and nobody reads the stages any more.
template <typename Tile, typename Stage, typename Operands>
__device__ __forceinline__ void multiply(Stage (&stages)[STAGES], Operands& operands, uint32_t steps,
                                         MmaSums<Tile>& sums) {
#pragma unroll
    for (uint32_t i = 0; i < Tile::WARP_ROWS / 16; ++i) {
#pragma unroll
        for (uint32_t j = 0; j < Tile::WARP_COLUMNS / 8; ++j) {
#pragma unroll
            for (uint32_t l = 0; l < 4; ++l) {
                sums[i][j][l] = 0;
            }
        }
    }
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

    Fragments<Tile> fragments[2];
    fragments[0].load(stages[0], 0);
    for (uint32_t step = 0; step < steps; ++step) {
        fragments[1].load(stages[step % STAGES], MMA_STEP);
        // The stage of the step before: the barrier below was behind its last reads.
        if (step + STAGES - 1 < steps) {
            operands.fetch(stages[(step + STAGES - 1) % STAGES]);
        }
        ptx::copy_async_commit();
        fragments[0].multiply(sums);
        ptx::copy_async_wait<STAGES - 2>();
        __syncthreads();
        if (step + 1 < steps) {
            fragments[0].load(stages[(step + 1) % STAGES], 0);
        }
        fragments[1].multiply(sums);
    }
}

}  // namespace conv2d
