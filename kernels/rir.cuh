// What every kernel file includes: the language (CUDA's, or its twin on the host), how a kernel is exported, its shared
// memory, and how numbers are stored.
//
// A kernel is a `__device__` function of one structure of parameters, exported under a name:
//
//     struct ReluParams { const void* x; void* y; uint64_t elements; };
//     template <typename T> __device__ void relu(const ReluParams& p) { ... }
//     RIR_KERNEL(relu_f32, ReluParams, 256, relu<float>)
//     RIR_KERNEL(relu_bf16, ReluParams, 256, relu<bf16>)
//
// nvcc makes of that an extern "C" entry that the driver finds by its name; the host's compiler registers it with the
// emulator (emu/). The launch code fills the same structure byte for byte: pointers first, then 4-byte fields, padded
// to 8 bytes by a named field, so that both compilers lay it out alike.
//
// Invariants of every kernel: no float atomics; whatever order its sums have, it depends on the shapes alone; it reads
// and writes no byte outside of the tensors that its launch lists. That it touches none before the launches before it
// have ended, the export sees to (ptx_launch.cuh).
#pragma once

#include <cstdint>

#if defined(__CUDACC__)

#include <cuda_bf16.h>

#define RIR_KERNEL(name, Params, max_threads, ...)                                                          \
    extern "C" __global__ void __launch_bounds__(max_threads) name(const __grid_constant__ Params params) { \
        ::ptx::begin_launch();                                                                              \
        __VA_ARGS__(params);                                                                                \
    }
// That a multiprocessor need hold one block only. Without this word ptxas may spill a register or two to fit one more.
#define RIR_KERNEL_ALONE(name, Params, max_threads, ...)                                                       \
    extern "C" __global__ void __launch_bounds__(max_threads, 1) name(const __grid_constant__ Params params) { \
        ::ptx::begin_launch();                                                                                 \
        __VA_ARGS__(params);                                                                                   \
    }

// One that makes its barriers first, and waits itself for the launch before it (Hopper); and one of clusters of so many
// blocks along x.
#define RIR_KERNEL_RING(name, Params, max_threads, ...)                                                        \
    extern "C" __global__ void __launch_bounds__(max_threads, 1) name(const __grid_constant__ Params params) { \
        ::ptx::let_next_launch_begin();                                                                        \
        __VA_ARGS__(params);                                                                                   \
    }
#define RIR_KERNEL_CLUSTER(name, Params, max_threads, cluster, ...)                              \
    extern "C" __global__ void __cluster_dims__(cluster, 1, 1) __launch_bounds__(max_threads, 1) \
        name(const __grid_constant__ Params params) {                                            \
        ::ptx::let_next_launch_begin();                                                          \
        __VA_ARGS__(params);                                                                     \
    }

// A block's shared memory is one structure. Static: at most 48 KiB. Dynamic: as large as the launch says.
#define RIR_SHARED(Storage, name) __shared__ Storage name
#define RIR_SHARED_DYNAMIC(Storage, name)                                 \
    extern __shared__ __align__(1024) unsigned char rir_dynamic_shared[]; \
    Storage& name = *reinterpret_cast<Storage*>(rir_dynamic_shared)

#else

#include "emu/cuda.hpp"

#endif

#include "ptx_launch.cuh"

using bf16 = __nv_bfloat16;

// Stored numbers to the arithmetic's and back; to bf16 it rounds to nearest, ties to even.
__device__ __forceinline__ float load(const float& stored) { return stored; }
__device__ __forceinline__ float load(const bf16& stored) { return __bfloat162float(stored); }

template <typename T>
__device__ __forceinline__ T store(float value);
template <>
__device__ __forceinline__ float store<float>(float value) {
    return value;
}
template <>
__device__ __forceinline__ bf16 store<bf16>(float value) {
    return __float2bfloat16_rn(value);
}

constexpr int WARP = 32;

// The element that this thread begins with, and the step to its next, in a loop over a one-dimensional grid.
__device__ __forceinline__ uint64_t grid_thread() { return uint64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ uint64_t grid_threads() { return uint64_t(gridDim.x) * blockDim.x; }
