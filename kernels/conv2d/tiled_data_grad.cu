// The data gradient as a matrix product in tiles of shared memory, with its addends.
//
//     dx[m, c] = sum over (r, s, k) of dz[pixel(m, r, s), k] w[k, r, s, c]  (+ E^T dz + addend)
//
// and the same of a projection's dzp and wp, whose depth follows in the same sums.
//
// Rows are input pixels, columns the C channels, the depth is R S K. Under a stride the input pixels fall into
// stride x stride classes by their residues; within a class all pixels have the same taps, so each class is a small
// convolution of its own (3x3 under stride 2: of 4, 2, 2 and 1 taps) and no product is computed in vain. A class
// without taps (1x1 under stride 2 has three) only runs its epilogue.
//
// The rows are gathered as in the forward product; the filters are contiguous along the columns, so their tile goes to
// shared memory as it lies, and no transposed copy of w is needed.
//
// The epilogue adds E^T dz and the addend in registers, passes ReLU's gradient, and sums g, as stored, and g (z - mean)
// over the tile's rows in a fixed order.
//
// Tile: 128 pixels x 32, 64 or 96 channels x 16 filters of a tap, by 64, 128 or 192 threads. Grid: x = tiles of the
// largest class, channels first; z = class. Blocks past the end of a smaller class have nothing to do.
#include "../rir.cuh"
#include "epilogue.cuh"
#include "gather.cuh"
#include "params.cuh"

namespace conv2d {

template <uint32_t COLUMNS>
struct DataGradShared {
    Stage<COLUMNS> stages[2];
    OriginVector origins[TILE_ROWS];
    float sums[WARPS_OF_ROWS][COLUMNS];  // of each warp of rows
};
static_assert(WARPS_OF_ROWS == 2, "two warps are added up");
static_assert(sizeof(DataGradShared<96>) <= 48 * 1024, "static shared memory");

template <typename T, uint32_t COLUMNS>
struct DataGradOperands {
    static constexpr uint32_t THREADS = tile_threads(COLUMNS);

    const Source<T>& source;
    const OriginVector (&origins)[TILE_ROWS];
    const T* filters;  // [K R S C]
    const Extents& e;
    uint32_t first_channel;
    Walk walk;
    AlongDepth<T, TILE_ROWS, THREADS> pixel_tile;
    AcrossDepth<T, COLUMNS, THREADS> filter_tile;

