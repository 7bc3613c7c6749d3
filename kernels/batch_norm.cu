// Batch norm in training, and folded: everything but its statistics (batch_stats.cu).
//
//     y  = a (z - mean) + shift,  a = scale / sqrt(variance + epsilon)
//     dshift = sum g,  dscale = sum g (z - mean) / sqrt(variance + epsilon)
//     dz = a (g - dshift / M - (z - mean) dscale / (M deviation))
//
// (Ioffe and Szegedy, 2015.) z, g, y, dz are [rows, channels]; statistics are [2, channels]: mean, biased variance.
// A pass makes the constants of its channels itself (normalise.cuh) and walks over rows (Pass of vector.cuh), eight
// channels a thread where the channels are a multiple of eight; the kernels named `any` take one. Reductions:
// reduce.cuh, first pass and finalise.
// Tiles: of the first pass, chunk_rows x columns of a Tile; of the second, FINALISE_COLUMNS channels.
// Shared memory: LaneSums, 10 KiB; PartSums<1>, 8 KiB. Passes: none.
// Invariants: the order of every sum is fixed by the shape; every output element is written once.

#include "normalise.cuh"
#include "reduce.cuh"

constexpr uint32_t THREADS = 256;

__device__ __forceinline__ double inverse_deviation(float variance, double epsilon) {
    return 1.0 / sqrt(double(variance) + epsilon);
}

struct FoldParams {
    const float* scale;     // [channels]
    const float* shift;     // [channels]
    const float* mean;      // [channels]
    const float* variance;  // [channels]
    float* pair;            // [2, channels]: a, b
    double epsilon;
    uint32_t channels;
    uint32_t padding;
};

// a and b = shift - mean * a of every channel, from the running statistics
__device__ void fold_batch_norm(const FoldParams& p) {
    for (uint64_t c = grid_thread(); c < p.channels; c += grid_threads()) {
        const float a = float(double(p.scale[c]) * inverse_deviation(p.variance[c], p.epsilon));
        p.pair[c] = a;
        p.pair[p.channels + c] = p.shift[c] - p.mean[c] * a;
    }
}
RIR_KERNEL(fold_batch_norm_f32, FoldParams, THREADS, fold_batch_norm)

struct ScaleShiftParams {
    const void* z;      // [rows, channels]
    const float* pair;  // [2, channels]: a, b
    void* y;            // [rows, channels]
    uint64_t rows;
    uint32_t channels;
    uint32_t descending;
};

// y = a * z + b
template <typename T, uint32_t WIDTH>
__device__ void scale_shift(const ScaleShiftParams& p) {
    Pass pass = pass_over<WIDTH>(p.rows, p.channels, p.descending);
    const uint32_t channel = pass.vector * WIDTH;
    const Vector<WIDTH> a = load_vector<WIDTH>(p.pair + channel);
    const Vector<WIDTH> b = load_vector<WIDTH>(p.pair + p.channels + channel);
    for (; pass.left > 0; pass.advance()) {
        const uint64_t i = uint64_t(pass.row) * p.channels + channel;
        Vector<WIDTH> z = load_vector<WIDTH>(static_cast<const T*>(p.z) + i);
#pragma unroll
        for (uint32_t k = 0; k < WIDTH; ++k) {
            z.at[k] = a.at[k] * z.at[k] + b.at[k];
        }
        store_vector(static_cast<T*>(p.y) + i, z);
    }
}
RIR_KERNEL(scale_shift_f32, ScaleShiftParams, THREADS, scale_shift<float, EIGHT>)
RIR_KERNEL(scale_shift_bf16, ScaleShiftParams, THREADS, scale_shift<bf16, EIGHT>)
RIR_KERNEL(scale_shift_any_f32, ScaleShiftParams, THREADS, scale_shift<float, 1>)
RIR_KERNEL(scale_shift_any_bf16, ScaleShiftParams, THREADS, scale_shift<bf16, 1>)

