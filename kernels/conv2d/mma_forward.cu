// Convolution on tensor cores (implicit GEMM in bf16), with its epilogues.
//
//     z[m, k] = sum over (c, r, s) of x[pixel(m, r, s), c] w[k, (r, s, c)]  (+ E x)
//
// Rows are the N P Q output pixels, columns the K filters; both operands lie along the depth in global memory. The
// im2col matrix of the rows is never stored: each step copies its part of it (mma_gather.cuh), the padding as zeros.
//
// Tile: 128 pixels x 32, 64, 96, 128 or 192 filters x 32 of the depth, by 4 warps or, of 192, 8 (mma_index.cuh). Grid:
// x = tiles, filters first, so that blocks that run together read the same pixels. `any` takes any number of channels
// and taps (mma_any.cuh), the others multiples of 32 channels and at most MOST_TAPS taps a dimension.
//
// Epilogue (mma_epilogue.cuh): E, then scale and shift, outer shortcut and ReLU; storing; for training, the tile's mean
// and squared deviations per channel of the values as they were stored. Invariant: two passes over them, so a large
// mean cancels nothing; rows past the last pixel count nowhere.
#include <type_traits>

#include "../rir.cuh"
#include "mma_any.cuh"
#include "mma_epilogue.cuh"
#include "mma_gather.cuh"
#include "params.cuh"

namespace conv2d {

// The filters of a tile, along the depth.
template <typename Tile>
struct ForwardFilters {
    static constexpr Chunks ORDER = Chunks::AlongDepth;
    using Columns = OperandTile<ORDER, Tile::COLUMNS>;
    using F = typename Columns::template FilledBy<Tile::THREADS>;

    const bf16* w;  // [K R S C], of this thread's channels on
    uint32_t first, count;

    __device__ __forceinline__ ForwardFilters(const ForwardParams& p, uint32_t first)
        : w(static_cast<const bf16*>(p.w) + own_depth()), first(first), count(p.e.k) {}
    __device__ __forceinline__ void fetch(Columns& tile, const Source<bf16>& source, const Step& step) const {
        // In 32 bits, to which the launch holds the filters.
        const uint32_t elements = source.rows.taps * source.columns.taps * source.channels;
        const uint32_t tap = step.i * source.columns.taps + step.j;
        const bf16* from = w + (tap * source.channels + step.channel);
        fill<Tile::THREADS, ptx::Through::L2>(tile, [&](uint32_t round, uint32_t) -> GlobalChunk {
            const uint32_t k = first + F::line(threadIdx.x, round);
            return {from + k * elements, k >= count};
        });
    }
};

template <typename Tile>
struct AnyForwardFilters {
    static constexpr Chunks ORDER = Chunks::AlongDepth;
    using Columns = OperandTile<ORDER, Tile::COLUMNS>;
    using F = typename Columns::template FilledBy<Tile::THREADS>;

    const bf16* w;  // [K R S C]
    uint32_t first, count;

