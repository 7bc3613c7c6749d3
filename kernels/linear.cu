// The fully connected layer of a classifier, and its gradients; always f32.
//
//     y[n, k]  = b[k] + sum over c of x[n, c] w[k, c]
//     dx[n, c] = sum over k of dy[n, k] w[k, c]
//     dw[k, c] = sum over n of dy[n, k] x[n, c];   db[k] = sum over n of dy[n, k]
//
// Tiles: none; one thread an output element. Shared memory: none. It is 0.01 % of a network's work.
// Invariant: every sum runs in order.

#include "rir.cuh"

constexpr uint32_t THREADS = 256;

struct LinearParams {
    const float* a;     // forward: x [N C]; data gradient: dy [N K]; weight and bias gradient: dy [N K]
    const float* b;     // forward: w [K C]; data gradient: w [K C]; weight gradient: x [N C]; bias gradient: null
    const float* bias;  // forward: [K]; else null
    float* out;         // y [N K], dx [N C], dw [K C], db [K]
    uint32_t samples;   // N
    uint32_t inputs;    // C
    uint32_t outputs;   // K
    uint32_t padding;
};

__device__ void linear(const LinearParams& p) {
    for (uint64_t i = grid_thread(); i < uint64_t(p.samples) * p.outputs; i += grid_threads()) {
        const uint64_t n = i / p.outputs, k = i % p.outputs;
        float sum = 0.0f;
        for (uint32_t c = 0; c < p.inputs; ++c) {
            sum += p.a[n * p.inputs + c] * p.b[k * p.inputs + c];
        }
        p.out[i] = sum + p.bias[k];
    }
}
RIR_KERNEL(linear_f32, LinearParams, THREADS, linear)

__device__ void linear_data_grad(const LinearParams& p) {
    for (uint64_t i = grid_thread(); i < uint64_t(p.samples) * p.inputs; i += grid_threads()) {
        const uint64_t n = i / p.inputs, c = i % p.inputs;
        float sum = 0.0f;
        for (uint32_t k = 0; k < p.outputs; ++k) {
            sum += p.a[n * p.outputs + k] * p.b[uint64_t(k) * p.inputs + c];
        }
        p.out[i] = sum;
    }
}
RIR_KERNEL(linear_data_grad_f32, LinearParams, THREADS, linear_data_grad)

__device__ void linear_weight_grad(const LinearParams& p) {
    for (uint64_t i = grid_thread(); i < uint64_t(p.outputs) * p.inputs; i += grid_threads()) {
        const uint64_t k = i / p.inputs, c = i % p.inputs;
        float sum = 0.0f;
        for (uint32_t n = 0; n < p.samples; ++n) {
            sum += p.a[uint64_t(n) * p.outputs + k] * p.b[uint64_t(n) * p.inputs + c];
        }
        p.out[i] = sum;
    }
}
RIR_KERNEL(linear_weight_grad_f32, LinearParams, THREADS, linear_weight_grad)

__device__ void bias_grad(const LinearParams& p) {
    for (uint64_t k = grid_thread(); k < p.outputs; k += grid_threads()) {
        float sum = 0.0f;
        for (uint32_t n = 0; n < p.samples; ++n) {
            sum += p.a[uint64_t(n) * p.outputs + k];
        }
        p.out[k] = sum;
    }
}
RIR_KERNEL(bias_grad_f32, LinearParams, THREADS, bias_grad)