    __device__ __forceinline__ void fetch() {
        if (walk.channel == 0) {
            pixel_tile.aim([&](uint32_t row) { return source.run(to_origin(origins[row]), walk.i, walk.j); });
        }
        pixel_tile.fetch(walk.channel, e.k, e.k % QUAD == 0);
        const uint32_t r = source.rows.filter(walk.i);
        const uint32_t s = source.columns.filter(walk.j);
        filter_tile.fetch([&](uint32_t depth, uint32_t at) {
            const uint32_t k = walk.channel + depth;
            const T* run = k < e.k ? filters + ((uint64_t(k) * e.r + r) * e.s + s) * e.c : nullptr;
            return load_quad(run, first_channel + at, e.c, e.c % QUAD == 0);
        });
        walk.advance(source.columns.taps, e.k);
    }
    __device__ __forceinline__ void put(Stage<COLUMNS>& stage) const {
        pixel_tile.put(stage.rows);
        filter_tile.put(stage.columns);
    }
};

// Adds E^T dz and the addend, passes the ReLU and stores the thread's sums; each is left as it was stored.
template <typename T>
__device__ __forceinline__ void store_data_grad(const DataGradParams& p, const Source<T>& source, uint32_t first_pixel,
                                                uint32_t pixels, uint32_t first_channel, Sums& sums) {
    const Extents& e = p.e;
    const bool whole = e.c % QUAD == 0;
    const bool whole_identity = e.k % QUAD == 0 && e.identity % QUAD == 0;
#pragma unroll
    for (uint32_t i = 0; i < THREAD_ROWS; ++i) {
        const uint32_t m = first_pixel + tile_row(threadIdx.x, i);
        if (m >= pixels) {
            continue;
        }
        const Pixel pixel = source.target(m);
        const uint64_t row = uint64_t(pack_pixel(pixel, e.h, e.w)) * e.c;
        const T* addend_row = p.addend != nullptr ? static_cast<const T*>(p.addend) + row : nullptr;
        // A pixel off the identity's grid gains nothing from it.
        const T* identity_row = on_identity_grid(pixel, e)
                                    ? static_cast<const T*>(p.dz) + uint64_t(identity_output(pixel, e)) * e.k
                                    : nullptr;
#pragma unroll
        for (uint32_t j = 0; j < THREAD_COLUMNS; j += QUAD) {
            const uint32_t c = first_channel + tile_column(threadIdx.x, j);
            const Quad<T> identity = load_quad(identity_row, c, e.identity, whole_identity);
            const Quad<T> addend = load_quad(addend_row, c, e.c, whole);
            Quad<T> stored;
#pragma unroll
            for (uint32_t l = 0; l < QUAD; ++l) {
                float sum = sums[i][j + l] + load(identity.v[l]);
                if (c + l < e.c && adds(p, row + c + l)) {
                    sum += load(addend.v[l]);
                }
                stored.v[l] = store<T>(c + l < e.c && passes(p, row + c + l) ? sum : 0.0f);
                sums[i][j + l] = load(stored.v[l]);
            }
            store_quad(static_cast<T*>(p.dx) + row, c, e.c, whole, stored);
        }
    }
}

// Sums of g over the tile's rows, or with z of g (z - mean), to `partials` [C].
template <typename T, uint32_t COLUMNS>
__device__ __forceinline__ void store_column_sums(DataGradShared<COLUMNS>& shared, const Extents& e,
                                                  const Source<T>& source, uint32_t first_pixel, uint32_t pixels,
                                                  uint32_t first_channel, const Sums& g, const T* z, const float* mean,
                                                  float* partials) {
    const bool whole = e.c % QUAD == 0;
#pragma unroll
    for (uint32_t j = 0; j < THREAD_COLUMNS; j += QUAD) {
        const uint32_t c = first_channel + tile_column(threadIdx.x, j);
        const Quad<float> means = load_quad(mean, c, e.c, whole);
        float sums[QUAD] = {};
#pragma unroll
        for (uint32_t i = 0; i < THREAD_ROWS; ++i) {
            const uint32_t m = first_pixel + tile_row(threadIdx.x, i);
            if (m >= pixels) {
                continue;
            }
            Quad<T> zs;
            if (z != nullptr) {
                zs = load_quad(z + uint64_t(pack_pixel(source.target(m), e.h, e.w)) * e.c, c, e.c, whole);
            }
#pragma unroll
            for (uint32_t l = 0; l < QUAD; ++l) {
                sums[l] += z != nullptr ? g[i][j + l] * (load(zs.v[l]) - means.v[l]) : g[i][j + l];
            }
        }
#pragma unroll
        for (uint32_t l = 0; l < QUAD; ++l) {
            const float sum = add_lanes_of_rows(sums[l]);
            if (lane_row(threadIdx.x % WARP) == 0) {
                shared.sums[threadIdx.x / WARP % WARPS_OF_ROWS][tile_column(threadIdx.x, j + l)] = sum;
            }
        }
    }
    __syncthreads();
    for (uint32_t column = threadIdx.x; column < COLUMNS; column += blockDim.x) {
        if (first_channel + column < e.c) {
            partials[first_channel + column] = shared.sums[0][column] + shared.sums[1][column];
        }
    }
    __syncthreads();  // for the next sums
}

template <typename T, uint32_t COLUMNS>
__device__ __forceinline__ void tiled_data_grad(const DataGradParams& p) {
    RIR_SHARED(DataGradShared<COLUMNS>, shared);
    const Extents& e = p.e;
    Source<T> source = gradient_source<T>(p.dz, e, blockIdx.z);
    const uint32_t pixels = e.n * source.rows.positions * source.columns.positions;
    const uint32_t channel_tiles = ceil_div(e.c, COLUMNS);
    const uint32_t first_pixel = blockIdx.x / channel_tiles * TILE_ROWS;
    const uint32_t first_channel = blockIdx.x % channel_tiles * COLUMNS;
    float* partials = tile_partials(p, blockIdx.x / channel_tiles, channel_tiles);
    if (first_pixel >= pixels) {
        for (uint32_t c = first_channel + threadIdx.x; p.relu != nullptr && c < min(first_channel + COLUMNS, e.c);
             c += blockDim.x) {
            for (uint32_t sum = 0; sum <= branches(p); ++sum) {
                partials[sum * e.c + c] = 0;
            }
        }
        return;
    }
    find_origins(shared.origins, source, first_pixel, pixels);
    Sums sums = {};
#pragma unroll 1
    for (uint32_t i = 0; i < convolutions(p); ++i) {
        const Transposed of = convolution(p, i);
        source.pixels = static_cast<const T*>(of.dz);
        DataGradOperands<T, COLUMNS> operands{
            source, shared.origins, static_cast<const T*>(of.w), e, first_channel, {}, {}, {}};
        multiply(shared.stages, operands, source.steps(), sums);
    }
    store_data_grad<T>(p, source, first_pixel, pixels, first_channel, sums);
    if (p.relu == nullptr) {
        return;
    }
    store_column_sums<T, COLUMNS>(shared, e, source, first_pixel, pixels, first_channel, sums, nullptr, nullptr,
                                  partials);
    for (uint32_t b = 0; b < branches(p); ++b) {
        store_column_sums<T, COLUMNS>(shared, e, source, first_pixel, pixels, first_channel, sums,
                                      static_cast<const T*>(p.z[b]), p.stats[b], partials + (1 + b) * e.c);
    }
}

RIR_KERNEL_ALONE(conv2d_data_grad_tiled_32_f32, DataGradParams, tile_threads(32), tiled_data_grad<float, 32>)
RIR_KERNEL_ALONE(conv2d_data_grad_tiled_64_f32, DataGradParams, tile_threads(64), tiled_data_grad<float, 64>)
RIR_KERNEL_ALONE(conv2d_data_grad_tiled_96_f32, DataGradParams, tile_threads(96), tiled_data_grad<float, 96>)
RIR_KERNEL_ALONE(conv2d_data_grad_tiled_32_bf16, DataGradParams, tile_threads(32), tiled_data_grad<bf16, 32>)
RIR_KERNEL_ALONE(conv2d_data_grad_tiled_64_bf16, DataGradParams, tile_threads(64), tiled_data_grad<bf16, 64>)
RIR_KERNEL_ALONE(conv2d_data_grad_tiled_96_bf16, DataGradParams, tile_threads(96), tiled_data_grad<bf16, 96>)

}  // namespace conv2d
