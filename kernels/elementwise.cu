// Operations on one element at a time: ReLU and its gradient, sums, conversions, constants, copies.
//
// Tiles: none; a thread takes eight neighbouring elements at a time, by each_vector. Shared memory: none.
// Index maths: element i of every operand; tensors of one shape lie alike.
// Invariant: an output element depends on the operands' elements of the same index alone.

#include "vector.cuh"

constexpr uint32_t THREADS = 256;

struct UnaryParams {
    const void* x;  // [elements]
    void* y;        // [elements]
    uint64_t elements;
};

// Casts that one launch makes at most: what fits its parameters.
constexpr uint32_t MOST_CASTS = 64;

struct CastParams {
    UnaryParams casts[MOST_CASTS];
};

// y = max(x, 0)
template <typename T>
__device__ void relu(const UnaryParams& p) {
    each_vector(p.elements, [&](auto width, uint64_t i) {
        auto x = load_vector<width.value>(static_cast<const T*>(p.x) + i);
#pragma unroll
        for (float& number : x.at) {
            number = relu_of(number);
        }
        store_vector(static_cast<T*>(p.y) + i, x);
    });
}
RIR_KERNEL(relu_f32, UnaryParams, THREADS, relu<float>)
RIR_KERNEL(relu_bf16, UnaryParams, THREADS, relu<bf16>)

// y = x, stored in another type; block row y takes cast y
template <typename From, typename To>
__device__ void cast(const CastParams& p) {
    const UnaryParams& cast = p.casts[blockIdx.y];
    each_vector(cast.elements, [&](auto width, uint64_t i) {
        store_vector(static_cast<To*>(cast.y) + i, load_vector<width.value>(static_cast<const From*>(cast.x) + i));
    });
}
RIR_KERNEL(cast_f32_f32, CastParams, THREADS, cast<float, float>)
RIR_KERNEL(cast_f32_bf16, CastParams, THREADS, cast<float, bf16>)
RIR_KERNEL(cast_bf16_f32, CastParams, THREADS, cast<bf16, float>)
RIR_KERNEL(cast_bf16_bf16, CastParams, THREADS, cast<bf16, bf16>)

struct ReluBackwardParams {
    const void* dy;    // [elements]
    const void* gate;  // [elements] ReLU's output, or its mask
    void* dx;          // [elements]
    uint64_t elements;
};

// dx = dy where ReLU's output is above 0, else 0
template <typename T>
__device__ void relu_backward(const ReluBackwardParams& p) {
    each_vector(p.elements, [&](auto width, uint64_t i) {
        auto dy = load_vector<width.value>(static_cast<const T*>(p.dy) + i);
        const auto gate = load_vector<width.value>(static_cast<const T*>(p.gate) + i);
#pragma unroll
        for (uint32_t k = 0; k < width.value; ++k) {
            dy.at[k] = gate.at[k] > 0.0f ? dy.at[k] : 0.0f;
        }
        store_vector(static_cast<T*>(p.dx) + i, dy);
    });
}
RIR_KERNEL(relu_backward_f32, ReluBackwardParams, THREADS, relu_backward<float>)
RIR_KERNEL(relu_backward_bf16, ReluBackwardParams, THREADS, relu_backward<bf16>)

// dx = dy where the mask's bit is set, else 0
template <typename T>
__device__ void relu_backward_masked(const ReluBackwardParams& p) {
    each_vector(p.elements, [&](auto width, uint64_t i) {
        const uint32_t bits = passing<width.value>(static_cast<const uint8_t*>(p.gate), i);
        const auto dy = load_vector<width.value>(static_cast<const T*>(p.dy) + i);
        store_vector(static_cast<T*>(p.dx) + i, masked(bits, dy));
    });
}
RIR_KERNEL(relu_backward_masked_f32, ReluBackwardParams, THREADS, relu_backward_masked<float>)
RIR_KERNEL(relu_backward_masked_bf16, ReluBackwardParams, THREADS, relu_backward_masked<bf16>)

constexpr uint32_t MOST_TERMS = 16;

struct AddParams {
    const void* terms[MOST_TERMS];  // [elements] each; the first `count` of them
    void* y;                        // [elements]
    uint64_t elements;
    uint32_t count;
    uint32_t padding;
};

// y = terms[0] + terms[1] + ..., summed in f32, rounded once
template <typename T>
__device__ void add(const AddParams& p) {
    each_vector(p.elements, [&](auto width, uint64_t i) {
        auto sum = load_vector<width.value>(static_cast<const T*>(p.terms[0]) + i);
        for (uint32_t term = 1; term < p.count; ++term) {
            const auto x = load_vector<width.value>(static_cast<const T*>(p.terms[term]) + i);
#pragma unroll
            for (uint32_t k = 0; k < width.value; ++k) {
                sum.at[k] += x.at[k];
            }
        }
        store_vector(static_cast<T*>(p.y) + i, sum);
    });
}
RIR_KERNEL(add_f32, AddParams, THREADS, add<float>)
RIR_KERNEL(add_bf16, AddParams, THREADS, add<bf16>)

struct FillParams {
    void* y;  // [elements]
    uint64_t elements;
    float value;
    uint32_t padding;
};

// y = value
__device__ void fill(const FillParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        static_cast<float*>(p.y)[i] = p.value;
    }
}
RIR_KERNEL(fill_f32, FillParams, THREADS, fill)