struct BatchNormParams {
    const void* z;  // [rows, channels]
    Norm norm;
    void* y;  // [rows, channels]
    uint64_t rows;
    uint32_t channels;
    float epsilon;
    uint32_t descending;
    uint32_t padding;
};

template <typename T, uint32_t WIDTH>
__device__ void batch_norm(const BatchNormParams& p) {
    Pass pass = pass_over<WIDTH>(p.rows, p.channels, p.descending);
    const uint32_t channel = pass.vector * WIDTH;
    const Affine<WIDTH> affine = affine_of<WIDTH>(p.norm, p.channels, channel, p.epsilon);
    for (; pass.left > 0; pass.advance()) {
        const uint64_t i = uint64_t(pass.row) * p.channels + channel;
        store_vector(static_cast<T*>(p.y) + i, affine(load_vector<WIDTH>(static_cast<const T*>(p.z) + i)));
    }
}
RIR_KERNEL_ALONE(batch_norm_f32, BatchNormParams, THREADS, batch_norm<float, EIGHT>)
RIR_KERNEL(batch_norm_bf16, BatchNormParams, THREADS, batch_norm<bf16, EIGHT>)
RIR_KERNEL(batch_norm_any_f32, BatchNormParams, THREADS, batch_norm<float, 1>)
RIR_KERNEL(batch_norm_any_bf16, BatchNormParams, THREADS, batch_norm<bf16, 1>)

struct ReduceParams {
    const void* g;       // [rows, channels]
    const void* z;       // [rows, channels]
    const float* stats;  // [2, channels]
    float* partials;     // [chunks, 2, channels]: sum g, sum g * (z - mean)
    uint64_t rows;
    uint32_t channels;
    uint32_t chunk_rows;
};

// the two sums of one chunk of rows
template <typename T, uint32_t WIDTH>
__device__ void batch_norm_reduce_partial(const ReduceParams& p) {
    RIR_SHARED(LaneSums<WIDTH>, shared);
    const Tile<WIDTH> tile = tile_of<WIDTH>(p.rows, p.channels, p.chunk_rows);
    Vector<WIDTH> sum{}, product{};
    if (tile.exists) {
        const Vector<WIDTH> mean = load_vector<WIDTH>(p.stats + tile.channel());
        for (uint64_t row = tile.first; row < tile.end; row += tile.lanes) {
            const uint64_t i = row * p.channels + tile.channel();
            const Vector<WIDTH> g = load_vector<WIDTH>(static_cast<const T*>(p.g) + i);
            const Vector<WIDTH> z = load_vector<WIDTH>(static_cast<const T*>(p.z) + i);
#pragma unroll
            for (uint32_t k = 0; k < WIDTH; ++k) {
                sum.at[k] += g.at[k];
                product.at[k] += g.at[k] * (z.at[k] - mean.at[k]);
            }
        }
    }
    float* partial = p.partials + uint64_t(blockIdx.x) * 2 * p.channels;
    add_lanes(shared, tile, sum);
    write_totals(shared, tile, p.channels, partial);
    add_lanes(shared, tile, product);
    write_totals(shared, tile, p.channels, partial + p.channels);
}
RIR_KERNEL(batch_norm_reduce_partial_f32, ReduceParams, REDUCE_THREADS, batch_norm_reduce_partial<float, EIGHT>)
RIR_KERNEL(batch_norm_reduce_partial_bf16, ReduceParams, REDUCE_THREADS, batch_norm_reduce_partial<bf16, EIGHT>)
RIR_KERNEL(batch_norm_reduce_partial_any_f32, ReduceParams, REDUCE_THREADS, batch_norm_reduce_partial<float, 1>)
RIR_KERNEL(batch_norm_reduce_partial_any_bf16, ReduceParams, REDUCE_THREADS, batch_norm_reduce_partial<bf16, 1>)

