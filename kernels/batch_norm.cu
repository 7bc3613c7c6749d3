// Batch norm in training, and folded: everything but its statistics (batch_stats.cu).
//
//     y  = a * z + b,  a = scale / sqrt(variance + epsilon),  b = shift - mean * a
//     dshift = sum g,  dscale = sum g * (z - mean) / sqrt(variance + epsilon)
//     dz = a * g + b * z + c   with a as above, b = -a dscale / (M deviation), c = -a dshift / M - b mean
//
// (Ioffe and Szegedy, 2015.) z, g, y, dz are [rows, channels]; statistics are [2, channels]: mean, biased variance.
// The per-channel constants are made by a kernel of one thread a channel, in double where it costs nothing; then one
// pass over the elements applies them. Reductions: reduce.cuh, first pass and finalise.
// Tiles: of the first pass, chunk_rows x COLUMNS. Shared memory: LaneSums<2>, 2 KiB. Elementwise passes: none.
// Invariants: the order of every sum is fixed by the shape; every output element is written once.

#include "reduce.cuh"

constexpr uint32_t THREADS = 256;

__device__ __forceinline__ double inverse_deviation(float variance, double epsilon) {
    return 1.0 / sqrt(double(variance) + epsilon);
}

struct AffineParams {
    const float* stats;  // [2, channels]
    const float* scale;  // [channels]
    const float* shift;  // [channels]
    float* pair;         // [2, channels]: a, b
    double epsilon;
    uint32_t channels;
    uint32_t padding;
};

// a and b of every channel, from the batch's statistics
__device__ void batch_norm_affine(const AffineParams& p) {
    for (uint64_t c = grid_thread(); c < p.channels; c += grid_threads()) {
        const float a = p.scale[c] * float(inverse_deviation(p.stats[p.channels + c], p.epsilon));
        p.pair[c] = a;
        p.pair[p.channels + c] = p.shift[c] - p.stats[c] * a;
    }
}
RIR_KERNEL(batch_norm_affine_f32, AffineParams, THREADS, batch_norm_affine)

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

// a and b of every channel, from the running statistics
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
    uint64_t elements;
    uint32_t channels;
    uint32_t padding;
};

// y = a * z + b
template <typename T>
__device__ void scale_shift(const ScaleShiftParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        const uint32_t c = uint32_t(i % p.channels);
        const float z = load(static_cast<const T*>(p.z)[i]);
        static_cast<T*>(p.y)[i] = store<T>(p.pair[c] * z + p.pair[p.channels + c]);
    }
}
RIR_KERNEL(scale_shift_f32, ScaleShiftParams, THREADS, scale_shift<float>)
RIR_KERNEL(scale_shift_bf16, ScaleShiftParams, THREADS, scale_shift<bf16>)

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
template <typename T>
__device__ void batch_norm_reduce_partial(const ReduceParams& p) {
    RIR_SHARED(LaneSums<2>, shared);
    const RowRange range = row_range(p.rows, p.chunk_rows);
    const bool inside = range.channel < p.channels;
    float sums[2] = {0.0f, 0.0f};
    if (inside) {
        const float mean = p.stats[range.channel];
        for (uint64_t row = range.first; row < range.end; row += LANES) {
            const uint64_t i = row * p.channels + range.channel;
            const float g = load(static_cast<const T*>(p.g)[i]);
            sums[0] += g;
            sums[1] += g * (load(static_cast<const T*>(p.z)[i]) - mean);
        }
    }
    add_lanes(shared, range.lane, sums);
    if (inside && range.lane == 0) {
        float* partial = p.partials + uint64_t(blockIdx.x) * 2 * p.channels;
        partial[range.channel] = sums[0];
        partial[p.channels + range.channel] = sums[1];
    }
}
RIR_KERNEL(batch_norm_reduce_partial_f32, ReduceParams, REDUCE_THREADS, batch_norm_reduce_partial<float>)
RIR_KERNEL(batch_norm_reduce_partial_bf16, ReduceParams, REDUCE_THREADS, batch_norm_reduce_partial<bf16>)

struct ReduceFinaliseParams {
    const float* partials;  // [chunks, quantities, channels]
    const float* stats;     // [2, channels]
    float* dshift;          // [channels]
    float* dscale;          // [channels]
    double epsilon;
    uint32_t channels;
    uint32_t chunks;
    uint32_t quantities;  // 2, or 3 where two batch norms share g
    uint32_t product;     // which quantity is this batch norm's sum of g * (z - mean): 1 or 2
};

// dshift and dscale of every channel, from the chunks in order
__device__ void batch_norm_reduce_finalise(const ReduceFinaliseParams& p) {
    for (uint64_t c = grid_thread(); c < p.channels; c += grid_threads()) {
        double sum = 0.0, product = 0.0;
        for (uint32_t chunk = 0; chunk < p.chunks; ++chunk) {
            const float* partial = p.partials + uint64_t(chunk) * p.quantities * p.channels + c;
            sum += partial[0];
            product += partial[p.product * p.channels];
        }
        p.dshift[c] = float(sum);
        p.dscale[c] = float(product * inverse_deviation(p.stats[p.channels + c], p.epsilon));
    }
}
RIR_KERNEL(batch_norm_reduce_finalise_f32, ReduceFinaliseParams, THREADS, batch_norm_reduce_finalise)

struct BackwardConstantsParams {
    const float* stats;   // [2, channels]
    const float* scale;   // [channels]
    const float* dshift;  // [channels]
    const float* dscale;  // [channels]
    float* constants;     // [3, channels]: a, b, c
    double epsilon;
    uint64_t rows;  // M
    uint32_t channels;
    uint32_t padding;
};

// a, b and c of every channel
__device__ void batch_norm_backward_constants(const BackwardConstantsParams& p) {
    for (uint64_t i = grid_thread(); i < p.channels; i += grid_threads()) {
        const double inverse = inverse_deviation(p.stats[p.channels + i], p.epsilon);
        const double a = double(p.scale[i]) * inverse;
        const double b = -a * double(p.dscale[i]) * inverse / double(p.rows);
        p.constants[i] = float(a);
        p.constants[p.channels + i] = float(b);
        p.constants[2 * p.channels + i] = float(-a * double(p.dshift[i]) / double(p.rows) - b * double(p.stats[i]));
    }
}
RIR_KERNEL(batch_norm_backward_constants_f32, BackwardConstantsParams, THREADS, batch_norm_backward_constants)

struct BackwardParams {
    const void* g;           // [rows, channels]
    const void* z;           // [rows, channels]
    const float* constants;  // [3, channels]
    void* dz;                // [rows, channels]
    uint64_t elements;
    uint32_t channels;
    uint32_t padding;
};

// dz = a * g + b * z + c
template <typename T>
__device__ void batch_norm_backward(const BackwardParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        const float* k = p.constants + i % p.channels;
        const float g = load(static_cast<const T*>(p.g)[i]), z = load(static_cast<const T*>(p.z)[i]);
        static_cast<T*>(p.dz)[i] = store<T>(k[0] * g + k[p.channels] * z + k[2 * p.channels]);
    }
}
RIR_KERNEL(batch_norm_backward_f32, BackwardParams, THREADS, batch_norm_backward<float>)
RIR_KERNEL(batch_norm_backward_bf16, BackwardParams, THREADS, batch_norm_backward<bf16>)
