// The rows of a convolution in tiles over a source image, forward or transposed: row = target pixel, depth = (tap,
// channel).
//
// The double loop over the depth: taps row by row, and within a tap the source's channels, 16 a step. A row's run is
// then one pixel's channels, contiguous in memory; a tap in the padding is a run of zeros.
#pragma once

#include "params.cuh"
#include "tile.cuh"

namespace conv2d {

// Where the taps of a target pixel begin in the source.
struct Origin {
    int32_t y, x;
    int32_t pixel;  // that pixel's index among all images; of use only to reach pixels that are inside
};

// As it lies in shared memory, so that it is read at once.
using OriginVector = int4;
__device__ __forceinline__ OriginVector to_vector(const Origin& o) { return make_int4(o.y, o.x, o.pixel, 0); }
__device__ __forceinline__ Origin to_origin(const OriginVector& v) { return {v.x, v.y, v.z}; }

// An origin with which no tap is inside: rows past the last pixel.
constexpr int32_t NOWHERE = -(1 << 30);

// The source of a convolution.
template <typename T>
struct Source {
    const T* pixels;  // [images, height, width, channels]
    uint32_t height, width, channels;
    Line rows, columns;  // of target pixels

    // Target pixel `index` of those on these lines, and their number in one image.
    __device__ __forceinline__ Pixel target(uint32_t index) const {
        const Pixel on_lines = unpack_pixel(index, rows.positions, columns.positions);
        return {on_lines.image, rows.target(on_lines.y), columns.target(on_lines.x)};
    }
    __device__ __forceinline__ Origin origin(uint32_t index) const {
        const Pixel on_lines = unpack_pixel(index, rows.positions, columns.positions);
        const int32_t y = rows.origin(on_lines.y);
        const int32_t x = columns.origin(on_lines.x);
        return {y, x, (int32_t(on_lines.image * height) + y) * int32_t(width) + x};
    }
    // The channels that tap (i, j) reads; null in the padding.
    __device__ __forceinline__ const T* run(const Origin& origin, uint32_t i, uint32_t j) const {
        if (!inside(rows.source(origin.y, i), height) || !inside(columns.source(origin.x, j), width)) {
            return nullptr;
        }
        const uint32_t pixel = uint32_t(columns.source(rows.source(origin.pixel, i * width), j));
        return pixels + uint64_t(pixel) * channels;
    }
    // The distance from what tap (0, 0) reads to what tap (i, j) does, in elements.
    __device__ __forceinline__ int32_t distance(uint32_t i, uint32_t j) const {
        return columns.source(rows.source(0, i * width), j) * int32_t(channels);
    }
    // Steps of the depth.
    __device__ __forceinline__ uint32_t steps() const {
        return rows.taps * columns.taps * ceil_div(channels, TILE_DEPTH);
    }
};

// The source of the products over x, forward and weight gradient: a target pixel is one of z.
template <typename T>
__device__ __forceinline__ Source<T> input_source(const void* x, const Extents& e) {
    return {static_cast<const T*>(x),
            e.h,
            e.w,
            e.c,
            forward_line(e.p, e.r, e.stride, e.pad),
            forward_line(e.q, e.s, e.stride, e.pad)};
}

// The source of the data gradient: a target pixel is one of x, of the class of those with these residues under the
// stride.
template <typename T>
__device__ __forceinline__ Source<T> gradient_source(const void* dz, const Extents& e, uint32_t residue_class) {
    return {static_cast<const T*>(dz),
            e.p,
            e.q,
            e.k,
            gradient_line(residue_class / e.stride, e.h, e.r, e.stride, e.pad),
            gradient_line(residue_class % e.stride, e.w, e.s, e.stride, e.pad)};
}

// A position in the depth.
struct Walk {
    uint32_t i = 0, j = 0;  // tap
    uint32_t channel = 0;   // first of 16

    __device__ __forceinline__ void advance(uint32_t tap_columns, uint32_t channels) {
        channel += TILE_DEPTH;
        if (channel >= channels) {
            channel = 0;
            if (++j == tap_columns) {
                j = 0;
                ++i;
            }
        }
    }
};

// Finds the origins of a tile's rows, once a block: pixels first .. first + TILE_ROWS of `pixels`.
template <typename T>
__device__ __forceinline__ void find_origins(OriginVector (&origins)[TILE_ROWS], const Source<T>& source,
                                             uint32_t first, uint32_t pixels) {
    for (uint32_t row = threadIdx.x; row < TILE_ROWS; row += blockDim.x) {
        const uint32_t index = first + row;
        origins[row] = to_vector(index < pixels ? source.origin(index) : Origin{NOWHERE, NOWHERE, 0});
    }
    __syncthreads();
}

}  // namespace conv2d
