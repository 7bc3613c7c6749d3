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

// Bytes of shared memory beside the stages, which the launch counts: where the pixels of the depth lie.
constexpr uint32_t WEIGHT_GRAD_PLACES = STAGES * MMA_DEPTH * 16;

// What a block knows of where it works.
struct WeightGradPlace {
    uint32_t first_row, first_filter;
    uint32_t begin, end;  // pixels of the split

    __device__ __forceinline__ uint32_t steps() const { return ceil_div(end - begin, MMA_DEPTH); }
};

template <typename Tile>
struct MmaWeightGradOperands<Tile, false> {
    using Stage = MmaStage<Tile, Chunks::AcrossDepth, Chunks::AcrossDepth>;
    // Where the taps of a pixel begin: x is the source's pixel that tap (0, 0) reads, which may lie before the first, y
    // its taps_outside.
    using Corner = uint2;
    // Of the pixels of STAGES steps, and of the STAGES steps after, which are found meanwhile.
    struct Shared {
        Stage stages[STAGES];
        Corner corners[2][STAGES * MMA_DEPTH];
    };
    static_assert(sizeof(Shared) == sizeof(Stage[STAGES]) + WEIGHT_GRAD_PLACES);

    using Rows = typename decltype(Stage::rows)::template FilledBy<Tile::THREADS>;
    using Columns = typename decltype(Stage::columns)::template FilledBy<Tile::THREADS>;
    // Eight elements of a filter.
    struct Elements {
        const bf16* from;  // what they read where tap (0, 0) reads the first pixel
        uint32_t bits;     // that decide about their tap
        uint32_t outside;  // everywhere: of elements past the last
    };

    const Source<bf16>& source;
    WeightGradPlace place;
    Corner (&corners)[2][STAGES * MMA_DEPTH];
    Elements elements[Rows::CHUNK_ROUNDS];
    const bf16* dz;    // [K], from the thread's filters on, of its first line of the step to fetch
    uint32_t filters;  // K
    uint32_t step;     // to fetch

