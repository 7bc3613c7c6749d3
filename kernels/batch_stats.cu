// Statistics of batch norm: per channel the mean and the biased variance of z [rows, C], in two ordered passes.
//
//     mean[c] = sum over rows of z / rows        variance[c] = sum over rows of (z - mean)^2 / rows
//
// First pass, `batch_stats_partial`: a block takes `rows_per_partial` rows of 32 channels, sums, and sums the squared
// deviations from its own mean: partials [parts, 2, C]. Second pass, `batch_stats_finalise`: the parts of a channel are
// combined by the formula of Chan, Golub and LeVeque (1979) for many groups,
//
//     mean = sum of count mean_part / rows       squares = sum of squares_part + count (mean_part - mean)^2
//
// in f64. A convolution that takes the statistics of its own output writes the same partials and runs the second pass.
//
// Shared memory: one row of 32 channels a slice of threads; a warp reads and writes one row, so nothing conflicts.
// Invariants: no difference of squares, so a large mean cancels nothing; every sum's order is that of the shapes.
#include "rir.cuh"

namespace batch_stats {

struct PartialParams {
    const void* z;    // T [rows, channels]
    float* partials;  // [parts, 2, channels]
    uint32_t rows, channels;
    uint32_t rows_per_partial;
    uint32_t padding;
};

struct FinaliseParams {
    const float* partials;  // [parts, 2, channels]
    float* stats;           // [2, channels]: mean, variance
    uint32_t rows, channels;
    uint32_t rows_per_partial;
    uint32_t padding;
};

// A block: a warp of neighbouring channels times slices of rows (of parts).
constexpr uint32_t CHANNELS = WARP;
constexpr uint32_t PARTIAL_SLICES = 8;
constexpr uint32_t FINALISE_SLICES = 16;

// Adds the slices' values up in order; every thread gets its channel's sum.
template <typename A, uint32_t SLICES>
__device__ __forceinline__ A add_slices(A (&shared)[SLICES][CHANNELS], A value) {
    const uint32_t slice = threadIdx.x / CHANNELS;
    const uint32_t lane = threadIdx.x % CHANNELS;
    __syncthreads();  // whoever still reads the last sum
    shared[slice][lane] = value;
    __syncthreads();
    A sum = 0;
    for (uint32_t i = 0; i < SLICES; ++i) {
        sum += shared[i][lane];
    }
    return sum;
}

struct PartialShared {
    float slices[PARTIAL_SLICES][CHANNELS];
};

// Grid: x = part, y = 32 channels.
template <typename T>
__device__ __forceinline__ void partial(const PartialParams& p) {
    RIR_SHARED(PartialShared, shared);
    const uint32_t slice = threadIdx.x / CHANNELS;
    const uint32_t c = blockIdx.y * CHANNELS + threadIdx.x % CHANNELS;
    const uint32_t begin = blockIdx.x * p.rows_per_partial;
    const uint32_t end = min(begin + p.rows_per_partial, p.rows);
    const T* z = static_cast<const T*>(p.z);
    const bool exists = c < p.channels;

    float sum = 0;
    for (uint32_t row = begin + slice; exists && row < end; row += PARTIAL_SLICES) {
        sum += load(z[uint64_t(row) * p.channels + c]);
    }
    const float mean = add_slices(shared.slices, sum) / float(end - begin);
    float squares = 0;
    for (uint32_t row = begin + slice; exists && row < end; row += PARTIAL_SLICES) {
        const float deviation = load(z[uint64_t(row) * p.channels + c]) - mean;
        squares += deviation * deviation;
    }
    squares = add_slices(shared.slices, squares);
    if (exists && slice == 0) {
        float* out = p.partials + uint64_t(blockIdx.x) * 2 * p.channels;
        out[c] = mean;
        out[p.channels + c] = squares;
    }
}

struct FinaliseShared {
    double slices[FINALISE_SLICES][CHANNELS];
};

// Grid: x = 32 channels. Each slice takes a run of neighbouring parts.
__device__ __forceinline__ void finalise(const FinaliseParams& p) {
    RIR_SHARED(FinaliseShared, shared);
    const uint32_t slice = threadIdx.x / CHANNELS;
    const uint32_t c = blockIdx.x * CHANNELS + threadIdx.x % CHANNELS;
    const uint32_t parts = (p.rows + p.rows_per_partial - 1) / p.rows_per_partial;
    const uint32_t run = (parts + FINALISE_SLICES - 1) / FINALISE_SLICES;
    const uint32_t end = c < p.channels ? min((slice + 1) * run, parts) : 0;
    const auto mean_of = [&](uint32_t part) { return double(p.partials[uint64_t(part) * 2 * p.channels + c]); };
    const auto squares_of = [&](uint32_t part) {
        return double(p.partials[(uint64_t(part) * 2 + 1) * p.channels + c]);
    };
    const auto count_of = [&](uint32_t part) {
        return double(min(p.rows_per_partial, p.rows - part * p.rows_per_partial));
    };

    double sum = 0;
    for (uint32_t part = slice * run; part < end; ++part) {
        sum += count_of(part) * mean_of(part);
    }
    const double mean = add_slices(shared.slices, sum) / p.rows;
    double squares = 0;
    for (uint32_t part = slice * run; part < end; ++part) {
        const double delta = mean_of(part) - mean;
        squares += squares_of(part) + count_of(part) * delta * delta;
    }
    squares = add_slices(shared.slices, squares);
    if (c < p.channels && slice == 0) {
        p.stats[c] = float(mean);
        p.stats[p.channels + c] = float(squares / p.rows);
    }
}

RIR_KERNEL(batch_stats_partial_f32, PartialParams, PARTIAL_SLICES* CHANNELS, partial<float>)
RIR_KERNEL(batch_stats_partial_bf16, PartialParams, PARTIAL_SLICES* CHANNELS, partial<bf16>)
RIR_KERNEL(batch_stats_finalise, FinaliseParams, FINALISE_SLICES* CHANNELS, finalise)

}  // namespace batch_stats
