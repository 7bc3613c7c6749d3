// The two-stream residual update: batch norm of both streams, outer shortcut and ReLU in one pass; and its gradient.
//
//     y = ReLU(a * z + b + outer),  mask = y > 0
//     g = dy where the mask is set, else 0;  sums of g and g * (z - mean);  dz = a * g + b * z + c
//
// (Paper: "The generalized residual block": every sum comes before batch norm, so r and t, the two halves of the
// channels, take the same pass.) outer is nothing, the block's input, that input subsampled and zero-padded on the
// fly, or a projection zp with a batch norm of its own: a_p * zp + b_p.
// The constants come from batch_norm.cu, as does the second pass of the reductions; here is what a fused pass adds.
//
// Tiles: forward, one thread makes the MASK_ELEMENTS elements whose bits share a byte; backward as batch_norm.cu.
// Shared memory: LaneSums<3>, 3 KiB, in the reductions. Index maths: layout.cuh, reduce.cuh.
// Invariants: a mask bit is that of y as stored; bits beyond the last element are 0; NaN neither passes nor becomes 0.

#include "reduce.cuh"

constexpr uint32_t THREADS = 256;

struct OuterParams {
    const void* x;      // none: null; the block's input [N H' W' C'], or zp [N H W C]
    const float* pair;  // [2, C]: a_p, b_p; null but for a projection
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
    const void* z;      // [N H W C]
    const float* pair;  // [2, C]: a, b
    void* y;            // [N H W C]
    uint8_t* mask;      // one bit an element
    uint64_t elements;
    uint32_t height;    // H
    uint32_t width;     // W
    uint32_t channels;  // C
    uint32_t padding;
    OuterParams outer;
};

// What the outer shortcut adds to element i, which lies at `at`.
template <typename T>
__device__ __forceinline__ float outer_term(const UpdateParams& p, uint64_t i, Place at) {
    const OuterParams& outer = p.outer;
    const T* x = static_cast<const T*>(outer.x);
    if (x == nullptr) {
        return 0.0f;
    }
    if (outer.pair != nullptr) {
        return outer.pair[at.channel] * load(x[i]) + outer.pair[p.channels + at.channel];
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

template <typename T>
__device__ void two_stream_update(const UpdateParams& p) {
    const uint64_t bytes = (p.elements + MASK_ELEMENTS - 1) / MASK_ELEMENTS;
    for (uint64_t byte = grid_thread(); byte < bytes; byte += grid_threads()) {
        const uint64_t first = byte * MASK_ELEMENTS;
        const uint64_t left = p.elements - first;
        const uint32_t count = left < MASK_ELEMENTS ? uint32_t(left) : MASK_ELEMENTS;
        Place at = place_of(first, p.height, p.width, p.channels);
        uint32_t bits = 0;
        for (uint32_t bit = 0; bit < count; ++bit) {
            const uint64_t i = first + bit;
            const float a = p.pair[at.channel], b = p.pair[p.channels + at.channel];
            const float normalised = a * load(static_cast<const T*>(p.z)[i]) + b;
            const T stored = store<T>(relu_of(normalised + outer_term<T>(p, i, at)));
            static_cast<T*>(p.y)[i] = stored;
            bits |= uint32_t(load(stored) > 0.0f) << bit;
            step_element(at, p.height, p.width, p.channels);
        }
        p.mask[byte] = uint8_t(bits);
    }
}
RIR_KERNEL(two_stream_update_f32, UpdateParams, THREADS, two_stream_update<float>)
RIR_KERNEL(two_stream_update_bf16, UpdateParams, THREADS, two_stream_update<bf16>)

constexpr int MOST_BRANCHES = 2;

struct ReduceParams {
    const void* dy;                     // [rows, channels]
    const uint8_t* mask;                // one bit an element
    const void* z[MOST_BRANCHES];       // [rows, channels]; the second is null without a projection
    const float* stats[MOST_BRANCHES];  // [2, channels]
    float* partials;                    // [chunks, 1 + branches, channels]: sum g, sum g * (z - mean) of each branch
    uint64_t rows;
    uint32_t channels;
    uint32_t chunk_rows;
};

// One masked g, read once, feeds the reductions of one batch norm or of two.
template <typename T, int BRANCHES>
__device__ void two_stream_reduce(const ReduceParams& p) {
    RIR_SHARED(LaneSums<1 + BRANCHES>, shared);
    const RowRange range = row_range(p.rows, p.chunk_rows);
    const bool inside = range.channel < p.channels;
    float sums[1 + BRANCHES] = {};
    if (inside) {
        for (uint64_t row = range.first; row < range.end; row += LANES) {
            const uint64_t i = row * p.channels + range.channel;
            const float g = mask_bit(p.mask, i) ? load(static_cast<const T*>(p.dy)[i]) : 0.0f;
            sums[0] += g;
#pragma unroll
            for (int b = 0; b < BRANCHES; ++b) {
                sums[1 + b] += g * (load(static_cast<const T*>(p.z[b])[i]) - p.stats[b][range.channel]);
            }
        }
    }
    add_lanes(shared, range.lane, sums);
    if (inside && range.lane == 0) {
        float* partial = p.partials + uint64_t(blockIdx.x) * (1 + BRANCHES) * p.channels + range.channel;
#pragma unroll
        for (int s = 0; s < 1 + BRANCHES; ++s) {
            partial[s * p.channels] = sums[s];
        }
    }
}
RIR_KERNEL(two_stream_reduce_f32, ReduceParams, REDUCE_THREADS, two_stream_reduce<float, 1>)
RIR_KERNEL(two_stream_reduce_bf16, ReduceParams, REDUCE_THREADS, two_stream_reduce<bf16, 1>)
RIR_KERNEL(two_stream_reduce_projected_f32, ReduceParams, REDUCE_THREADS, two_stream_reduce<float, 2>)
RIR_KERNEL(two_stream_reduce_projected_bf16, ReduceParams, REDUCE_THREADS, two_stream_reduce<bf16, 2>)

struct BackwardParams {
    const void* dy;                         // [rows, channels]
    const uint8_t* mask;                    // one bit an element
    const void* z[MOST_BRANCHES];           // [rows, channels]
    const float* constants[MOST_BRANCHES];  // [3, channels]: a, b, c
    void* dz[MOST_BRANCHES];                // [rows, channels]
    uint64_t elements;
    uint32_t channels;
    uint32_t padding;
};

// dz of one batch norm, or of two with the same masked g
template <typename T, int BRANCHES>
__device__ void two_stream_backward(const BackwardParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        const float g = mask_bit(p.mask, i) ? load(static_cast<const T*>(p.dy)[i]) : 0.0f;
#pragma unroll
        for (int b = 0; b < BRANCHES; ++b) {
            const float* k = p.constants[b] + i % p.channels;
            const float z = load(static_cast<const T*>(p.z[b])[i]);
            static_cast<T*>(p.dz[b])[i] = store<T>(k[0] * g + k[p.channels] * z + k[2 * p.channels]);
        }
    }
}
RIR_KERNEL(two_stream_backward_f32, BackwardParams, THREADS, two_stream_backward<float, 1>)
RIR_KERNEL(two_stream_backward_bf16, BackwardParams, THREADS, two_stream_backward<bf16, 1>)
RIR_KERNEL(two_stream_backward_projected_f32, BackwardParams, THREADS, two_stream_backward<float, 2>)
RIR_KERNEL(two_stream_backward_projected_bf16, BackwardParams, THREADS, two_stream_backward<bf16, 2>)
