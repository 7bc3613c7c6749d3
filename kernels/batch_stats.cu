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
// Tiles: of the first pass as in reduce.cuh, chunk_rows x COLUMNS; of the second COLUMNS channels.
// Shared memory: one number a thread, [lanes][COLUMNS]; a warp reads and writes one line, so nothing conflicts.
// Invariants: no difference of squares, so a large mean cancels nothing; every sum's order is that of the shapes.
#include "reduce.cuh"

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

// Lanes of the second pass: more than of the first, since a large batch has thousands of parts.
constexpr uint32_t FINALISE_LANES = 16;
constexpr uint32_t FINALISE_THREADS = FINALISE_LANES * COLUMNS;

template <typename A, uint32_t COUNT>
struct Lanes {
    A values[COUNT][COLUMNS];
};

// Adds the lanes' values up in order; every thread gets its channel's sum.
template <typename A, uint32_t COUNT>
__device__ __forceinline__ A sum_of_lanes(Lanes<A, COUNT>& shared, A value) {
    const uint32_t column = threadIdx.x % COLUMNS;
    __syncthreads();  // for whoever still reads the last sum
    shared.values[threadIdx.x / COLUMNS][column] = value;
    __syncthreads();
    A sum = 0;
    for (uint32_t lane = 0; lane < COUNT; ++lane) {
        sum += shared.values[lane][column];
    }
    return sum;
}

// Grid: x = part, y = COLUMNS channels.
template <typename T>
__device__ __forceinline__ void partial(const PartialParams& p) {
    using Shared = Lanes<float, LANES>;
    RIR_SHARED(Shared, shared);
    const RowRange range = row_range(p.rows, p.rows_per_partial);
    const bool exists = range.channel < p.channels;
    const T* z = static_cast<const T*>(p.z) + range.channel;

    float sum = 0;
    for (uint64_t row = range.first; exists && row < range.end; row += LANES) {
        sum += load(z[row * p.channels]);
    }
    const float mean = sum_of_lanes(shared, sum) / float(range.end - (range.first - range.lane));
    float squares = 0;
    for (uint64_t row = range.first; exists && row < range.end; row += LANES) {
        const float deviation = load(z[row * p.channels]) - mean;
        squares += deviation * deviation;
    }
    squares = sum_of_lanes(shared, squares);
    if (exists && range.lane == 0) {
        float* out = p.partials + uint64_t(blockIdx.x) * 2 * p.channels;
        out[range.channel] = mean;
        out[p.channels + range.channel] = squares;
    }
}

// Grid: x = COLUMNS channels. Each lane takes a run of neighbouring parts.
__device__ __forceinline__ void finalise(const FinaliseParams& p) {
    using Shared = Lanes<double, FINALISE_LANES>;
    RIR_SHARED(Shared, shared);
    const uint32_t lane = threadIdx.x / COLUMNS;
    const uint32_t c = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS;
    const uint32_t parts = (p.rows + p.rows_per_partial - 1) / p.rows_per_partial;
    const uint32_t run = (parts + FINALISE_LANES - 1) / FINALISE_LANES;
    const uint32_t end = c < p.channels ? min((lane + 1) * run, parts) : 0;
    const auto mean_of = [&](uint32_t part) { return double(p.partials[uint64_t(part) * 2 * p.channels + c]); };
    const auto squares_of = [&](uint32_t part) {
        return double(p.partials[(uint64_t(part) * 2 + 1) * p.channels + c]);
    };
    const auto count_of = [&](uint32_t part) {
        return double(min(p.rows_per_partial, p.rows - part * p.rows_per_partial));
    };

    double sum = 0;
    for (uint32_t part = lane * run; part < end; ++part) {
        sum += count_of(part) * mean_of(part);
    }
    const double mean = sum_of_lanes(shared, sum) / p.rows;
    double squares = 0;
    for (uint32_t part = lane * run; part < end; ++part) {
        const double delta = mean_of(part) - mean;
        squares += squares_of(part) + count_of(part) * delta * delta;
    }
    squares = sum_of_lanes(shared, squares);
    if (c < p.channels && lane == 0) {
        p.stats[c] = float(mean);
        p.stats[p.channels + c] = float(squares / p.rows);
    }
}

RIR_KERNEL(batch_stats_partial_f32, PartialParams, REDUCE_THREADS, partial<float>)
RIR_KERNEL(batch_stats_partial_bf16, PartialParams, REDUCE_THREADS, partial<bf16>)
RIR_KERNEL(batch_stats_finalise, FinaliseParams, FINALISE_THREADS, finalise)

}  // namespace batch_stats
