// The weight gradient as a matrix product in tiles of shared memory, split over pixels, and the sum of the splits.
//
//     dw[k, j] = sum over pixels m of x[pixel(m, r, s), c] dz[m, k], where j = (r, s, c)
//
// Rows are the R S C elements of a filter, columns the K filters, the depth is the N P Q output pixels. (The filter's
// elements are the tile's long side: 864 of them fill 96 % of 7 tiles of 128, where 96 filters would fill 75 %.) Both
// operands are contiguous across the depth, so both tiles go to shared memory as they lie.
//
// The outputs are few and the depth is long, so the pixels are cut into splits of `pixels_per_split`, each summed by
// blocks of its own into its part of a scratch [splits, K R S C]; a second kernel adds the splits up, in order. Where
// there is one split it is dw itself. The cut depends on the shapes alone, so the bits do not depend on the card.
//
// Tile: 128 filter elements x 32, 64 or 96 filters x 16 pixels, by 64, 128 or 192 threads. Grid: x = tiles, filters
// first; y = split.
#include "../rir.cuh"
#include "gather.cuh"
#include "params.cuh"

namespace conv2d {

template <uint32_t COLUMNS>
struct WeightGradShared {
    Stage<COLUMNS> stages[2];
    // Of the 16 pixels of a step, and of the next.
    OriginVector origins[2][TILE_DEPTH];
    // (r, s, c) of the tile's rows, by row % 4 and row / 4, so that neighbouring threads, which take neighbouring
    // quads, read neighbours. A row past the filter's last element has its r NOWHERE.
    uint4 taps[QUAD][TILE_ROWS / QUAD];
};
static_assert(sizeof(WeightGradShared<96>) <= 48 * 1024, "static shared memory");

template <typename T, uint32_t COLUMNS>
struct WeightGradOperands {
    static constexpr uint32_t THREADS = tile_threads(COLUMNS);

    const Source<T>& source;
    const Extents& e;
    const T* dz;  // [N P Q K]
    WeightGradShared<COLUMNS>& shared;
    uint32_t first_filter;
    uint32_t pixel, end;  // the next step's first pixel; where the split ends
    AcrossDepth<T, TILE_ROWS, THREADS> source_tile;
    AcrossDepth<T, COLUMNS, THREADS> gradient_tile;

    // Which of the two lists of origins serves the step that begins at a pixel. Splits are whole steps long.
    __device__ __forceinline__ static uint32_t slot(uint32_t pixel) { return pixel / TILE_DEPTH % 2; }

