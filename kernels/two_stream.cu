// The two-stream residual update: batch norm of both streams, outer shortcut and ReLU in one pass; and its gradient.
//
//     y = ReLU(batch_norm(z) + outer),  mask = y > 0
//     g = dy where the mask is set, else 0;  sums of g and g * (z - mean);  dz = gradient of batch_norm at g
//
// (Paper: "The generalized residual block": every sum comes before batch norm, so r and t, the two halves of the
// channels, take the same pass.) outer is nothing, the block's input, that input subsampled and zero-padded on the
// fly, or a projection zp with a batch norm of its own.
// Batch norm is that of normalise.cuh, the second pass of the reductions that of batch_norm.cu.
//
// Tiles: one thread makes the eight channels whose mask bits share a byte and walks over rows (Pass of vector.cuh); the
// kernels named `any`, for channels that are no multiple of eight, make eight elements forward and one backward.
// Shared memory: LaneSums, 10 KiB, in the reductions. Index maths: layout.cuh, vector.cuh, reduce.cuh.
// Invariants: a mask bit is that of y as stored; bits beyond the last element are 0; NaN neither passes nor becomes 0.

#include "normalise.cuh"
#include "reduce.cuh"

constexpr uint32_t THREADS = 256;

struct OuterParams {
    const void* x;      // none: null; the block's input [N H' W' C'], or zp [N H W C]
    Norm norm;          // of a projection
    uint32_t height;    // H'
    uint32_t width;     // W'
    uint32_t channels;  // C'
    uint32_t stride;
    uint32_t copied;       // channels that are added
    uint32_t from;         // the first of them in x
    uint32_t to;           // the first of them in y
    uint32_t is_identity;  // x lies as y does
};

struct UpdateParams {
    const void* z;  // [N H W C]
    Norm norm;
    void* y;        // [N H W C]
    uint8_t* mask;  // one bit an element
    OuterParams outer;
    uint64_t rows;      // N H W
    uint32_t height;    // H
    uint32_t width;     // W
    uint32_t channels;  // C
    float epsilon;
    uint32_t descending;  // not the kernels named `any`
    uint32_t padding;
};

// The kinds of outer shortcut that have kernels of their own, so that none keeps another's values in registers.
enum class Outer { AsIs, Subsampled, Projected };  // AsIs: the identity, or none

// What a shortcut other than a projection adds to element i, which lies at `at`.
template <typename T>
__device__ __forceinline__ float outer_term(const OuterParams& outer, uint64_t i, Place at) {
    const T* x = static_cast<const T*>(outer.x);
    if (x == nullptr) {
        return 0.0f;
    }
    if (outer.is_identity) {
        return load(x[i]);
    }
    if (at.channel < outer.to || at.channel >= outer.to + outer.copied) {
        return 0.0f;
    }
    at = {at.image, at.row * outer.stride, at.column * outer.stride, at.channel - outer.to + outer.from};
    return load(x[element_at(at, outer.height, outer.width, outer.channels)]);
}

// What a subsampled shortcut adds to the eight elements of a pixel from `channel` on: by one access where what is
// copied lies in whole eights.
template <typename T>
__device__ __forceinline__ Vector<EIGHT> subsampled_terms(const UpdateParams& p, uint32_t pixel, uint32_t channel) {
    const OuterParams& outer = p.outer;
    Vector<EIGHT> terms{};
    Place at = place_of_pixel(pixel, p.height, p.width, channel);
    if ((outer.copied | outer.from | outer.to | outer.channels) % EIGHT != 0) {
#pragma unroll
        for (uint32_t k = 0; k < EIGHT; ++k, ++at.channel) {
            terms.at[k] = outer_term<T>(outer, 0, at);
        }
    } else if (channel >= outer.to && channel < outer.to + outer.copied) {
        at = {at.image, at.row * outer.stride, at.column * outer.stride, channel - outer.to + outer.from};
        const T* x = static_cast<const T*>(outer.x);
        terms = load_vector<EIGHT>(x + element_at(at, outer.height, outer.width, outer.channels));
    }
    return terms;
}

