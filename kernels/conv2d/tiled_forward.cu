// Convolution as a matrix product in tiles of shared memory (implicit GEMM), with its epilogues.
//
//     z[m, k] = sum over (r, s, c) of x[pixel(m, r, s), c] w[k, (r, s, c)]  (+ E x)
//
// Rows are the N P Q output pixels, columns the K filters, the depth is R S C; the im2col matrix of the rows is never
// stored, each step gathers its part of it (gather.cuh). Both operands are contiguous along the depth.
//
// Tile: 128 pixels x 32, 64 or 96 filters x 16 channels of a tap, by 64, 128 or 192 threads. The launch chooses the
// width that leaves the fewest columns empty. Grid: x = tiles, filters first, so that blocks that run together read the
// same pixels.
//
// The epilogue works on the thread's 8 x 8 sums in registers: E, then scale and shift, outer shortcut and ReLU, then
// storing; or, for training, the tile's mean and squared deviations per channel of the values as they were stored.
// Invariant: two passes, so a large mean cancels nothing; rows past the last pixel count nowhere.
#include "../rir.cuh"
#include "epilogue.cuh"
#include "gather.cuh"
#include "params.cuh"

namespace conv2d {

template <uint32_t COLUMNS>
struct ForwardShared {
    Stage<COLUMNS> stages[2];
    OriginVector origins[TILE_ROWS];
    // Of each warp of rows: sums, then squared deviations, of every column.
    float sums[WARPS_OF_ROWS][COLUMNS];
    float squares[WARPS_OF_ROWS][COLUMNS];
};
static_assert(sizeof(ForwardShared<96>) <= 48 * 1024, "static shared memory");
static_assert(WARPS_OF_ROWS == 2, "the statistics add up two warps");

template <typename T, uint32_t COLUMNS>
struct ForwardOperands {
    static constexpr uint32_t THREADS = tile_threads(COLUMNS);

    const Source<T>& source;
    const OriginVector (&origins)[TILE_ROWS];
    const T* filters;  // [K R S C]
    uint32_t first_filter, filter_count;
    bool whole;
    Walk walk;
    AlongDepth<T, TILE_ROWS, THREADS> pixel_tile;
    AlongDepth<T, COLUMNS, THREADS> filter_tile;

    __device__ __forceinline__ void fetch() {
        const uint32_t channels = source.channels;
        if (walk.channel == 0) {
            pixel_tile.aim([&](uint32_t row) { return source.run(to_origin(origins[row]), walk.i, walk.j); });
            const uint32_t taps = source.rows.taps * source.columns.taps;
            const uint32_t tap = walk.i * source.columns.taps + walk.j;
            filter_tile.aim([&](uint32_t column) -> const T* {
                const uint32_t k = first_filter + column;
                return k < filter_count ? filters + (uint64_t(k) * taps + tap) * channels : nullptr;
            });
        }
        pixel_tile.fetch(walk.channel, channels, whole);
        filter_tile.fetch(walk.channel, channels, whole);
        walk.advance(source.columns.taps, channels);
    }
    __device__ __forceinline__ void put(Stage<COLUMNS>& stage) const {
        pixel_tile.put(stage.rows);
        filter_tile.put(stage.columns);
    }
};

// Adds E, finishes and stores the thread's sums; each is left as it was stored.
template <typename T>
__device__ __forceinline__ void store_forward(const ForwardParams& p, uint32_t first_pixel, uint32_t first_filter,
                                              Sums& sums) {
    const Extents& e = p.e;
    const uint32_t pixels = e.n * e.p * e.q;
    const bool whole = e.k % QUAD == 0;
    const bool whole_identity = e.c % QUAD == 0 && e.identity % QUAD == 0;
#pragma unroll
    for (uint32_t j = 0; j < THREAD_COLUMNS; j += QUAD) {
        const uint32_t k = first_filter + tile_column(threadIdx.x, j);
        Quad<float> scale{{1, 1, 1, 1}};
        Quad<float> shift{{0, 0, 0, 0}};
        if (p.scale_shift != nullptr) {
            scale = load_quad(p.scale_shift, k, e.k, whole);
            shift = load_quad(p.scale_shift + e.k, k, e.k, whole);
        }
#pragma unroll
        for (uint32_t i = 0; i < THREAD_ROWS; ++i) {
            const uint32_t m = first_pixel + tile_row(threadIdx.x, i);
            if (m >= pixels) {
                continue;
            }
            Quad<float> sum{{sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]}};
            if (k < e.identity) {
                const uint64_t from = uint64_t(identity_input(unpack_pixel(m, e.p, e.q), e)) * e.c;
                const Quad<T> x = load_quad(static_cast<const T*>(p.x) + from, k, e.identity, whole_identity);
#pragma unroll
                for (uint32_t l = 0; l < QUAD; ++l) {
                    sum.v[l] += load(x.v[l]);
                }
            }
            const uint64_t row = uint64_t(m) * e.k;
            const T* outer_row = p.outer != nullptr ? static_cast<const T*>(p.outer) + row : nullptr;
            const Quad<T> outer = load_quad(outer_row, k, e.k, whole);
            Quad<T> stored;
#pragma unroll
            for (uint32_t l = 0; l < QUAD; ++l) {
                stored.v[l] = store<T>(finish_forward(p, sum.v[l], scale.v[l], shift.v[l], load(outer.v[l])));
                sums[i][j + l] = load(stored.v[l]);
            }
            store_quad(static_cast<T*>(p.z) + row, k, e.k, whole, stored);
        }
    }
}

