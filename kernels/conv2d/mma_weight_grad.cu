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
#include "mma_any.cuh"
#include "mma_gather.cuh"
#include "params.cuh"

namespace conv2d {

template <typename Tile, bool ANY>
struct MmaWeightGradOperands;

// What a block knows of where it works.
struct WeightGradPlace {
    uint32_t first_row, first_filter;
    uint32_t begin, end;  // pixels of the split
};

template <typename Tile>
struct MmaWeightGradOperands<Tile, false> {
    using Stage = MmaStage<Tile, Chunks::AcrossDepth, Chunks::AcrossDepth>;
    // Where the taps of a pixel begin.
    struct Corner {
        int32_t pixel;     // of the source, that tap (0, 0) reads
        uint32_t outside;  // taps_outside
    };
    // Of the pixels of STAGES steps, and of the STAGES steps after, which are found meanwhile.
    struct Shared {
        Stage stages[STAGES];
        Corner corners[2][STAGES * MMA_DEPTH];
    };

    const Source<bf16>& source;
    WeightGradPlace place;
    Corner (&corners)[2][STAGES * MMA_DEPTH];
    const bf16* from;  // this thread's elements of a filter, as tap (0, 0) of the source's first pixel would read them
    uint32_t bits;     // tap_bits of their tap
    bool past;         // whether they are past the filter's last element
    const bf16* dz;    // [K], from the tile's filters on, of the first pixel of the step to fetch
    uint32_t filters;  // K
    uint32_t step;     // to fetch

    __device__ __forceinline__ MmaWeightGradOperands(const WeightGradParams& p, const Source<bf16>& source,
                                                     Shared& shared, const WeightGradPlace& place)
        : source(source), place(place), corners(shared.corners), filters(p.e.k), step(0) {
        constexpr uint32_t ROW_CHUNKS = TILE_ROWS / CHUNK;
        static_assert(Tile::THREADS % ROW_CHUNKS == 0, "in every round the same elements");
        const uint32_t own = place.first_row + threadIdx.x % ROW_CHUNKS * CHUNK;
        const Tap tap = unpack_tap(own, p.e.s, p.e.c);
        past = own >= p.e.r * p.e.s * p.e.c;
        from = source.pixels + (source.distance(tap.r, tap.s) + int32_t(tap.c));
        bits = past ? 0 : tap_bits(tap.r, tap.s);
        dz = static_cast<const bf16*>(p.dz) + (uint64_t(place.begin) * filters + place.first_filter);
        find_corners(0);
        __syncthreads();
    }
    __device__ __forceinline__ uint32_t steps() const { return ceil_div(place.end - place.begin, MMA_DEPTH); }
    // Of the STAGES steps from `of_step` on.
    __device__ __forceinline__ void find_corners(uint32_t of_step) {
        for (uint32_t at = threadIdx.x; at < STAGES * MMA_DEPTH; at += Tile::THREADS) {
            const uint32_t m = place.begin + of_step * MMA_DEPTH + at;
            const Origin origin = source.origin(min(m, place.end - 1));
            corners[of_step / STAGES % 2][at] = {origin.pixel,
                                                 m < place.end ? taps_outside(source, origin) : ALL_OUTSIDE};
        }
    }
    __device__ __forceinline__ void fetch(Stage& stage) {
        const Corner* of_step = &corners[step / STAGES % 2][step % STAGES * MMA_DEPTH];
        fill<Tile::THREADS, ptx::Through::All>(stage.rows, [&](uint32_t, uint32_t line, uint32_t) -> GlobalChunk {
            const Corner corner = of_step[line];
            return {from + int64_t(corner.pixel) * source.channels, past || (corner.outside & bits) != 0};
        });
        const uint32_t pixels = place.end - (place.begin + step * MMA_DEPTH);
        const uint32_t filters_left = filters - place.first_filter;
        fill<Tile::THREADS, ptx::Through::L2>(stage.columns, [&](uint32_t, uint32_t line, uint32_t k) -> GlobalChunk {
            return {dz + (line * filters + k), line >= pixels || k >= filters_left};
        });
        dz += MMA_DEPTH * filters;
        // Their place is that of steps that were fetched before the latest barrier.
        if (step % STAGES == 0) {
            find_corners(step + STAGES);
        }
        ++step;
    }
};

template <typename Tile>
struct MmaWeightGradOperands<Tile, true> {
    using Stage = MmaStage<Tile, Chunks::AcrossDepth, Chunks::AcrossDepth>;
    struct Shared {
        Stage stages[STAGES];
        // Of the pixels of as many steps: the step that is fetched reads its own, and finds those of the step after.
        OriginVector origins[STAGES][MMA_DEPTH];
    };

