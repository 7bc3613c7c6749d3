// Tensor maps as tests ask for them: of tensors without gaps, innermost dimension first.
#pragma once

#include <initializer_list>

#include "emu/emu.h"

inline RirEmuTensorMap map_of_tensor(const void* tensor, uint32_t element_bytes, std::initializer_list<uint64_t> dims) {
    RirEmuTensorMap map{};
    map.address = reinterpret_cast<uint64_t>(tensor);
    map.element_bytes = element_bytes;
    uint64_t stride = element_bytes;
    for (const uint64_t dim : dims) {
        if (map.rank > 0) map.strides[map.rank - 1] = stride;
        stride *= dim;
        map.element_strides[map.rank] = 1;
        map.dims[map.rank++] = dim;
    }
    return map;
}

inline RirEmuTensorMap tiled(const void* tensor, uint32_t element_bytes, std::initializer_list<uint64_t> dims,
                             std::initializer_list<uint32_t> box, uint32_t swizzle = 0) {
    RirEmuTensorMap map = map_of_tensor(tensor, element_bytes, dims);
    map.swizzle = swizzle;
    uint32_t d = 0;
    for (const uint32_t extent : box) map.box[d++] = extent;
    return map;
}

// Of a tensor [n][h][w][c]; corners x, y.
struct Corner {
    int32_t x, y;
};
inline RirEmuTensorMap im2col(const void* tensor, uint32_t element_bytes, std::initializer_list<uint64_t> dims,
                              Corner lower, Corner upper, uint32_t channels, uint32_t pixels, uint32_t stride = 1,
                              uint32_t swizzle = 0) {
    RirEmuTensorMap map = map_of_tensor(tensor, element_bytes, dims);
    map.im2col = 1;
    map.swizzle = swizzle;
    map.lower[0] = lower.x;
    map.lower[1] = lower.y;
    map.upper[0] = upper.x;
    map.upper[1] = upper.y;
    map.channels = channels;
    map.pixels = pixels;
    map.element_strides[1] = map.element_strides[2] = stride;
    return map;
}
