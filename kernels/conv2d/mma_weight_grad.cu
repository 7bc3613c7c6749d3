// The weight gradient on tensor cores, split over pixels; tiled_weight_grad.cu's second kernel adds the splits.
//
//     dw[k, j] = sum over pixels m of x[pixel(m, r, s), c] dz[m, k], where j = (r, s, c)
//
// Rows are the R S C elements of a filter (864 of them fill 96 % of 7 tiles), columns the K filters, the depth is the N
// P Q output pixels, 32 a step. Both operands lie across the depth and stay so: ldmatrix turns them over. The split
// depends on the shapes alone, so the bits do not depend on the card.
//
// Tiles as in mma_forward.cu. Grid: x = tiles, filters first; y = split. The sums are stored from registers: eight
// lanes hold eight neighbours of a filter, a whole sector.
#include "../rir.cuh"
#include "gather.cuh"
#include "mma_tile.cuh"
#include "params.cuh"

namespace conv2d {

template <typename Stage>
struct MmaWeightGradShared {
    Stage stages[STAGES];
    // Of the pixels of as many steps: the step that is fetched reads its own, and finds those of the step after.
    OriginVector origins[STAGES][MMA_DEPTH];
};

template <typename Tile, bool ANY>
struct MmaWeightGradOperands {
    using Stage = MmaStage<Tile, Chunks::AcrossDepth, Chunks::AcrossDepth>;

    const Source<bf16>& source;
    const Extents& e;
    const bf16* dz;  // [N P Q K]
    OriginVector (&origins)[STAGES][MMA_DEPTH];
    uint32_t first_row, first_filter;
    uint32_t begin, end;  // pixels of the split
    Tap own;              // of the first element of this thread's chunks of rows, the same in every round
    uint32_t step;