// Mean and squared deviations of each column's `count` rows, to partials [2, K] of this tile of rows.
template <uint32_t COLUMNS>
__device__ __forceinline__ void tile_statistics(ForwardShared<COLUMNS>& shared, const Sums& z, uint32_t count,
                                                uint32_t first_filter, uint32_t filters, float* partials) {
    const uint32_t warp_of_rows = threadIdx.x / WARP % WARPS_OF_ROWS;
    const bool first_lane = lane_row(threadIdx.x % WARP) == 0;
#pragma unroll
    for (uint32_t j = 0; j < THREAD_COLUMNS; ++j) {
        float sum = 0;
#pragma unroll
        for (uint32_t i = 0; i < THREAD_ROWS; ++i) {
            sum += tile_row(threadIdx.x, i) < count ? z[i][j] : 0;
        }
        sum = add_lanes_of_rows(sum);
        if (first_lane) {
            shared.sums[warp_of_rows][tile_column(threadIdx.x, j)] = sum;
        }
    }
    __syncthreads();
#pragma unroll
    for (uint32_t j = 0; j < THREAD_COLUMNS; ++j) {
        const uint32_t column = tile_column(threadIdx.x, j);
        const float mean = (shared.sums[0][column] + shared.sums[1][column]) / float(count);
        float squares = 0;
#pragma unroll
        for (uint32_t i = 0; i < THREAD_ROWS; ++i) {
            const float deviation = tile_row(threadIdx.x, i) < count ? z[i][j] - mean : 0;
            squares += deviation * deviation;
        }
        squares = add_lanes_of_rows(squares);
        if (first_lane) {
            shared.squares[warp_of_rows][column] = squares;
        }
    }
    __syncthreads();
    for (uint32_t column = threadIdx.x; column < COLUMNS; column += blockDim.x) {
        const uint32_t k = first_filter + column;
        if (k < filters) {
            partials[k] = (shared.sums[0][column] + shared.sums[1][column]) / float(count);
            partials[filters + k] = shared.squares[0][column] + shared.squares[1][column];
        }
    }
}

template <typename T, uint32_t COLUMNS>
__device__ __forceinline__ void tiled_forward(const ForwardParams& p) {
    RIR_SHARED(ForwardShared<COLUMNS>, shared);
    const Extents& e = p.e;
    const uint32_t pixels = e.n * e.p * e.q;
    const uint32_t filter_tiles = ceil_div(e.k, COLUMNS);
    const uint32_t row_tile = blockIdx.x / filter_tiles;
    const uint32_t first_pixel = row_tile * TILE_ROWS;
    const uint32_t first_filter = blockIdx.x % filter_tiles * COLUMNS;

    const Source<T> source = input_source<T>(p.x, e);
    find_origins(shared.origins, source, first_pixel, pixels);
    ForwardOperands<T, COLUMNS> operands{
        source, shared.origins, static_cast<const T*>(p.w), first_filter, e.k, e.c % QUAD == 0, {}, {}, {}};
    Sums sums = {};
    multiply(shared.stages, operands, source.steps(), sums);

    store_forward<T>(p, first_pixel, first_filter, sums);
    if (p.partials != nullptr) {
        const uint32_t count = min(TILE_ROWS, pixels - first_pixel);
        float* partials = p.partials + uint64_t(row_tile) * 2 * e.k;
        tile_statistics<COLUMNS>(shared, sums, count, first_filter, e.k, partials);
    }
}

RIR_KERNEL(conv2d_tiled_32_f32, ForwardParams, tile_threads(32), tiled_forward<float, 32>)
RIR_KERNEL(conv2d_tiled_64_f32, ForwardParams, tile_threads(64), tiled_forward<float, 64>)
RIR_KERNEL(conv2d_tiled_96_f32, ForwardParams, tile_threads(96), tiled_forward<float, 96>)
RIR_KERNEL(conv2d_tiled_32_bf16, ForwardParams, tile_threads(32), tiled_forward<bf16, 32>)
RIR_KERNEL(conv2d_tiled_64_bf16, ForwardParams, tile_threads(64), tiled_forward<bf16, 64>)
RIR_KERNEL(conv2d_tiled_96_bf16, ForwardParams, tile_threads(96), tiled_forward<bf16, 96>)

}  // namespace conv2d
