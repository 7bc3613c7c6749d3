// The matrix product of the convolutions on wgmma: stages of shared memory that bulk copies fill, and what a warp group
// does with one.
//
//     sum[row][column] = sum over depth of rows[depth][row] * columns[depth][column]
//
// A block's tile is GROUPS warp groups x BLOCKS x 64 rows, and COLUMNS columns, 96 sums a thread at most. Both operands
// come from shared memory: of a step of 16 depths, 64 rows read (64 + COLUMNS) 32 bytes for COLUMNS / 2 cycles of the
// tensor cores. At 128 bytes a cycle 96 columns take 83 % of shared memory's time, 192 two thirds; what bulk copies
// write comes on top, (rows + COLUMNS) 32 bytes for a tile's step, so tall tiles are worth their registers.
#pragma once

#include "../ptx_wgmma.cuh"
#include "wgmma_index.cuh"

namespace conv2d {

template <typename Operand>
constexpr ptx::Major MAJOR = Operand::ALONG_DEPTH ? ptx::Major::Depth : ptx::Major::Across;
template <typename Operand>
constexpr ptx::Swizzle SWIZZLE = Operand::SPAN == 64 ? ptx::Swizzle::Bytes128 : ptx::Swizzle::Bytes64;

template <uint32_t GROUPS_, uint32_t BLOCKS_, typename Rows_, typename Columns_>
struct WgmmaTile {
    using Rows = Rows_;
    using Columns = Columns_;
    static constexpr uint32_t GROUPS = GROUPS_, BLOCKS = BLOCKS_, COLUMNS = Columns::WIDTH, DEPTH = Rows::DEPTH;
    static constexpr uint32_t GROUP_ROWS = BLOCKS * WGMMA_ROWS, ROWS = GROUPS * GROUP_ROWS;
    static_assert(Rows::WIDTH == ROWS && Columns::DEPTH == DEPTH);
    static_assert(COLUMNS % PART == 0);

    struct alignas(SWIZZLE_ALIGNMENT) Stage {
        unsigned char rows[Rows::BYTES];
        unsigned char columns[Columns::BYTES];
    };
    static_assert(sizeof(Stage) == Rows::BYTES + Columns::BYTES);

    // A thread's sums of each 64 rows of its group; see fragment_row.
    using Sums = float[BLOCKS][COLUMNS / 2];
};

template <typename Operand>
__device__ __forceinline__ uint64_t descriptor(const void* at) {
    return ptx::matrix_descriptor(at, SWIZZLE<Operand>, Operand::LEADING, Operand::STRIDE);
}

// Where, in 16 bytes from the beginning of a stage's rows, 64 rows of a warp group begin at a step of 16 depths.
template <typename Tile>
struct RowsOfGroup {
    uint32_t group;

    __device__ __forceinline__ uint32_t operator()(uint32_t i, uint32_t step) const {
        using Rows = typename Tile::Rows;
        return (Rows::offset(Tile::GROUP_ROWS, 0) * group + Rows::offset(i * WGMMA_ROWS, step)) / 16;
    }
};

// Starts the products of a step, as one group of wgmma. `rows_at` is a RowsOfGroup, or its like.
template <typename Tile, typename RowsAt>
__device__ __forceinline__ void multiply_step(const unsigned char* step_rows, const unsigned char* step_columns,
                                              const RowsAt& rows_at, typename Tile::Sums& sums) {
    using Rows = typename Tile::Rows;
    using Columns = typename Tile::Columns;
    // A descriptor counts in 16 bytes, and moves by its low bits.
    const uint64_t rows = descriptor<Rows>(step_rows);
    const uint64_t columns = descriptor<Columns>(step_columns);
    ptx::warpgroup_fence();
#pragma unroll
    for (uint32_t step = 0; step < Tile::DEPTH / WGMMA_STEP; ++step) {
#pragma unroll
        for (uint32_t i = 0; i < Tile::BLOCKS; ++i) {
            ptx::multiply_warpgroup<MAJOR<Rows>, MAJOR<Columns>>(sums[i], rows + rows_at(i, step),
                                                                 columns + Columns::offset(0, step) / 16, true);
        }
    }
    ptx::warpgroup_commit();
}

template <typename Sums>
__device__ __forceinline__ void keep_sums(Sums& sums) {
#pragma unroll
    for (auto& block : sums) {
        ptx::warpgroup_keep(block);
    }
}

// A tile begins with zeros: were its first product told not to accumulate, its registers would count as read by it, and
// be held from the tile before on. They are kept, or the compiler would set them anew where a loop begins, among the
// products, which would then wait for each other.
template <typename Sums>
__device__ __forceinline__ void clear_sums(Sums& sums) {
#pragma unroll
    for (auto& block : sums) {
#pragma unroll
        for (float& sum : block) {
            sum = 0;
        }
    }
    keep_sums(sums);
}

}  // namespace conv2d
