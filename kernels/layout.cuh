// How tensors lie in memory: N H W C, the channel running fastest; a ReLU mask holds bit i % 8 of byte i / 8 for
// element i.
#pragma once

#include "rir.cuh"

// Where an element of an N H W C tensor lies in its image batch.
struct Place {
    uint64_t image;
    uint32_t row, column, channel;
};

// The place of element `i` of a tensor of `height` x `width` x `channels` images.
__device__ __forceinline__ Place place_of(uint64_t i, uint32_t height, uint32_t width, uint32_t channels) {
    const uint64_t pixel = i / channels;
    return {pixel / (uint64_t(height) * width), uint32_t(pixel / width % height), uint32_t(pixel % width),
            uint32_t(i % channels)};
}

// The place of a pixel's channel, by 32-bit divisions.
__device__ __forceinline__ Place place_of_pixel(uint32_t pixel, uint32_t height, uint32_t width, uint32_t channel) {
    return {pixel / width / height, pixel / width % height, pixel % width, channel};
}

// The element at a place: the inverse of place_of.
__device__ __forceinline__ uint64_t element_at(Place at, uint32_t height, uint32_t width, uint32_t channels) {
    return ((at.image * height + at.row) * width + at.column) * channels + at.channel;
}

// The place of element i + 1 from that of element i, without a division.
__device__ __forceinline__ void step_element(Place& at, uint32_t height, uint32_t width, uint32_t channels) {
    if (++at.channel < channels) return;
    at.channel = 0;
    if (++at.column < width) return;
    at.column = 0;
    if (++at.row < height) return;
    at.row = 0;
    ++at.image;
}

// Elements whose mask bits share a byte: what one thread writes, so that no two threads share a byte.
constexpr uint32_t MASK_ELEMENTS = 8;

__device__ __forceinline__ bool mask_bit(const uint8_t* mask, uint64_t i) { return mask[i / 8] >> (i % 8) & 1; }

// ReLU that keeps what is not a number: a diverged network must show.
__device__ __forceinline__ float relu_of(float x) { return x <= 0.0f ? 0.0f : x; }
