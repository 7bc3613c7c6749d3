// What happens to a sum between the accumulator and memory, the same in every form.
#pragma once

#include "../layout.cuh"
#include "index.cuh"
#include "params.cuh"

namespace conv2d {

// The identity joins output pixel (p, q) and input pixel (p*stride, q*stride): the input pixel of an output pixel ...
__device__ __forceinline__ uint32_t identity_input(Pixel z, const Extents& e) {
    return pack_pixel({z.image, z.y * e.stride, z.x * e.stride}, e.h, e.w);
}
// ... whether an input pixel has a partner ...
__device__ __forceinline__ bool on_identity_grid(Pixel x, const Extents& e) {
    return x.y % e.stride == 0 && x.x % e.stride == 0;
}
// ... and which one.
__device__ __forceinline__ uint32_t identity_output(Pixel x, const Extents& e) {
    return pack_pixel({x.image, x.y / e.stride, x.x / e.stride}, e.p, e.q);
}

// The value to store at element `at` of z, in channel k.
template <typename T>
__device__ __forceinline__ float forward_epilogue(const ForwardParams& p, float sum, uint64_t at, uint32_t k) {
    if (p.scale_shift != nullptr) {
        sum = p.scale_shift[k] * sum + p.scale_shift[p.e.k + k];
    }
    if (p.outer != nullptr) {
        sum += load(static_cast<const T*>(p.outer)[at]);
    }
    return p.relu != 0 ? relu_of(sum) : sum;
}

// What is added to element `at` of dx.
template <typename T>
__device__ __forceinline__ float gradient_addend(const DataGradParams& p, uint64_t at) {
    const bool passes = p.mask == nullptr || mask_bit(p.mask, at);
    return p.addend != nullptr && passes ? load(static_cast<const T*>(p.addend)[at]) : 0.0f;
}

}  // namespace conv2d
