// What changes the State: stochastic gradient descent over every parameter, and the running statistics.
//
//     g' = g + decay * (w - center);  v = momentum * v + g';  w = w - rate * v   (nesterov: rate * (g' + momentum * v))
//     lookahead: slow = slow + share * (w - slow);  w = slow, in steps whose share is above 0
//     running = 0.9 running + 0.1 batch, the variance made unbiased
//
// Parameters, velocities, gradients and slow weights are regions of one layout; a table tells each parameter's place,
// decay and factor of the rate.
// The identity E is no parameter: it cannot decay.
// Tiles: none; block row y takes parameter y, or batch norm y; a thread takes eight neighbouring elements of a
// parameter at a time, by each_vector. Shared memory: none. Invariants: nothing is written once the step is halted; no
// byte between parameters is touched.

#include "step.cuh"
#include "vector.cuh"

constexpr uint32_t THREADS = 256;

struct SgdTensor {
    uint64_t first;  // its first element in the regions
    uint64_t elements;
    float decay;   // coefficient of the L2 gradient
    float center;  // what it pulls toward
    float rate;    // factor of the learning rate
    uint32_t padding;
};

struct SgdParams {
    const StepInputs* step;
    const StepState* state;
    const SgdTensor* tensors;  // [parameters]
    float* parameters;         // the region
    float* momentum;           // the region
    const float* gradients;    // the region
    float* slow;               // the region
    float keep;                // share of the velocity that is kept
    uint32_t nesterov;
    uint32_t lookahead;
    uint32_t padding;
};

__device__ void sgd(const SgdParams& p) {
    if (p.state->halted) {
        return;
    }
    const SgdTensor tensor = p.tensors[blockIdx.y];
    const float rate = p.step->learning_rate * tensor.rate;
    const float share = p.lookahead ? p.step->lookahead : 0.0f;
    each_vector(tensor.elements, [&](auto width, uint64_t i) {
        const uint64_t at = tensor.first + i;
        auto w = load_vector<width.value>(p.parameters + at), v = load_vector<width.value>(p.momentum + at);
        const auto gradient = load_vector<width.value>(p.gradients + at);
#pragma unroll
        for (uint32_t k = 0; k < width.value; ++k) {
            const float g = gradient.at[k] + tensor.decay * (w.at[k] - tensor.center);
            v.at[k] = p.keep * v.at[k] + g;
            w.at[k] -= rate * (p.nesterov ? g + p.keep * v.at[k] : v.at[k]);
        }
        if (share > 0.0f) {
            auto slow = load_vector<width.value>(p.slow + at);
#pragma unroll
            for (uint32_t k = 0; k < width.value; ++k) {
                slow.at[k] += share * (w.at[k] - slow.at[k]);
            }
            store_vector(p.slow + at, slow);
            w = slow;
        }
        store_vector(p.momentum + at, v);
        store_vector(p.parameters + at, w);
    });
}
RIR_KERNEL(sgd_f32, SgdParams, THREADS, sgd)

// Of one batch norm.
struct Running {
    const float* stats;  // [2, channels]: the batch's mean and biased variance
    float* mean;         // [channels]
    float* variance;     // [channels]
    float unbiased;      // M / (M - 1)
    uint32_t channels;
};

// Batch norms that one launch serves at most: what fits its parameters.
constexpr uint32_t MOST_RUNNING = 64;

struct RunningParams {
    const StepState* state;
    Running running[MOST_RUNNING];
    float weight;  // of the batch
    float keep;    // 1 - weight
};

__device__ void update_running(const RunningParams& p) {
    if (p.state->halted) {
        return;
    }
    const Running& running = p.running[blockIdx.y];
    const uint32_t channels = running.channels;
    for (uint64_t c = grid_thread(); c < channels; c += grid_threads()) {
        running.mean[c] = p.keep * running.mean[c] + p.weight * running.stats[c];
        const float variance = running.stats[channels + c] * running.unbiased;
        running.variance[c] = p.keep * running.variance[c] + p.weight * variance;
    }
}
RIR_KERNEL(update_running_f32, RunningParams, THREADS, update_running)
