// The parameters of the convolution kernels; src/device/cuda/launch/conv2d/mod.rs fills them byte for byte.
#pragma once

#include <cstddef>
#include <cstdint>

namespace conv2d {

// The extents of a convolution, the same for all three products.
struct Extents {
    uint32_t n, h, w, c;  // x   N H W C
    uint32_t k, r, s;     // w   K R S C
    uint32_t p, q;        // z   N P Q K
    uint32_t stride, pad;
    uint32_t identity;  // channels of E: 0 in an ordinary convolution
};
static_assert(sizeof(Extents) % 8 == 0, "no padding follows it");

// z = conv(x, w) + E x, then the epilogue. T is float or bf16.
struct ForwardParams {
    const void* x;             // T [N H W C]
    const void* w;             // T [K R S C]
    const float* scale_shift;  // [2 K], or null: z is stored as it is
    const void* outer;         // T [N P Q K], or null: nothing is added
    void* z;                   // T [N P Q K]
    float* partials;           // [tiles of rows, 2, K] mean and squared deviations, or null: no statistics
    Extents e;
    uint32_t relu;  // nonzero: ends with ReLU
    uint32_t padding;
};

constexpr uint32_t MOST_BRANCHES = 2;

// dx = conv_transposed(dz, w) + E^T dz + conv_transposed(dzp, wp) + addend, then the gradient of the ReLU that made x,
// and the reductions of the one or two batch norms before it.
struct DataGradParams {
    const void* dz;                     // T [N P Q K]
    const void* w;                      // T [K R S C]
    const void* addend;                 // T [N H W C], or null: nothing is added
    const uint8_t* mask;                // a bit an element of the addend, or null: all of it is added
    void* dx;                           // T [N H W C]; with a ReLU, its gradient g: 0 where the bit is not set
    const uint8_t* relu;                // a bit an element of dx, or null: there is no ReLU, and none of what follows
    const void* z[MOST_BRANCHES];       // T [N H W C], what each batch norm read; the second may be null
    const float* stats[MOST_BRANCHES];  // [2, C] its mean and variance
    float* partials;  // [tiles of rows, 1 + branches, C] sums of g, and of g (z - mean) of each branch; g as stored
    const void* dzp;  // T [N P Q K], and
    const void* wp;   // T [K R S C] of a projection with the same extents, or null: there is none
    Extents e;
};

// dw, or its partial sums over `pixels_per_split` pixels of z each.
struct WeightGradParams {
    const void* x;   // T [N H W C]
    const void* dz;  // T [N P Q K]
    float* dw;       // [splits, K R S C]
    Extents e;
    uint32_t pixels_per_split;
    uint32_t padding;
};

// dw = sum of the splits, in order.
struct SumSplitsParams {
    const float* partials;  // [splits, elements]
    float* dw;              // [elements]
    uint32_t elements;
    uint32_t splits;
};

}  // namespace conv2d
