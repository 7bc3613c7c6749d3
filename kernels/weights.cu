// The weights of layers with E as convolutions read them, all filters in one launch.
//
//     shadow = W + E, stored as activations are     E[i, (R - 1) / 2, (S - 1) / 2, i] = 1 for i < identity
//
// Tiles: none; block row y takes filter y, a thread its vectors of eight elements. Shared memory: none.
// Invariant: the sum with E is made in f32 and rounded once; without E nothing is added.

#include "vector.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t MOST_FILTERS = 64;

struct Filter {
    const float* w;     // [elements]
    void* shadow;       // T [elements]
    uint32_t elements;  // K R S C
    uint32_t identity;  // ones of E
    uint32_t first;     // element of the first
    uint32_t step;      // from one to the next
};

struct ShadowWeightsParams {
    Filter filters[MOST_FILTERS];  // as many as the grid has rows
};

__device__ __forceinline__ bool is_one_of_e(const Filter& filter, uint32_t i) {
    return i >= filter.first && (i - filter.first) % filter.step == 0 &&
           (i - filter.first) / filter.step < filter.identity;
}

template <typename T>
__device__ void shadow_weights(const ShadowWeightsParams& p) {
    const Filter& filter = p.filters[blockIdx.y];
    each_vector(filter.elements, [&](auto width, uint64_t first) {
        constexpr uint32_t WIDTH = decltype(width)::value;
        Vector<WIDTH> w = load_vector<WIDTH>(filter.w + first);
        if (filter.identity > 0) {
#pragma unroll
            for (uint32_t k = 0; k < WIDTH; ++k) {
                w.at[k] += is_one_of_e(filter, uint32_t(first) + k) ? 1.0f : 0.0f;
            }
        }
        store_vector(static_cast<T*>(filter.shadow) + first, w);
    });
}
RIR_KERNEL(shadow_weights_f32, ShadowWeightsParams, THREADS, shadow_weights<float>)
RIR_KERNEL(shadow_weights_bf16, ShadowWeightsParams, THREADS, shadow_weights<bf16>)