    __device__ __forceinline__ AnyForwardFilters(const ForwardParams& p, uint32_t first)
        : w(static_cast<const bf16*>(p.w)), first(first), count(p.e.k) {}
    __device__ __forceinline__ void fetch(Columns& tile, const Source<bf16>&, const FlatDepth& depth,
                                          const FlatStep& step) const {
        const uint32_t elements = depth.tap_rows * depth.tap_columns * depth.channels;
        const auto address = [&](uint32_t round, uint32_t, uint32_t i) -> const bf16* {
            const DepthPosition position = i == 0 ? step.own : depth.after(step.own, i);
            const uint32_t k = first + F::line(threadIdx.x, round);
            const uint32_t tap = position.i * depth.tap_columns + position.j;
            const bf16* from = w + (k * elements + tap * depth.channels + position.channel);
            return k < count && depth.holds(position) ? from : nullptr;
        };
        fill_any<Tile::THREADS, ptx::Through::L2>(tile, depth.channels % CHUNK == 0, address);
    }
};

// Finishes and stores a pass. Sets the thread's sums of its columns, and leaves the values as stored in place of its
// sums, where `statistics` are wanted.
template <typename Tile>
__device__ __forceinline__ void store_pass(const ForwardParams& p, Staging<Tile>& staging, uint32_t first_pixel,
                                           uint32_t count, uint32_t k, bool statistics, Eight& column_sums) {
    const ForwardColumns columns(p, k);
    for (uint32_t row = staging.row_lane(); row < count; row += Staging<Tile>::ROW_LANES) {
        Eight sums;
        read_eight(staging.at(row), sums);
        store_forward<false>(p, columns, first_pixel + row, sums);
        if (statistics) {
#pragma unroll
            for (uint32_t l = 0; l < CHUNK; ++l) {
                column_sums[l] += sums[l];
            }
            write_eight(staging.at(row), sums);
        }
    }
}

// Mean and squared deviations of each column's `count` rows, to partials [2, K] of this tile of rows.
template <typename Tile>
__device__ __forceinline__ void mma_statistics(Staging<Tile>& staging, const Eight& column_sums, uint32_t count,
                                               uint32_t first_filter, uint32_t filters, float* partials) {
    using S = Staging<Tile>;
    const float mean = add_row_lanes(staging, column_sums) / float(count);
    if (threadIdx.x < S::PASS) {
        staging.totals[threadIdx.x] = mean;
    }
    __syncthreads();
    Eight squares = {};
    if (S::has_place()) {
        Eight means;
        read_eight(&staging.totals[S::group() * CHUNK], means);
        for (uint32_t row = S::row_lane(); row < count; row += S::ROW_LANES) {
            Eight z;
            read_eight(staging.at(row), z);
#pragma unroll
            for (uint32_t l = 0; l < CHUNK; ++l) {
                squares[l] += (z[l] - means[l]) * (z[l] - means[l]);
            }
        }
    }
    const float square = add_row_lanes(staging, squares);
    const uint32_t k = first_filter + threadIdx.x;
    if (threadIdx.x < S::PASS && k < filters) {
        partials[k] = mean;
        partials[filters + k] = square;
    }
}

template <uint32_t COLUMNS, bool ANY>
__device__ __forceinline__ void mma_forward(const ForwardParams& p) {
    using Tile = MmaTile<COLUMNS>;
    using Filters = std::conditional_t<ANY, AnyForwardFilters<Tile>, ForwardFilters<Tile>>;
    using Operands = std::conditional_t<ANY, AnyGatheredOperands<Tile, Filters>, GatheredOperands<Tile, Filters>>;
    using S = Staging<Tile>;
    using Shared = GatherShared<Tile, typename Operands::Stage, S>;
    RIR_SHARED_DYNAMIC(Shared, shared);
    const Extents& e = p.e;
    const uint32_t pixels = e.n * e.p * e.q;
    const uint32_t filter_tiles = ceil_div(e.k, COLUMNS);
    const uint32_t row_tile = blockIdx.x / filter_tiles;
    const uint32_t first_pixel = row_tile * TILE_ROWS;
    const uint32_t first_filter = blockIdx.x % filter_tiles * COLUMNS;

    const Source<bf16> source = input_source<bf16>(p.x, e);
    Operands operands(source, first_pixel, pixels, Filters(p, first_filter));
    MmaSums<Tile> sums = {};
    multiply<Tile>(shared.stages, operands, operands.steps(), sums);

    const uint32_t count = min(TILE_ROWS, pixels - first_pixel);
    for (uint32_t pass = 0; pass < S::PASSES; ++pass) {
        stage_sums(shared.staging, sums, pass);
        Eight column_sums = {};
        const uint32_t k = first_filter + S::column(pass);
        if (S::has_place() && k < e.k) {
            store_pass(p, shared.staging, first_pixel, count, k, p.partials != nullptr, column_sums);
        }
        if (p.partials != nullptr) {
            float* partials = p.partials + uint64_t(row_tile) * 2 * e.k;
            mma_statistics(shared.staging, column_sums, count, first_filter + pass * S::PASS, e.k, partials);
        }
    }
}

RIR_KERNEL_ALONE(conv2d_mma_32_bf16, ForwardParams, MmaTile<32>::THREADS, mma_forward<32, false>)
RIR_KERNEL_ALONE(conv2d_mma_64_bf16, ForwardParams, MmaTile<64>::THREADS, mma_forward<64, false>)
RIR_KERNEL_ALONE(conv2d_mma_96_bf16, ForwardParams, MmaTile<96>::THREADS, mma_forward<96, false>)
RIR_KERNEL_ALONE(conv2d_mma_128_bf16, ForwardParams, MmaTile<128>::THREADS, mma_forward<128, false>)
RIR_KERNEL_ALONE(conv2d_mma_192_bf16, ForwardParams, MmaTile<192>::THREADS, mma_forward<192, false>)
RIR_KERNEL_ALONE(conv2d_mma_any_32_bf16, ForwardParams, MmaTile<32>::THREADS, mma_forward<32, true>)
RIR_KERNEL_ALONE(conv2d_mma_any_96_bf16, ForwardParams, MmaTile<96>::THREADS, mma_forward<96, true>)

}  // namespace conv2d
