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

// The value to store for a sum of the forward product. Where there is no scale and shift they are 1 and 0, where there
// is no outer shortcut it is 0: all three change nothing.
__device__ __forceinline__ float finish_forward(const ForwardParams& p, float sum, float scale, float shift,
                                                float outer) {
    const float y = scale * sum + shift + outer;
    return p.relu != 0 ? relu_of(y) : y;
}

// The convolutions whose gradients dx is the sum of: the layer's, and a projection's where there is one.
struct Transposed {
    const void* dz;
    const void* w;
};
__device__ __forceinline__ uint32_t convolutions(const DataGradParams& p) { return p.dzp != nullptr ? 2 : 1; }
__device__ __forceinline__ Transposed convolution(const DataGradParams& p, uint32_t i) {
    return i == 0 ? Transposed{p.dz, p.w} : Transposed{p.dzp, p.wp};
}

// Whether element `at` of the addend is added to dx.
__device__ __forceinline__ bool adds(const DataGradParams& p, uint64_t at) {
    return p.addend != nullptr && (p.mask == nullptr || mask_bit(p.mask, at));
}

// Whether the ReLU that made x let element `at` pass, so that its gradient does; where there is none, everything does.
__device__ __forceinline__ bool passes(const DataGradParams& p, uint64_t at) {
    return p.relu == nullptr || mask_bit(p.relu, at);
}

// Batch norms before that ReLU.
__device__ __forceinline__ uint32_t branches(const DataGradParams& p) { return p.z[1] != nullptr ? 2 : 1; }

// Where a block's partials [1 + branches, C] begin: class by class, each with as many tiles of rows as the largest.
__device__ __forceinline__ float* tile_partials(const DataGradParams& p, uint32_t row_tile, uint32_t channel_tiles) {
    const uint32_t row_tiles = gridDim.x / channel_tiles;
    return p.partials + (uint64_t(blockIdx.z) * row_tiles + row_tile) * (1 + branches(p)) * p.e.c;
}

}  // namespace conv2d
