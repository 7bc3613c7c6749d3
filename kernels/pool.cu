// Global average pool and its gradient.
//
//     y[n, c] = mean over pixels of x[n, pixel, c];  dx[n, pixel, c] = dy[n, c] / pixels
//
// Tiles: none; one thread a (n, c) forward, one an element backward; a warp's channels are neighbours.
// Shared memory: none. Invariant: pixels are summed in order.

#include "layout.cuh"

constexpr uint32_t THREADS = 256;

struct PoolParams {
    const void* read;   // forward: x [images, pixels, channels]; backward: dy [images, channels]
    void* written;      // forward: y [images, channels]; backward: dx [images, pixels, channels]
    uint64_t elements;  // of what is written
    uint32_t pixels;
    uint32_t channels;
};

template <typename T>
__device__ void global_avg_pool(const PoolParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        const T* x = static_cast<const T*>(p.read) + i / p.channels * p.pixels * p.channels + i % p.channels;
        float sum = 0.0f;
        for (uint32_t pixel = 0; pixel < p.pixels; ++pixel) {
            sum += load(x[uint64_t(pixel) * p.channels]);
        }
        static_cast<float*>(p.written)[i] = sum / float(p.pixels);
    }
}
RIR_KERNEL(global_avg_pool_f32, PoolParams, THREADS, global_avg_pool<float>)
RIR_KERNEL(global_avg_pool_bf16, PoolParams, THREADS, global_avg_pool<bf16>)

template <typename T>
__device__ void global_avg_pool_backward(const PoolParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        const uint64_t image = i / (uint64_t(p.pixels) * p.channels);
        const float dy = static_cast<const float*>(p.read)[image * p.channels + i % p.channels];
        static_cast<T*>(p.written)[i] = store<T>(dy / float(p.pixels));
    }
}
RIR_KERNEL(global_avg_pool_backward_f32, PoolParams, THREADS, global_avg_pool_backward<float>)
RIR_KERNEL(global_avg_pool_backward_bf16, PoolParams, THREADS, global_avg_pool_backward<bf16>)