    const Source<bf16>& source;
    const Extents& e;
    WeightGradPlace place;
    const bf16* dz;  // [N P Q K]
    OriginVector (&origins)[STAGES][MMA_DEPTH];
    Tap own;  // of the first element of this thread's chunks of rows, the same in every round
    uint32_t step;

    __device__ __forceinline__ MmaWeightGradOperands(const WeightGradParams& p, const Source<bf16>& source,
                                                     Shared& shared, const WeightGradPlace& place)
        : source(source),
          e(p.e),
          place(place),
          dz(static_cast<const bf16*>(p.dz)),
          origins(shared.origins),
          own(unpack_tap(place.first_row + threadIdx.x % (TILE_ROWS / CHUNK) * CHUNK, p.e.s, p.e.c)),
          step(0) {
        // The first steps are fetched without a barrier between them.
        for (uint32_t at = threadIdx.x; at < STAGES * MMA_DEPTH; at += Tile::THREADS) {
            find_origin(at / MMA_DEPTH, at % MMA_DEPTH);
        }
        __syncthreads();
    }
    __device__ __forceinline__ uint32_t steps() const { return ceil_div(place.end - place.begin, MMA_DEPTH); }
    __device__ __forceinline__ void find_origin(uint32_t of_step, uint32_t line) {
        const uint32_t m = place.begin + of_step * MMA_DEPTH + line;
        origins[of_step % STAGES][line] = to_vector(m < place.end ? source.origin(m) : Origin{NOWHERE, NOWHERE, 0});
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
            return run != nullptr && place.first_row + at + i < e.r * e.s * e.c ? run + tap.c : nullptr;
        };
        fill_any<Tile::THREADS, ptx::Through::All>(stage.rows, e.c % CHUNK == 0, source.pixels, source_address);
        const uint32_t first_pixel = place.begin + step * MMA_DEPTH;
        const auto gradient_address = [&](uint32_t, uint32_t line, uint32_t at, uint32_t i) -> const bf16* {
            const uint32_t m = first_pixel + line;
            const uint32_t k = place.first_filter + at + i;
            return m < place.end && k < e.k ? dz + uint64_t(m) * e.k + k : nullptr;
        };
        fill_any<Tile::THREADS, ptx::Through::L2>(stage.columns, e.k % CHUNK == 0, dz, gradient_address);
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
    using Shared = typename Operands::Shared;
    RIR_SHARED_DYNAMIC(Shared, shared);
    const Extents& e = p.e;
    const uint32_t filter_tiles = ceil_div(e.k, COLUMNS);
    const uint32_t first_row = blockIdx.x / filter_tiles * TILE_ROWS;
    const uint32_t first_filter = blockIdx.x % filter_tiles * COLUMNS;
    const uint32_t begin = blockIdx.y * p.pixels_per_split;
    const uint32_t end = min(begin + p.pixels_per_split, e.n * e.p * e.q);

    const Source<bf16> source = input_source<bf16>(p.x, e);
    Operands operands(p, source, shared, {first_row, first_filter, begin, end});
    MmaSums<Tile> sums;
    multiply<Tile>(shared.stages, operands, operands.steps(), sums);

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