    __device__ __forceinline__ MmaWeightGradOperands(const WeightGradParams& p, const Source<bf16>& source,
                                                     Shared& shared, const WeightGradPlace& place)
        : source(source), place(place), corners(shared.corners), filters(p.e.k), step(0) {
#pragma unroll
        for (uint32_t round = 0; round < Rows::CHUNK_ROUNDS; ++round) {
            const uint32_t first = place.first_row + Rows::chunk(threadIdx.x, round) * CHUNK;
            const Tap tap = unpack_tap(first, p.e.s, p.e.c);
            const bool past = first >= p.e.r * p.e.s * p.e.c;
            elements[round] = {source.pixels + (source.distance(tap.r, tap.s) + int32_t(tap.c)),
                               past ? ALL_OUTSIDE : tap_bits(tap.r, tap.s), past ? ALL_OUTSIDE : 0};
        }
        const uint64_t first_pixel = place.begin + Columns::line(threadIdx.x, 0);
        dz = static_cast<const bf16*>(p.dz) + (first_pixel * filters + first_filter(0));
        find_corners(0);
        __syncthreads();
    }
    // The first of the filters that the thread fetches in a round.
    __device__ __forceinline__ uint32_t first_filter(uint32_t chunk_round) const {
        return place.first_filter + Columns::chunk(threadIdx.x, chunk_round) * CHUNK;
    }
    // Of the STAGES steps from `of_step` on.
    __device__ __forceinline__ void find_corners(uint32_t of_step) {
        for (uint32_t at = threadIdx.x; at < STAGES * MMA_DEPTH; at += Tile::THREADS) {
            const uint32_t m = place.begin + of_step * MMA_DEPTH + at;
            const Origin origin = source.origin(min(m, place.end - 1));
            const uint32_t outside = m < place.end ? taps_outside(source, origin) : ALL_OUTSIDE;
            corners[of_step / STAGES % 2][at] = make_uint2(uint32_t(origin.pixel), outside);
        }
    }
    __device__ __forceinline__ void fetch(Stage& stage) {
        const Corner* of_step = &corners[step / STAGES % 2][step % STAGES * MMA_DEPTH];
        Corner own[Rows::LINE_ROUNDS];
#pragma unroll
        for (uint32_t round = 0; round < Rows::LINE_ROUNDS; ++round) {
            own[round] = of_step[Rows::line(threadIdx.x, round)];
        }
        const auto source_chunk = [&](uint32_t line_round, uint32_t chunk_round) -> GlobalChunk {
            const Elements& of_filter = elements[chunk_round];
            const uint32_t outside = (own[line_round].y | of_filter.outside) & of_filter.bits;
            return {of_filter.from + int64_t(int32_t(own[line_round].x)) * int32_t(source.channels), outside != 0};
        };
        fill<Tile::THREADS, ptx::Through::All>(stage.rows, source_chunk);
        const uint32_t pixels = place.end - (place.begin + step * MMA_DEPTH);
        const auto gradient_chunk = [&](uint32_t line_round, uint32_t chunk_round) -> GlobalChunk {
            const uint32_t further =
                line_round * Columns::LINES_AT_ONCE * filters + chunk_round * Columns::GROUP * CHUNK;
            return {dz + further,
                    Columns::line(threadIdx.x, line_round) >= pixels || first_filter(chunk_round) >= filters};
        };
        fill<Tile::THREADS, ptx::Through::L2>(stage.columns, gradient_chunk);
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
    static_assert(sizeof(Shared) == sizeof(Stage[STAGES]) + WEIGHT_GRAD_PLACES);

    using Rows = typename decltype(Stage::rows)::template FilledBy<Tile::THREADS>;
    using Columns = typename decltype(Stage::columns)::template FilledBy<Tile::THREADS>;

    const Source<bf16>& source;
    const Extents& e;
    WeightGradPlace place;
    const bf16* dz;  // [N P Q K]
    OriginVector (&origins)[STAGES][MMA_DEPTH];
    Tap own[Rows::CHUNK_ROUNDS];  // of the first element of this thread's chunks of rows
    uint32_t step;

    __device__ __forceinline__ MmaWeightGradOperands(const WeightGradParams& p, const Source<bf16>& source,
                                                     Shared& shared, const WeightGradPlace& place)
        : source(source), e(p.e), place(place), dz(static_cast<const bf16*>(p.dz)), origins(shared.origins), step(0) {
#pragma unroll
        for (uint32_t round = 0; round < Rows::CHUNK_ROUNDS; ++round) {
            own[round] = unpack_tap(first_element(round), e.s, e.c);
        }
        // The first steps are fetched without a barrier between them.
        for (uint32_t at = threadIdx.x; at < STAGES * MMA_DEPTH; at += Tile::THREADS) {
            find_origin(at / MMA_DEPTH, at % MMA_DEPTH);
        }
        __syncthreads();
    }
    __device__ __forceinline__ void find_origin(uint32_t of_step, uint32_t line) {
        const uint32_t m = place.begin + of_step * MMA_DEPTH + line;
        origins[of_step % STAGES][line] = to_vector(m < place.end ? source.origin(m) : Origin{NOWHERE, NOWHERE, 0});
    }
    // The first element of the thread's chunk of a round.
    __device__ __forceinline__ uint32_t first_element(uint32_t chunk_round) const {
        return place.first_row + Rows::chunk(threadIdx.x, chunk_round) * CHUNK;
    }
    // The tap `i` elements after the first of the thread's chunk of a round.
    __device__ __forceinline__ Tap further(uint32_t chunk_round, uint32_t i) const {
        Tap tap = own[chunk_round];
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
        const auto source_address = [&](uint32_t line_round, uint32_t chunk_round, uint32_t i) -> const bf16* {
            const OriginVector origin = of_step[Rows::line(threadIdx.x, line_round)];
            const Tap tap = further(chunk_round, i);
            const bf16* run = source.run(to_origin(origin), tap.r, tap.s);
            return run != nullptr && first_element(chunk_round) + i < e.r * e.s * e.c ? run + tap.c : nullptr;
        };
        fill_any<Tile::THREADS, ptx::Through::All>(stage.rows, e.c % CHUNK == 0, source_address);
        const uint32_t first_pixel = place.begin + step * MMA_DEPTH;
        const auto gradient_address = [&](uint32_t line_round, uint32_t chunk_round, uint32_t i) -> const bf16* {
            const uint32_t m = first_pixel + Columns::line(threadIdx.x, line_round);
            const uint32_t k = place.first_filter + Columns::chunk(threadIdx.x, chunk_round) * CHUNK + i;
            return m < place.end && k < e.k ? dz + uint64_t(m) * e.k + k : nullptr;
        };
        fill_any<Tile::THREADS, ptx::Through::L2>(stage.columns, e.k % CHUNK == 0, gradient_address);
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
    const WeightGradPlace place = {first_row, first_filter, begin, end};
    Operands operands(p, source, shared, place);
    MmaSums<Tile> sums = {};
    multiply<Tile>(shared.stages, operands, place.steps(), sums);

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