template <typename T, Outer OUTER>
__device__ void two_stream_update(const UpdateParams& p) {
    const T* x = static_cast<const T*>(p.outer.x);
    Pass pass = pass_over<EIGHT>(p.rows, p.channels, p.descending);
    const uint32_t channel = pass.vector * EIGHT;
    const Affine<EIGHT> main = affine_of<EIGHT>(p.norm, p.channels, channel, p.epsilon);
    Affine<EIGHT> projection;
    if constexpr (OUTER == Outer::Projected) {
        projection = affine_of<EIGHT>(p.outer.norm, p.channels, channel, p.epsilon);
    }
    for (; pass.left > 0; pass.advance()) {
        const uint64_t i = uint64_t(pass.row) * p.channels + channel;
        Vector<EIGHT> y = main(load_vector<EIGHT>(static_cast<const T*>(p.z) + i)), outer{};
        if constexpr (OUTER == Outer::Projected) {
            outer = projection(load_vector<EIGHT>(x + i));
        } else if constexpr (OUTER == Outer::Subsampled) {
            outer = subsampled_terms<T>(p, pass.row, channel);
        } else if (x != nullptr) {
            outer = load_vector<EIGHT>(x + i);
        }
        uint32_t bits = 0;
#pragma unroll
        for (uint32_t k = 0; k < EIGHT; ++k) {
            y.at[k] = load(store<T>(relu_of(y.at[k] + outer.at[k])));
            bits |= uint32_t(y.at[k] > 0.0f) << k;
        }
        store_vector(static_cast<T*>(p.y) + i, y);
        p.mask[i / EIGHT] = uint8_t(bits);
    }
}
RIR_KERNEL(two_stream_update_f32, UpdateParams, THREADS, two_stream_update<float, Outer::AsIs>)
RIR_KERNEL(two_stream_update_bf16, UpdateParams, THREADS, two_stream_update<bf16, Outer::AsIs>)
RIR_KERNEL(two_stream_update_subsampled_f32, UpdateParams, THREADS, two_stream_update<float, Outer::Subsampled>)
RIR_KERNEL(two_stream_update_subsampled_bf16, UpdateParams, THREADS, two_stream_update<bf16, Outer::Subsampled>)
RIR_KERNEL(two_stream_update_projected_f32, UpdateParams, THREADS, two_stream_update<float, Outer::Projected>)
RIR_KERNEL(two_stream_update_projected_bf16, UpdateParams, THREADS, two_stream_update<bf16, Outer::Projected>)

// One thread the elements of one mask byte, which belong to several pixels.
template <typename T, Outer OUTER>
__device__ void two_stream_update_any(const UpdateParams& p) {
    const uint64_t elements = p.rows * p.channels, bytes = (elements + MASK_ELEMENTS - 1) / MASK_ELEMENTS;
    for (uint64_t byte = grid_thread(); byte < bytes; byte += grid_threads()) {
        const uint64_t first = byte * MASK_ELEMENTS;
        const uint64_t left = elements - first;
        const uint32_t count = left < MASK_ELEMENTS ? uint32_t(left) : MASK_ELEMENTS;
        Place at = place_of(first, p.height, p.width, p.channels);
        uint32_t bits = 0;
        for (uint32_t bit = 0; bit < count; ++bit) {
            const uint64_t i = first + bit;
            const Affine<1> main = affine_of<1>(p.norm, p.channels, at.channel, p.epsilon);
            const float normalised = main(load_vector<1>(static_cast<const T*>(p.z) + i)).at[0];
            float outer;
            if constexpr (OUTER == Outer::Projected) {
                const Affine<1> projection = affine_of<1>(p.outer.norm, p.channels, at.channel, p.epsilon);
                outer = projection(load_vector<1>(static_cast<const T*>(p.outer.x) + i)).at[0];
            } else {
                outer = outer_term<T>(p.outer, i, at);
            }
            const T stored = store<T>(relu_of(normalised + outer));
            static_cast<T*>(p.y)[i] = stored;
            bits |= uint32_t(load(stored) > 0.0f) << bit;
            step_element(at, p.height, p.width, p.channels);
        }
        p.mask[byte] = uint8_t(bits);
    }
}
RIR_KERNEL(two_stream_update_any_f32, UpdateParams, THREADS, two_stream_update_any<float, Outer::AsIs>)
RIR_KERNEL(two_stream_update_any_bf16, UpdateParams, THREADS, two_stream_update_any<bf16, Outer::AsIs>)
RIR_KERNEL(two_stream_update_subsampled_any_f32, UpdateParams, THREADS, two_stream_update_any<float, Outer::Subsampled>)
RIR_KERNEL(two_stream_update_subsampled_any_bf16, UpdateParams, THREADS, two_stream_update_any<bf16, Outer::Subsampled>)
RIR_KERNEL(two_stream_update_projected_any_f32, UpdateParams, THREADS, two_stream_update_any<float, Outer::Projected>)
RIR_KERNEL(two_stream_update_projected_any_bf16, UpdateParams, THREADS, two_stream_update_any<bf16, Outer::Projected>)

