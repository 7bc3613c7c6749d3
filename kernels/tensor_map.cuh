// A tensor map: what a bulk copy knows of a tensor in global memory, as the driver encodes it (cuTensorMapEncodeTiled,
// cuTensorMapEncodeIm2col). The launch code describes it (src/device/cuda/launch/tensor_map.rs), and the driver writes
// these bytes into the kernel's parameters; only bulk copies read them.
#pragma once

#include <cstdint>

struct alignas(128) TensorMap {
    uint64_t opaque[16];
};