// One of the batch norms that share g.
struct ReducedBranch {
    const float* stats;  // [2, channels]
    float* dshift;       // [channels]
    float* dscale;       // [channels]
    uint32_t product;    // which quantity is its sum of g * (z - mean)
    uint32_t padding;
};

struct ReduceFinaliseParams {
    const float* partials;  // [parts, quantities, channels]; quantity 0 is the sum of g
    ReducedBranch branches[MOST_BRANCHES];
    double epsilon;
    uint32_t channels;
    uint32_t parts;
    uint32_t quantities;
    uint32_t count;  // of branches
};

// Grid: x = FINALISE_COLUMNS channels, y = 0: dshift of every branch, else dscale of branch y - 1.
__device__ void batch_norm_reduce_finalise(const ReduceFinaliseParams& p) {
    RIR_SHARED(PartSums<1>, shared);
    const uint32_t c = blockIdx.x * FINALISE_COLUMNS + threadIdx.x % FINALISE_COLUMNS;
    const uint32_t lane = threadIdx.x / FINALISE_COLUMNS, lanes = blockDim.x / FINALISE_COLUMNS;
    const uint32_t quantity = blockIdx.y == 0 ? 0 : p.branches[blockIdx.y - 1].product;
    double sums[1] = {0.0};
    if (c < p.channels) {
        for (uint32_t part = lane; part < p.parts; part += lanes) {
            sums[0] += p.partials[(uint64_t(part) * p.quantities + quantity) * p.channels + c];
        }
    }
    add_parts(shared, sums);
    if (c >= p.channels || lane != 0) {
        return;
    }
    if (blockIdx.y == 0) {
        for (uint32_t b = 0; b < p.count; ++b) {
            p.branches[b].dshift[c] = float(sums[0]);
        }
    } else {
        const ReducedBranch& branch = p.branches[blockIdx.y - 1];
        branch.dscale[c] = float(sums[0] * inverse_deviation(branch.stats[p.channels + c], p.epsilon));
    }
}
RIR_KERNEL(batch_norm_reduce_finalise_f32, ReduceFinaliseParams, MOST_FINALISE_THREADS, batch_norm_reduce_finalise)

struct BackwardParams {
    const void* g;  // [rows, channels]
    const void* z;  // [rows, channels]
    NormGradient norm;
    void* dz;  // [rows, channels]
    uint64_t rows;
    uint32_t channels;
    float epsilon;
    float share;  // 1 / M
    uint32_t descending;
};

template <typename T, uint32_t WIDTH>
__device__ void batch_norm_backward(const BackwardParams& p) {
    Pass pass = pass_over<WIDTH>(p.rows, p.channels, p.descending);
    const uint32_t channel = pass.vector * WIDTH;
    const AffineGradient<WIDTH> gradient = gradient_of<WIDTH>(p.norm, p.channels, channel, p.epsilon, p.share);
    for (; pass.left > 0; pass.advance()) {
        const uint64_t i = uint64_t(pass.row) * p.channels + channel;
        const Vector<WIDTH> g = load_vector<WIDTH>(static_cast<const T*>(p.g) + i);
        const Vector<WIDTH> z = load_vector<WIDTH>(static_cast<const T*>(p.z) + i);
        store_vector(static_cast<T*>(p.dz) + i, gradient(g, z));
    }
}
RIR_KERNEL(batch_norm_backward_f32, BackwardParams, THREADS, batch_norm_backward<float, EIGHT>)
RIR_KERNEL(batch_norm_backward_bf16, BackwardParams, THREADS, batch_norm_backward<bf16, EIGHT>)
RIR_KERNEL(batch_norm_backward_any_f32, BackwardParams, THREADS, batch_norm_backward<float, 1>)
RIR_KERNEL(batch_norm_backward_any_bf16, BackwardParams, THREADS, batch_norm_backward<bf16, 1>)
