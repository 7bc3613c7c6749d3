// Batch norm of a few channels, and its gradient, with the channels' constants in registers:
//
//     y = a (z - mean) + shift,  dz = a (g - dshift / M - (z - mean) * dscale / (M deviation)),  a = scale / deviation
//
// deviation = sqrt(variance + epsilon). The mean is taken off first, so a large one cancels nothing.
#pragma once

#include "vector.cuh"

// Batch norms that share g: of a block's last layer, and of its projection.
constexpr int MOST_BRANCHES = 2;

// What one batch norm applies.
struct Norm {
    const float* stats;  // [2, channels]: mean, biased variance
    const float* scale;  // [channels]
    const float* shift;  // [channels]
};

// What its gradient needs beside g and z.
struct NormGradient {
    const float* stats;   // [2, channels]
    const float* scale;   // [channels]
    const float* dshift;  // [channels]
    const float* dscale;  // [channels]
};

template <uint32_t WIDTH>
struct Affine {
    Vector<WIDTH> mean, a, shift;

    __device__ __forceinline__ Vector<WIDTH> operator()(Vector<WIDTH> z) const {
#pragma unroll
        for (uint32_t k = 0; k < WIDTH; ++k) {
            z.at[k] = a.at[k] * (z.at[k] - mean.at[k]) + shift.at[k];
        }
        return z;
    }
};

template <uint32_t WIDTH>
__device__ __forceinline__ Vector<WIDTH> inverse_deviations(const float* stats, uint32_t channels, uint32_t channel,
                                                            float epsilon) {
    Vector<WIDTH> x = load_vector<WIDTH>(stats + channels + channel);
#pragma unroll
    for (uint32_t k = 0; k < WIDTH; ++k) {
        x.at[k] = 1.0f / sqrtf(x.at[k] + epsilon);
    }
    return x;
}

// The constants of WIDTH channels from `channel` on.
template <uint32_t WIDTH>
__device__ __forceinline__ Affine<WIDTH> affine_of(const Norm& norm, uint32_t channels, uint32_t channel,
                                                   float epsilon) {
    const Vector<WIDTH> inverse = inverse_deviations<WIDTH>(norm.stats, channels, channel, epsilon);
    Affine<WIDTH> affine{load_vector<WIDTH>(norm.stats + channel), load_vector<WIDTH>(norm.scale + channel),
                         load_vector<WIDTH>(norm.shift + channel)};
#pragma unroll
    for (uint32_t k = 0; k < WIDTH; ++k) {
        affine.a.at[k] *= inverse.at[k];
    }
    return affine;
}

template <uint32_t WIDTH>
struct AffineGradient {
    Vector<WIDTH> mean, a;
    Vector<WIDTH> mean_g;  // dshift / M
    Vector<WIDTH> slope;   // dscale / (M deviation)

    // dz from g and z
    __device__ __forceinline__ Vector<WIDTH> operator()(const Vector<WIDTH>& g, Vector<WIDTH> z) const {
#pragma unroll
        for (uint32_t k = 0; k < WIDTH; ++k) {
            const float centred = g.at[k] - mean_g.at[k];
            z.at[k] = a.at[k] * (centred - (z.at[k] - mean.at[k]) * slope.at[k]);
        }
        return z;
    }
};

// The constants of WIDTH channels from `channel` on; `share` is 1 / M.
template <uint32_t WIDTH>
__device__ __forceinline__ AffineGradient<WIDTH> gradient_of(const NormGradient& norm, uint32_t channels,
                                                             uint32_t channel, float epsilon, float share) {
    const Vector<WIDTH> inverse = inverse_deviations<WIDTH>(norm.stats, channels, channel, epsilon);
    AffineGradient<WIDTH> gradient{load_vector<WIDTH>(norm.stats + channel), load_vector<WIDTH>(norm.scale + channel),
                                   load_vector<WIDTH>(norm.dshift + channel),
                                   load_vector<WIDTH>(norm.dscale + channel)};
#pragma unroll
    for (uint32_t k = 0; k < WIDTH; ++k) {
        gradient.a.at[k] *= inverse.at[k];
        gradient.mean_g.at[k] *= share;
        gradient.slope.at[k] *= share * inverse.at[k];
    }
    return gradient;
}
