// Accesses whose sectors and bank conflicts are known.
#include "params.hpp"
#include "rir.cuh"

template <unsigned STRIDE>
__device__ void read_stride(const TestParams& p) {
    const float value = p.x[threadIdx.x * STRIDE];
    if (value < 0) p.y[0] = value;
}
RIR_KERNEL(test_read_stride_0, TestParams, 256, read_stride<0>)
RIR_KERNEL(test_read_stride_1, TestParams, 256, read_stride<1>)
RIR_KERNEL(test_read_stride_2, TestParams, 256, read_stride<2>)
RIR_KERNEL(test_read_stride_32, TestParams, 256, read_stride<32>)

__device__ void read_vectors(const TestParams& p) {
    const float4 value = reinterpret_cast<const float4*>(p.x)[threadIdx.x];
    if (value.x < 0) p.y[0] = value.x;
}
RIR_KERNEL(test_read_vectors, TestParams, 256, read_vectors)

struct Floats {
    float at[32 * 33];
};
template <unsigned STRIDE>
__device__ void write_shared(const TestParams&) {
    RIR_SHARED(Floats, floats);
    floats.at[threadIdx.x * STRIDE] = 1.0f;
}
RIR_KERNEL(test_write_shared_1, TestParams, 32, write_shared<1>)
RIR_KERNEL(test_write_shared_2, TestParams, 32, write_shared<2>)
RIR_KERNEL(test_write_shared_32, TestParams, 32, write_shared<32>)
RIR_KERNEL(test_write_shared_33, TestParams, 32, write_shared<33>)

// One word for all lanes.
__device__ void broadcast(const TestParams& p) {
    RIR_SHARED(Floats, floats);
    if (threadIdx.x == 0) floats.at[0] = 1.0f;
    __syncthreads();
    if (floats.at[0] < 0) p.y[0] = 0.0f;
}
RIR_KERNEL(test_broadcast, TestParams, 32, broadcast)

template <typename Vector>
struct Vectors {
    Vector at[64];
};
template <typename Vector, unsigned STRIDE>
__device__ void write_shared_vectors(const TestParams&) {
    RIR_SHARED(Vectors<Vector>, vectors);
    const Vector zero{};
    vectors.at[threadIdx.x * STRIDE] = zero;
}
RIR_KERNEL(test_write_shared_float2, TestParams, 32, write_shared_vectors<float2, 1>)
RIR_KERNEL(test_write_shared_float4, TestParams, 32, write_shared_vectors<float4, 1>)
RIR_KERNEL(test_write_shared_float4_2, TestParams, 32, write_shared_vectors<float4, 2>)