struct ReduceParams {
    const void* dy;                     // [rows, channels]
    const uint8_t* mask;                // one bit an element; null: all pass
    const void* z[MOST_BRANCHES];       // [rows, channels]; the second is null without a projection
    const float* stats[MOST_BRANCHES];  // [2, channels]
    float* partials;                    // [chunks, 1 + branches, channels]: sum g, sum g * (z - mean) of each branch
    uint64_t rows;
    uint32_t channels;
    uint32_t chunk_rows;
};

// One masked g, read once, feeds the reductions of one batch norm or of two.
template <typename T, int BRANCHES, uint32_t WIDTH>
__device__ void two_stream_reduce(const ReduceParams& p) {
    RIR_SHARED(LaneSums<WIDTH>, shared);
    const Tile<WIDTH> tile = tile_of<WIDTH>(p.rows, p.channels, p.chunk_rows);
    Vector<WIDTH> sums[1 + BRANCHES] = {};
    if (tile.exists) {
        Vector<WIDTH> means[BRANCHES];
#pragma unroll
        for (int b = 0; b < BRANCHES; ++b) {
            means[b] = load_vector<WIDTH>(p.stats[b] + tile.channel());
        }
        for (uint64_t row = tile.first; row < tile.end; row += tile.lanes) {
            const uint64_t i = row * p.channels + tile.channel();
            const Vector<WIDTH> dy = load_vector<WIDTH>(static_cast<const T*>(p.dy) + i);
            const Vector<WIDTH> g = masked(passing<WIDTH>(p.mask, i), dy);
#pragma unroll
            for (uint32_t k = 0; k < WIDTH; ++k) {
                sums[0].at[k] += g.at[k];
            }
#pragma unroll
            for (int b = 0; b < BRANCHES; ++b) {
                const Vector<WIDTH> z = load_vector<WIDTH>(static_cast<const T*>(p.z[b]) + i);
#pragma unroll
                for (uint32_t k = 0; k < WIDTH; ++k) {
                    sums[1 + b].at[k] += g.at[k] * (z.at[k] - means[b].at[k]);
                }
            }
        }
    }
    float* partial = p.partials + uint64_t(blockIdx.x) * (1 + BRANCHES) * p.channels;
#pragma unroll
    for (int s = 0; s < 1 + BRANCHES; ++s) {
        add_lanes(shared, tile, sums[s]);
        write_totals(shared, tile, p.channels, partial + s * p.channels);
    }
}
RIR_KERNEL(two_stream_reduce_f32, ReduceParams, REDUCE_THREADS, two_stream_reduce<float, 1, EIGHT>)
RIR_KERNEL(two_stream_reduce_bf16, ReduceParams, REDUCE_THREADS, two_stream_reduce<bf16, 1, EIGHT>)
RIR_KERNEL(two_stream_reduce_projected_f32, ReduceParams, REDUCE_THREADS, two_stream_reduce<float, 2, EIGHT>)
RIR_KERNEL(two_stream_reduce_projected_bf16, ReduceParams, REDUCE_THREADS, two_stream_reduce<bf16, 2, EIGHT>)
RIR_KERNEL(two_stream_reduce_any_f32, ReduceParams, REDUCE_THREADS, two_stream_reduce<float, 1, 1>)
RIR_KERNEL(two_stream_reduce_any_bf16, ReduceParams, REDUCE_THREADS, two_stream_reduce<bf16, 1, 1>)
RIR_KERNEL(two_stream_reduce_projected_any_f32, ReduceParams, REDUCE_THREADS, two_stream_reduce<float, 2, 1>)
RIR_KERNEL(two_stream_reduce_projected_any_bf16, ReduceParams, REDUCE_THREADS, two_stream_reduce<bf16, 2, 1>)

