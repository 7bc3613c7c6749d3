// What test kernels take; each uses what it needs.
#pragma once

#include <cstdint>

#include "tensor_map.cuh"

struct TestParams {
    const float* x;
    float* y;
    unsigned* counts;
    uint64_t elements;
};

// Of bulk copies: what they bring or take, one after another.
struct CopyParams {
    TensorMap maps[2];
    const void* x;
    float* y;
    unsigned* counts;
    const int32_t* list;  // of each copy 8 numbers: up to 5 coordinates, then 2 offsets of taps
    uint32_t items;
    uint32_t bytes;   // that a copy completes
    uint32_t words;   // of shared memory that are filled before a copy, and given back after it
    uint32_t offset;  // of a copy's place in shared memory; of copies out, from one to the next
};

// Of a whole matrix product.
struct GemmParams {
    TensorMap rows_map, columns_map, out_map;
    uint32_t columns, depth, tiles;
};

// Of wgmma: operands as they shall lie in shared memory, and what their descriptors say.
struct OperandPlace {
    uint32_t offset, leading, stride;
    uint32_t step;   // bytes from one product's operand to the next one's
    uint32_t group;  // bytes from one warp group's operand to the next one's
};
struct ProductParams {
    const void* image;
    const uint32_t* fragments;  // of A in registers: 4 a thread, product by product
    float* y;                   // sums: [warp group][thread][sum]; what they begin with, and what they become
    OperandPlace a, b;
    uint32_t image_bytes;
    uint32_t swizzle;
    uint32_t products;
    uint32_t of_group;    // products committed together
    uint32_t accumulate;  // whether the first product adds to what there was
    uint32_t behind;      // how many groups may be under way while the next is started, 0 or 1
    uint32_t one_fence;   // whether there is no wgmma.fence but the first
};
