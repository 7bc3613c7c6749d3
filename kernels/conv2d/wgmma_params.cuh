// The parameters of the convolutions on wgmma: those of every form (params.cuh), behind the tensor maps of the operands
// that bulk copies bring. src/device/cuda/launch/wgmma/maps.rs fills them byte for byte.
#pragma once

#include "../tensor_map.cuh"
#include "params.cuh"

namespace conv2d {

struct WgmmaForwardParams {
    TensorMap x;  // im2col of [N H W C]: SPAN channels of the pixels of a tile
    TensorMap w;  // tiles of [K, R S C]: SPAN elements of the filters of a tile
    ForwardParams conv;
};

// Residue classes of the input's pixels under a stride of at most 2.
constexpr uint32_t MOST_CLASSES = 4;

// What the copies of one of the convolutions bring whose gradients dx is the sum of.
struct TransposedMaps {
    TensorMap dz[MOST_CLASSES];  // im2col of [N P Q K], whose bounding box is that of the class
    TensorMap w;                 // tiles of [K, R S, C]: channels of SPAN filters at one tap
};

struct WgmmaDataGradParams {
    TransposedMaps maps[2];  // the layer's, and a projection's where there is one
    DataGradParams conv;
};

struct WgmmaWeightGradParams {
    TensorMap x;   // im2col of [N H W C]: SPAN channels of WEIGHT_GRAD_DEPTH pixels
    TensorMap dz;  // tiles of [N P Q, K]: filters of as many pixels
    WeightGradParams conv;
};

// Those of either of the first two, where a tile goes out by bulk copies.
template <typename Params>
struct WgmmaStoreParams {
    TensorMap identity;  // im2col of the images that E copies: channels of the pixels of a warp group's rows
    TensorMap out;       // tiles of z [N P Q, K], or dx [N H W, C]: as many of its rows
    Params product;
};

}  // namespace conv2d
