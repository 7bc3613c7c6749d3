// The data gradient on tensor cores, with its addends; and, fused, the gradient of the ReLU before it and the
// reductions of the batch norms before that.
//
//     dx[m, c] = sum over (k, r, s) of dz[pixel(m, r, s), k] w[k, r, s, c]  (+ E^T dz + addend)
//     with a ReLU: g = dx where its bit is set, else 0, takes dx's place; sums of g, and of g (z - mean) of each branch
//
// and the same of a projection's dzp and wp, whose depth follows in the same sums.
//
// Rows are input pixels, columns the C channels. Under a stride the pixels fall into stride x stride classes by their
// residues, each a small convolution of its own (index.cuh, gradient_line): no product is computed in vain, and a class
// without taps only runs its epilogue. The filters lie across the depth and stay so: ldmatrix turns them over.
//
// Tiles, `any` and epilogue as in mma_forward.cu; here the filters come in multiples of 32, the channels of 8. Grid: x
// = tiles of the largest class, channels first; z = class. Blocks past the end of a smaller class have no pixels; their
// sums are zeros. Part class * (row tiles of the largest class) + row tile of the partials holds the sums of a tile of
// g as stored, added in the order of its rows' lanes.
#include <type_traits>

#include "../rir.cuh"
#include "mma_any.cuh"
#include "mma_epilogue.cuh"
#include "mma_gather.cuh"
#include "params.cuh"

namespace conv2d {

// The filters of a tile of channels, across the depth.
template <typename Tile>
struct DataGradFilters {
    static constexpr Chunks ORDER = Chunks::AcrossDepth;
    using Columns = OperandTile<ORDER, Tile::COLUMNS>;
    using F = typename Columns::template FilledBy<Tile::THREADS>;

    const bf16* w;  // [K R S C], of the tile's channels on
    const Extents& e;
    uint32_t channels;  // of the tile and those after it

    __device__ __forceinline__ DataGradFilters(const void* w, const Extents& e, uint32_t first)
        : w(static_cast<const bf16*>(w) + first), e(e), channels(e.c - first) {}
    __device__ __forceinline__ void fetch(Columns& tile, const Source<bf16>& source, const Step& step) const {
        // In 32 bits, to which the launch holds the filters.
        const uint32_t elements = e.r * e.s * e.c;
        const uint32_t tap = source.rows.filter(step.i) * e.s + source.columns.filter(step.j);
        const bf16* from = w + (step.channel * elements + tap * e.c);
        const auto chunk_at = [&](uint32_t line_round, uint32_t chunk_round) -> GlobalChunk {
            const uint32_t filter = F::line(threadIdx.x, line_round);
            const uint32_t c = F::chunk(threadIdx.x, chunk_round) * CHUNK;
            return {from + (filter * elements + c), c >= channels};
        };
        fill<Tile::THREADS, ptx::Through::L2>(tile, chunk_at);
    }
};

template <typename Tile>
struct AnyDataGradFilters {
    static constexpr Chunks ORDER = Chunks::AcrossDepth;
    using Columns = OperandTile<ORDER, Tile::COLUMNS>;
    using F = typename Columns::template FilledBy<Tile::THREADS>;

    const bf16* w;  // [K R S C]
    const Extents& e;
    uint32_t first;  // channel