    __device__ __forceinline__ void find_origin(uint32_t of_step, uint32_t line) {
        const uint32_t m = begin + of_step * MMA_DEPTH + line;
        origins[of_step % STAGES][line] = to_vector(m < end ? source.origin(m) : Origin{NOWHERE, NOWHERE, 0});
    }
    // Those of the first steps, which are fetched without a barrier between them.
    __device__ __forceinline__ void find_first_origins() {
        for (uint32_t at = threadIdx.x; at < STAGES * MMA_DEPTH; at += Tile::THREADS) {
            find_origin(at / MMA_DEPTH, at % MMA_DEPTH);
        }
        __syncthreads();
    }
    // The tap `i` elements after the chunk's first.
    __device__ __forceinline__ Tap further(uint32_t i) const {
        Tap tap = own;
        tap.c += i;
        while (i > 0 && tap.c >= e.c) {
            tap.c -= e.c;
            if (++tap.s == e.s) {
                tap.s = 0;
                ++tap.r;
            }
        }
        return tap;
    }
    __device__ __forceinline__ void fetch(Stage& stage) {
        const OriginVector(&of_step)[MMA_DEPTH] = origins[step % STAGES];
        const auto source_address = [&](uint32_t, uint32_t line, uint32_t at, uint32_t i) -> const bf16* {
            const OriginVector origin = of_step[line];
            const Tap tap = further(i);
            const bf16* run = source.run(to_origin(origin), tap.r, tap.s);
            return run != nullptr && first_row + at + i < e.r * e.s * e.c ? run + tap.c : nullptr;
        };
        fill<Tile::THREADS, ptx::Through::All>(stage.rows, !ANY || e.c % CHUNK == 0, source.pixels, source_address);
        const uint32_t first_pixel = begin + step * MMA_DEPTH;
        const auto gradient_address = [&](uint32_t, uint32_t line, uint32_t at, uint32_t i) -> const bf16* {
            const uint32_t m = first_pixel + line;
            const uint32_t k = first_filter + at + i;
            return m < end && k < e.k ? dz + uint64_t(m) * e.k + k : nullptr;
        };
        fill<Tile::THREADS, ptx::Through::L2>(stage.columns, !ANY || e.k % CHUNK == 0, dz, gradient_address);
        ++step;
        // In place of those of a step that was fetched before the latest barrier.
        if (step >= STAGES && threadIdx.x < MMA_DEPTH) {
            find_origin(step, threadIdx.x);
        }
    }
};

template <uint32_t COLUMNS, bool ANY>
__device__ __forceinline__ void mma_weight_grad(const WeightGradParams& p) {
    using Tile = MmaTile<COLUMNS>;
    using Operands = MmaWeightGradOperands<Tile, ANY>;
    using Shared = MmaWeightGradShared<typename Operands::Stage>;
    RIR_SHARED_DYNAMIC(Shared, shared);
    const Extents& e = p.e;
    const uint32_t filter_tiles = ceil_div(e.k, COLUMNS);
    const uint32_t first_row = blockIdx.x / filter_tiles * TILE_ROWS;
    const uint32_t first_filter = blockIdx.x % filter_tiles * COLUMNS;
    const uint32_t begin = blockIdx.y * p.pixels_per_split;
    const uint32_t end = min(begin + p.pixels_per_split, e.n * e.p * e.q);

    const Source<bf16> source = input_source<bf16>(p.x, e);
    constexpr uint32_t ROW_CHUNKS = TILE_ROWS / CHUNK;
    static_assert(Tile::THREADS % ROW_CHUNKS == 0, "whole lines in every round");
    const Tap own = unpack_tap(first_row + threadIdx.x % ROW_CHUNKS * CHUNK, e.s, e.c);
    const bf16* dz = static_cast<const bf16*>(p.dz);
    Operands operands{source, e, dz, shared.origins, first_row, first_filter, begin, end, own, 0};
    operands.find_first_origins();
    MmaSums<Tile> sums;
    multiply<Tile>(shared.stages, operands, ceil_div(end - begin, MMA_DEPTH), sums);

    const uint32_t elements = e.r * e.s * e.c;
    float* dw = p.dw + uint64_t(blockIdx.y) * e.k * elements;
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
    for (uint32_t j = 0; j < Tile::WARP_COLUMNS / 8; ++j) {
#pragma unroll
        for (uint32_t i = 0; i < Tile::WARP_ROWS / 16; ++i) {
#pragma unroll
            for (uint32_t l = 0; l < 4; ++l) {
                const uint32_t at = first_row + Tile::warp_row(threadIdx.x) + i * 16 + sum_row(lane, l);
                const uint32_t k = first_filter + Tile::warp_column(threadIdx.x) + j * 8 + sum_column(lane, l);
                if (at < elements && k < e.k) {
                    dw[uint64_t(k) * elements + at] = sums[i][j][l];
                }
            }
        }
    }
}

RIR_KERNEL_ALONE(conv2d_weight_grad_mma_32_bf16, WeightGradParams, MmaTile<32>::THREADS, mma_weight_grad<32, false>)
RIR_KERNEL_ALONE(conv2d_weight_grad_mma_64_bf16, WeightGradParams, MmaTile<64>::THREADS, mma_weight_grad<64, false>)
RIR_KERNEL_ALONE(conv2d_weight_grad_mma_96_bf16, WeightGradParams, MmaTile<96>::THREADS, mma_weight_grad<96, false>)
RIR_KERNEL_ALONE(conv2d_weight_grad_mma_128_bf16, WeightGradParams, MmaTile<128>::THREADS, mma_weight_grad<128, false>)
RIR_KERNEL_ALONE(conv2d_weight_grad_mma_192_bf16, WeightGradParams, MmaTile<192>::THREADS, mma_weight_grad<192, false>)
RIR_KERNEL_ALONE(conv2d_weight_grad_mma_any_32_bf16, WeightGradParams, MmaTile<32>::THREADS, mma_weight_grad<32, true>)
RIR_KERNEL_ALONE(conv2d_weight_grad_mma_any_96_bf16, WeightGradParams, MmaTile<96>::THREADS, mma_weight_grad<96, true>)

}  // namespace conv2d
