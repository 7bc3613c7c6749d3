// What changes the State: stochastic gradient descent over every parameter, and the running statistics.
//
//     g' = g + decay * (w - center);  v = momentum * v + g';  w = w - rate * v   (nesterov: rate * (g' + momentum * v))
//     running = 0.9 running + 0.1 batch, the variance made unbiased
//
// Parameters, velocities and gradients are three regions of one layout; a table tells each parameter's place and decay.
// The identity E is no parameter: it cannot decay.
// Tiles: none; block row y takes parameter y, its threads every (gridDim.x * blockDim.x)-th element. Shared memory:
// none. Invariants: nothing is written once the step is halted; no byte between parameters is touched.

#include "step.cuh"

constexpr uint32_t THREADS = 256;

struct SgdTensor {
    uint64_t first;  // its first element in the regions
    uint64_t elements;
    float decay;   // coefficient of the L2 gradient
    float center;  // what it pulls toward
};

struct SgdParams {
    const StepInputs* step;
    const StepState* state;
    const SgdTensor* tensors;  // [parameters]
    float* parameters;         // the region
    float* momentum;           // the region
    const float* gradients;    // the region
    float keep;                // share of the velocity that is kept
    uint32_t nesterov;
};

__device__ void sgd(const SgdParams& p) {
    if (p.state->halted) {
        return;
    }
    const SgdTensor tensor = p.tensors[blockIdx.y];
    const float rate = p.step->learning_rate;
    for (uint64_t i = grid_thread(); i < tensor.elements; i += grid_threads()) {
        const uint64_t at = tensor.first + i;
        const float w = p.parameters[at];
        const float g = p.gradients[at] + tensor.decay * (w - tensor.center);
        const float v = p.keep * p.momentum[at] + g;
        p.momentum[at] = v;
        p.parameters[at] = w - rate * (p.nesterov ? g + p.keep * v : v);
    }
}
RIR_KERNEL(sgd_f32, SgdParams, THREADS, sgd)

struct RunningParams {
    const StepState* state;
    const float* stats;  // [2, channels]: the batch's mean and biased variance
    float* mean;         // [channels]
    float* variance;     // [channels]
    float weight;        // of the batch
    float keep;          // 1 - weight
    float unbiased;      // M / (M - 1)
    uint32_t channels;
};

__device__ void update_running(const RunningParams& p) {
    if (p.state->halted) {
        return;
    }
    for (uint64_t c = grid_thread(); c < p.channels; c += grid_threads()) {
        p.mean[c] = p.keep * p.mean[c] + p.weight * p.stats[c];
        p.variance[c] = p.keep * p.variance[c] + p.weight * (p.stats[p.channels + c] * p.unbiased);
    }
}
RIR_KERNEL(update_running_f32, RunningParams, THREADS, update_running)