struct BackwardBranch {
    const void* z;  // [rows, channels]
    NormGradient norm;
    void* dz;  // [rows, channels]
};

struct BackwardParams {
    const void* dy;       // [rows, channels]
    const uint8_t* mask;  // one bit an element; null: all pass
    BackwardBranch branches[MOST_BRANCHES];
    uint64_t rows;
    uint32_t channels;
    float epsilon;
    float share;  // 1 / M
    uint32_t descending;
};

// dz of one batch norm, or of two with the same masked g
template <typename T, int BRANCHES, uint32_t WIDTH>
__device__ void two_stream_backward(const BackwardParams& p) {
    Pass pass = pass_over<WIDTH>(p.rows, p.channels, p.descending);
    const uint32_t channel = pass.vector * WIDTH;
    AffineGradient<WIDTH> gradients[BRANCHES];
#pragma unroll
    for (int b = 0; b < BRANCHES; ++b) {
        gradients[b] = gradient_of<WIDTH>(p.branches[b].norm, p.channels, channel, p.epsilon, p.share);
    }
    for (; pass.left > 0; pass.advance()) {
        const uint64_t i = uint64_t(pass.row) * p.channels + channel;
        const Vector<WIDTH> dy = load_vector<WIDTH>(static_cast<const T*>(p.dy) + i);
        const Vector<WIDTH> g = masked(passing<WIDTH>(p.mask, i), dy);
#pragma unroll
        for (int b = 0; b < BRANCHES; ++b) {
            const Vector<WIDTH> z = load_vector<WIDTH>(static_cast<const T*>(p.branches[b].z) + i);
            store_vector(static_cast<T*>(p.branches[b].dz) + i, gradients[b](g, z));
        }
    }
}
RIR_KERNEL(two_stream_backward_f32, BackwardParams, THREADS, two_stream_backward<float, 1, EIGHT>)
RIR_KERNEL(two_stream_backward_bf16, BackwardParams, THREADS, two_stream_backward<bf16, 1, EIGHT>)
RIR_KERNEL(two_stream_backward_projected_f32, BackwardParams, THREADS, two_stream_backward<float, 2, EIGHT>)
RIR_KERNEL(two_stream_backward_projected_bf16, BackwardParams, THREADS, two_stream_backward<bf16, 2, EIGHT>)
RIR_KERNEL(two_stream_backward_any_f32, BackwardParams, THREADS, two_stream_backward<float, 1, 1>)
RIR_KERNEL(two_stream_backward_any_bf16, BackwardParams, THREADS, two_stream_backward<bf16, 1, 1>)
RIR_KERNEL(two_stream_backward_projected_any_f32, BackwardParams, THREADS, two_stream_backward<float, 2, 1>)
RIR_KERNEL(two_stream_backward_projected_any_bf16, BackwardParams, THREADS, two_stream_backward<bf16, 2, 1>)
