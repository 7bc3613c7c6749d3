// Neighbouring elements moved together: a thread takes eight, which is one access of 16 bytes of bf16, two of f32, and
// one byte of a mask. The same code serves one element at a time, where tensors are no multiple of eight.
//
// Invariant: what is moved as eight begins at a multiple of eight elements, which every tensor does.
#pragma once

#include "layout.cuh"
#include "pass_index.cuh"
#include "ptx.cuh"

constexpr uint32_t EIGHT = 8;

// WIDTH neighbouring elements, in the arithmetic's type.
template <uint32_t WIDTH>
struct Vector {
    float at[WIDTH];
};

__device__ __forceinline__ void load_eight(const float* from, float (&to)[EIGHT]) {
    const float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
    to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w;
    to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}

// Two numbers of bf16 in a word (ptx::round_pair); a bf16 is the upper half of the float that it is.
__device__ __forceinline__ float low_of_pair(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_of_pair(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ void load_eight(const bf16* from, float (&to)[EIGHT]) {
    const uint4 vector = *reinterpret_cast<const uint4*>(from);
    const uint32_t words[EIGHT / 2] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
    for (uint32_t k = 0; k < EIGHT / 2; ++k) {
        to[2 * k] = low_of_pair(words[k]);
        to[2 * k + 1] = high_of_pair(words[k]);
    }
}

__device__ __forceinline__ void store_eight(float* to, const float (&from)[EIGHT]) {
    reinterpret_cast<float4*>(to)[0] = make_float4(from[0], from[1], from[2], from[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(from[4], from[5], from[6], from[7]);
}

__device__ __forceinline__ void store_eight(bf16* to, const float (&from)[EIGHT]) {
    *reinterpret_cast<uint4*>(to) = make_uint4(ptx::round_pair(from[0], from[1]), ptx::round_pair(from[2], from[3]),
                                               ptx::round_pair(from[4], from[5]), ptx::round_pair(from[6], from[7]));
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ Vector<WIDTH> load_vector(const T* from) {
    static_assert(WIDTH == 1 || WIDTH == EIGHT);
    Vector<WIDTH> x;
    if constexpr (WIDTH == EIGHT) {
        load_eight(from, x.at);
    } else {
        x.at[0] = load(*from);
    }
    return x;
}

template <uint32_t WIDTH, typename T>
__device__ __forceinline__ void store_vector(T* to, const Vector<WIDTH>& x) {
    if constexpr (WIDTH == EIGHT) {
        store_eight(to, x.at);
    } else {
        *to = store<T>(x.at[0]);
    }
}

// Bit k: whether element i + k passes. No mask at all lets every element pass.
template <uint32_t WIDTH>
__device__ __forceinline__ uint32_t passing(const uint8_t* mask, uint64_t i) {
    if (mask == nullptr) {
        return (1u << WIDTH) - 1;
    }
    if constexpr (WIDTH == EIGHT) {
        return mask[i / EIGHT];
    } else {
        return mask_bit(mask, i);
    }
}

// dy where its bit is set, else 0.
template <uint32_t WIDTH>
__device__ __forceinline__ Vector<WIDTH> masked(uint32_t bits, Vector<WIDTH> dy) {
#pragma unroll
    for (uint32_t k = 0; k < WIDTH; ++k) {
        dy.at[k] = bits >> k & 1 ? dy.at[k] : 0.0f;
    }
    return dy;
}

// A number of elements as a type, for lambdas.
template <uint32_t WIDTH>
struct Width {
    static constexpr uint32_t value = WIDTH;
};

// Calls f(Width, i) for the vectors of this thread, eight elements from i on, and then for the last few one by one.
template <typename F>
__device__ __forceinline__ void each_vector(uint64_t elements, const F& f) {
    const uint64_t whole = elements - elements % EIGHT;
    for (uint64_t i = grid_thread() * EIGHT; i < whole; i += grid_threads() * EIGHT) {
        f(Width<EIGHT>{}, i);
    }
    for (uint64_t i = whole + grid_thread(); i < elements; i += grid_threads()) {
        f(Width<1>{}, i);
    }
}

// One pass over a [rows, channels] matrix: the rows of WIDTH neighbouring channels that this thread takes.
template <uint32_t WIDTH>
__device__ __forceinline__ Pass pass_over(uint64_t rows, uint32_t channels, uint32_t descending) {
    return pass_of(uint32_t(grid_thread()), uint32_t(grid_threads()), blockIdx.y, gridDim.y, uint32_t(rows),
                   channels / WIDTH, descending != 0);
}
