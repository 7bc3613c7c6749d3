// Statistics of batch norm: per channel the mean and the biased variance of z [rows, C], in two ordered passes.
//
//     mean[c] = sum over rows of z / rows        variance[c] = sum over rows of (z - mean)^2 / rows
//
// First pass, `batch_stats_partial`: a block takes `rows_per_partial` rows, sums, and sums the squared deviations from
// its own mean: partials [parts, 2, C]. Second pass, `batch_stats_finalise`: the parts of a channel are combined by the
// formula of Chan, Golub and LeVeque (1979) for many groups, with deviations from the first part's mean, so that one
// reading is enough:
//
//     delta_part = mean_part - mean_0            offset = sum of count delta_part / rows
//     mean = mean_0 + offset                     squares = sum of squares_part + count delta_part^2 - rows offset^2
//
// in f64. A convolution that takes the statistics of its own output writes the same partials and runs the second pass.
//
// Tiles: of the first pass as in reduce.cuh, rows_per_partial x columns of a Tile; of the second FINALISE_COLUMNS
// channels. Shared memory: LaneSums, 10 KiB; PartSums<2>, 16 KiB.
// Invariants: a large mean cancels nothing, since every square is of a deviation; every sum's order is that of the
// shapes.
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

// Grid: x = part, y = a part of the channels.
template <typename T, uint32_t WIDTH>
__device__ __forceinline__ void partial(const PartialParams& p) {
    RIR_SHARED(LaneSums<WIDTH>, shared);
    const Tile<WIDTH> tile = tile_of<WIDTH>(p.rows, p.channels, p.rows_per_partial);
    const T* z = static_cast<const T*>(p.z) + tile.channel();
    float* out = p.partials + uint64_t(blockIdx.x) * 2 * p.channels;
    const float count = float(tile.end - uint64_t(blockIdx.x) * p.rows_per_partial);

    Vector<WIDTH> sum{};
    for (uint64_t row = tile.first; tile.exists && row < tile.end; row += tile.lanes) {
        const Vector<WIDTH> values = load_vector<WIDTH>(z + row * p.channels);
#pragma unroll
        for (uint32_t k = 0; k < WIDTH; ++k) {
            sum.at[k] += values.at[k];
        }
    }
    add_lanes(shared, tile, sum);
    Vector<WIDTH> mean, squares{};
#pragma unroll
    for (uint32_t k = 0; k < WIDTH; ++k) {
        mean.at[k] = shared.totals[tile.column * WIDTH + k] / count;
    }
    __syncthreads();  // for whoever still reads the sums
    for (uint32_t c = threadIdx.x; c < tile.columns * WIDTH; c += REDUCE_THREADS) {
        shared.totals[c] /= count;
    }
    write_totals(shared, tile, p.channels, out);

    for (uint64_t row = tile.first; tile.exists && row < tile.end; row += tile.lanes) {
        const Vector<WIDTH> values = load_vector<WIDTH>(z + row * p.channels);
#pragma unroll
        for (uint32_t k = 0; k < WIDTH; ++k) {
            const float deviation = values.at[k] - mean.at[k];
            squares.at[k] += deviation * deviation;
        }
    }
    add_lanes(shared, tile, squares);
    write_totals(shared, tile, p.channels, out + p.channels);
}

// Grid: x = FINALISE_COLUMNS channels. Each lane takes every lanes-th part.
__device__ __forceinline__ void finalise(const FinaliseParams& p) {
    RIR_SHARED(PartSums<2>, shared);
    const uint32_t lane = threadIdx.x / FINALISE_COLUMNS, lanes = blockDim.x / FINALISE_COLUMNS;
    const uint32_t c = blockIdx.x * FINALISE_COLUMNS + threadIdx.x % FINALISE_COLUMNS;
    const uint32_t parts = (p.rows + p.rows_per_partial - 1) / p.rows_per_partial;
    const auto mean_of = [&](uint32_t part) { return double(p.partials[uint64_t(part) * 2 * p.channels + c]); };
    const auto squares_of = [&](uint32_t part) {
        return double(p.partials[(uint64_t(part) * 2 + 1) * p.channels + c]);
    };
    const auto count_of = [&](uint32_t part) {
        return double(min(p.rows_per_partial, p.rows - part * p.rows_per_partial));
    };

    double sums[2] = {0.0, 0.0};  // of count delta, and of the squares about the pivot
    const double pivot = c < p.channels ? mean_of(0) : 0.0;
    for (uint32_t part = lane; c < p.channels && part < parts; part += lanes) {
        const double delta = mean_of(part) - pivot;
        sums[0] += count_of(part) * delta;
        sums[1] += squares_of(part) + count_of(part) * delta * delta;
    }
    add_parts(shared, sums);
    if (c < p.channels && lane == 0) {
        const double offset = sums[0] / p.rows;
        p.stats[c] = float(pivot + offset);
        p.stats[p.channels + c] = float((sums[1] - sums[0] * offset) / p.rows);
    }
}

RIR_KERNEL(batch_stats_partial_f32, PartialParams, REDUCE_THREADS, partial<float, EIGHT>)
RIR_KERNEL(batch_stats_partial_bf16, PartialParams, REDUCE_THREADS, partial<bf16, EIGHT>)
RIR_KERNEL(batch_stats_partial_any_f32, PartialParams, REDUCE_THREADS, partial<float, 1>)
RIR_KERNEL(batch_stats_partial_any_bf16, PartialParams, REDUCE_THREADS, partial<bf16, 1>)
RIR_KERNEL(batch_stats_finalise, FinaliseParams, MOST_FINALISE_THREADS, finalise)

}  // namespace batch_stats