    __device__ __forceinline__ AnyDataGradFilters(const void* w, const Extents& e, uint32_t first)
        : w(static_cast<const bf16*>(w)), e(e), first(first) {}
    __device__ __forceinline__ void fetch(Columns& tile, const Source<bf16>& source, const FlatDepth& depth,
                                          const FlatStep& step) const {
        const auto address = [&](uint32_t line_round, uint32_t chunk_round, uint32_t i) -> const bf16* {
            const DepthPosition position = depth.after(step.first, F::line(threadIdx.x, line_round));
            const uint32_t c = first + F::chunk(threadIdx.x, chunk_round) * CHUNK + i;
            const uint32_t tap = source.rows.filter(position.i) * e.s + source.columns.filter(position.j);
            const bf16* from = w + ((position.channel * (e.r * e.s) + tap) * e.c + c);
            return c < e.c && depth.holds(position) ? from : nullptr;
        };
        fill_any<Tile::THREADS, ptx::Through::L2>(tile, e.c % CHUNK == 0, address);
    }
};

template <typename Tile>
struct DataGradStaging {
    Staging<Tile> way_out;
    float means[MOST_BRANCHES][Tile::COLUMNS];  // of the tile's channels
};

// Finishes and stores a pass.
template <typename Tile>
__device__ __forceinline__ void store_pass(const DataGradParams& p, const Source<bf16>& source,
                                           DataGradStaging<Tile>& shared, uint32_t first_pixel, uint32_t count,
                                           uint32_t first_channel, uint32_t column, ReluSums& relu_sums) {
    Staging<Tile>& staging = shared.way_out;
    Eight means[MOST_BRANCHES];
#pragma unroll
    for (uint32_t b = 0; b < MOST_BRANCHES; ++b) {
        if (p.z[b] != nullptr) {
            read_eight(&shared.means[b][column], means[b]);
        }
    }
    const uint32_t c = first_channel + column;
    for (uint32_t row = staging.row_lane(); row < count; row += Staging<Tile>::ROW_LANES) {
        const DataGradPixel pixel(source.target(first_pixel + row), p.e);
        const DataGradOperands operands = load_data_grad<false>(p, pixel, c);
        Eight sums;
        read_eight(staging.at(row), sums);
        store_data_grad<false>(p, pixel, c, operands, means, sums, relu_sums);
    }
}

// The sums of a pass's columns, to partials [1 + branches, C] of this tile.
template <typename Tile>
__device__ __forceinline__ void store_relu_sums(const DataGradParams& p, Staging<Tile>& staging,
                                                const ReluSums& relu_sums, uint32_t first_channel, float* partials) {
    const uint32_t c = first_channel + threadIdx.x;
#pragma unroll
    for (uint32_t quantity = 0; quantity < 1 + MOST_BRANCHES; ++quantity) {
        if (quantity > branches(p)) {
            break;
        }
        if (quantity > 0) {
            __syncthreads();
        }
        const float total = add_row_lanes(staging, relu_sums.of[quantity]);
        if (threadIdx.x < Staging<Tile>::PASS && c < p.e.c) {
            partials[quantity * p.e.c + c] = total;
        }
    }
}

template <uint32_t COLUMNS, bool ANY>
__device__ __forceinline__ void mma_data_grad(const DataGradParams& p) {
    using Tile = MmaTile<COLUMNS>;
    using Filters = std::conditional_t<ANY, AnyDataGradFilters<Tile>, DataGradFilters<Tile>>;
    using Operands = std::conditional_t<ANY, AnyGatheredOperands<Tile, Filters>, GatheredOperands<Tile, Filters>>;
    using S = Staging<Tile>;
    using Shared = GatherShared<Tile, typename Operands::Stage, DataGradStaging<Tile>>;
    RIR_SHARED_DYNAMIC(Shared, shared);
    const Extents& e = p.e;
    const Source<bf16> source = gradient_source<bf16>(p.dz, e, blockIdx.z);
    const uint32_t pixels = e.n * source.rows.positions * source.columns.positions;
    const uint32_t channel_tiles = ceil_div(e.c, COLUMNS);
    const uint32_t row_tile = blockIdx.x / channel_tiles;
    const uint32_t first_pixel = row_tile * TILE_ROWS;
    const uint32_t first_channel = blockIdx.x % channel_tiles * COLUMNS;
    if (first_pixel >= pixels) {
        const uint32_t c = first_channel + threadIdx.x;
        if (p.relu != nullptr && threadIdx.x < COLUMNS && c < e.c) {
            for (uint32_t quantity = 0; quantity <= branches(p); ++quantity) {
                tile_partials(p, row_tile, channel_tiles)[quantity * e.c + c] = 0;
            }
        }
        return;
    }
    MmaSums<Tile> sums = {};
#pragma unroll 1
    for (uint32_t i = 0; i < convolutions(p); ++i) {
        const Transposed of = convolution(p, i);
        const Source<bf16> gradient = gradient_source<bf16>(of.dz, e, blockIdx.z);
        Operands operands(gradient, first_pixel, pixels, Filters(of.w, e, first_channel));
        multiply<Tile>(shared.stages, operands, operands.steps(), sums);
    }

    // For whom the first pass's barrier waits.
    for (uint32_t b = 0; p.relu != nullptr && b < branches(p); ++b) {
        const uint32_t c = first_channel + threadIdx.x;
        if (threadIdx.x < COLUMNS) {
            shared.staging.means[b][threadIdx.x] = c < e.c ? p.stats[b][c] : 0;
        }
    }
    const uint32_t count = min(TILE_ROWS, pixels - first_pixel);
    for (uint32_t pass = 0; pass < S::PASSES; ++pass) {
        stage_sums(shared.staging.way_out, sums, pass);
        ReluSums relu_sums = {};
        if (S::has_place() && first_channel + S::column(pass) < e.c) {
            store_pass(p, source, shared.staging, first_pixel, count, first_channel, S::column(pass), relu_sums);
        }
        if (p.relu != nullptr) {
            float* partials = tile_partials(p, row_tile, channel_tiles);
            store_relu_sums(p, shared.staging.way_out, relu_sums, first_channel + pass * S::PASS, partials);
        }
    }
}
static_assert(MmaTile<192>::THREADS >= 192 && MmaTile<128>::THREADS >= 128, "a thread a column writes the zeros");

RIR_KERNEL_ALONE(conv2d_data_grad_mma_32_bf16, DataGradParams, MmaTile<32>::THREADS, mma_data_grad<32, false>)
RIR_KERNEL_ALONE(conv2d_data_grad_mma_64_bf16, DataGradParams, MmaTile<64>::THREADS, mma_data_grad<64, false>)
RIR_KERNEL_ALONE(conv2d_data_grad_mma_96_bf16, DataGradParams, MmaTile<96>::THREADS, mma_data_grad<96, false>)
RIR_KERNEL_ALONE(conv2d_data_grad_mma_128_bf16, DataGradParams, MmaTile<128>::THREADS, mma_data_grad<128, false>)
RIR_KERNEL_ALONE(conv2d_data_grad_mma_192_bf16, DataGradParams, MmaTile<192>::THREADS, mma_data_grad<192, false>)
RIR_KERNEL_ALONE(conv2d_data_grad_mma_any_32_bf16, DataGradParams, MmaTile<32>::THREADS, mma_data_grad<32, true>)
RIR_KERNEL_ALONE(conv2d_data_grad_mma_any_96_bf16, DataGradParams, MmaTile<96>::THREADS, mma_data_grad<96, true>)

}  // namespace conv2d
