// Kernels for the test of the stand-in driver alone.
#include "rir.cuh"

struct ScaleParams {
    const void* x;  // elements, f32
    void* y;        // elements, f32
    uint64_t elements;
    float factor;
    uint32_t padding;
};

__device__ void scale(const ScaleParams& p) {
    auto* x = static_cast<const float*>(p.x);
    auto* y = static_cast<float*>(p.y);
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) y[i] = p.factor * x[i];
}
RIR_KERNEL(standin_scale, ScaleParams, 256, scale)

struct CountParams {
    void* counter;  // u32
};

// Adds one to a number, which may be in a mailbox.
__device__ void count(const CountParams& p) {
    if (grid_thread() == 0) *static_cast<uint32_t*>(p.counter) += 1;
}
RIR_KERNEL(standin_count, CountParams, 1024, count)