    __device__ __forceinline__ void find_taps(uint32_t first_row) {
        const uint32_t elements = e.r * e.s * e.c;
        for (uint32_t entry = threadIdx.x; entry < TILE_ROWS; entry += THREADS) {
            const uint32_t within = entry / (TILE_ROWS / QUAD);
            const uint32_t quad = entry % (TILE_ROWS / QUAD);
            const uint32_t index = first_row + quad * QUAD + within;
            const Tap tap = index < elements ? unpack_tap(index, e.s, e.c) : Tap{uint32_t(NOWHERE), 0, 0};
            shared.taps[within][quad] = make_uint4(tap.r, tap.s, tap.c, 0);
        }
    }
    __device__ __forceinline__ void find_step_origins(uint32_t first) {
        if (threadIdx.x < TILE_DEPTH) {
            const uint32_t index = first + threadIdx.x;
            const Origin origin = index < end ? source.origin(index) : Origin{NOWHERE, NOWHERE, 0};
            shared.origins[slot(first)][threadIdx.x] = to_vector(origin);
        }
    }
    // Of the im2col matrix's row of a pixel, the four elements of a quad of the tile's rows.
    __device__ __forceinline__ Quad<T> gather(const Origin& origin, uint32_t quad_of_rows) const {
        if (e.c % QUAD == 0) {  // one tap, neighbouring channels
            const uint4 tap = shared.taps[0][quad_of_rows];
            return load_quad(source.run(origin, tap.x, tap.y), tap.z, e.c, true);
        }
        Quad<T> quad;
#pragma unroll
        for (uint32_t i = 0; i < QUAD; ++i) {
            const uint4 tap = shared.taps[i][quad_of_rows];
            const T* run = source.run(origin, tap.x, tap.y);
            quad.v[i] = run != nullptr ? run[tap.z] : store<T>(0.0f);
        }
        return quad;
    }
    __device__ __forceinline__ void fetch() {
        const OriginVector* origins = shared.origins[slot(pixel)];
        source_tile.fetch([&](uint32_t depth, uint32_t at) { return gather(to_origin(origins[depth]), at / QUAD); });
        gradient_tile.fetch([&](uint32_t depth, uint32_t at) {
            const uint32_t m = pixel + depth;
            return load_quad(m < end ? dz + uint64_t(m) * e.k : nullptr, first_filter + at, e.k, e.k % QUAD == 0);
        });
        pixel += TILE_DEPTH;
    }
    __device__ __forceinline__ void put(Stage<COLUMNS>& stage) {
        source_tile.put(stage.rows);
        gradient_tile.put(stage.columns);
        // For the fetch after the barrier that follows; the one before it has read these for the last time.
        find_step_origins(pixel);
    }
};

template <typename T, uint32_t COLUMNS>
__device__ __forceinline__ void tiled_weight_grad(const WeightGradParams& p) {
    RIR_SHARED(WeightGradShared<COLUMNS>, shared);
    const Extents& e = p.e;
    const uint32_t filter_tiles = ceil_div(e.k, COLUMNS);
    const uint32_t first_row = blockIdx.x / filter_tiles * TILE_ROWS;
    const uint32_t first_filter = blockIdx.x % filter_tiles * COLUMNS;
    const uint32_t begin = blockIdx.y * p.pixels_per_split;
    const uint32_t end = min(begin + p.pixels_per_split, e.n * e.p * e.q);

    const Source<T> source = input_source<T>(p.x, e);
    WeightGradOperands<T, COLUMNS> operands{source, e, static_cast<const T*>(p.dz), shared, first_filter, begin, end,
                                            {},     {}};
    operands.find_taps(first_row);
    operands.find_step_origins(begin);
    __syncthreads();
    Sums sums = {};
    multiply(shared.stages, operands, ceil_div(end - begin, TILE_DEPTH), sums);

    const uint32_t elements = e.r * e.s * e.c;
    float* dw = p.dw + uint64_t(blockIdx.y) * e.k * elements;
#pragma unroll
    for (uint32_t j = 0; j < THREAD_COLUMNS; ++j) {
        const uint32_t k = first_filter + tile_column(threadIdx.x, j);
        if (k >= e.k) {
            continue;
        }
#pragma unroll
        for (uint32_t i = 0; i < THREAD_ROWS; i += QUAD) {
            const Quad<float> quad{{sums[i][j], sums[i + 1][j], sums[i + 2][j], sums[i + 3][j]}};
            const uint32_t at = first_row + tile_row(threadIdx.x, i);
            store_quad(dw + uint64_t(k) * elements, at, elements, elements % QUAD == 0, quad);
        }
    }
}

constexpr int SUM_THREADS = 256;

__device__ __forceinline__ void sum_splits(const SumSplitsParams& p) {
    const uint64_t at = grid_thread();
    if (at >= p.elements) {
        return;
    }
    float sum = 0;
    for (uint32_t split = 0; split < p.splits; ++split) {
        sum += p.partials[uint64_t(split) * p.elements + at];
    }
    p.dw[at] = sum;
}

RIR_KERNEL(conv2d_weight_grad_tiled_32_f32, WeightGradParams, tile_threads(32), tiled_weight_grad<float, 32>)
RIR_KERNEL(conv2d_weight_grad_tiled_64_f32, WeightGradParams, tile_threads(64), tiled_weight_grad<float, 64>)
RIR_KERNEL(conv2d_weight_grad_tiled_96_f32, WeightGradParams, tile_threads(96), tiled_weight_grad<float, 96>)
RIR_KERNEL(conv2d_weight_grad_tiled_32_bf16, WeightGradParams, tile_threads(32), tiled_weight_grad<bf16, 32>)
RIR_KERNEL(conv2d_weight_grad_tiled_64_bf16, WeightGradParams, tile_threads(64), tiled_weight_grad<bf16, 64>)
RIR_KERNEL(conv2d_weight_grad_tiled_96_bf16, WeightGradParams, tile_threads(96), tiled_weight_grad<bf16, 96>)
RIR_KERNEL(conv2d_weight_grad_sum, SumSplitsParams, SUM_THREADS, sum_splits)

}  // namespace conv2d
