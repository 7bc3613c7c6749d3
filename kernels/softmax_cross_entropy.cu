// Softmax cross-entropy with label smoothing, how many samples are right, and the gradient.
//
//     t = (1 - smoothing) onehot(label) + smoothing / K
//     loss = mean over n of -sum over k of t[n, k] log softmax(logits[n, :])[k]
//     dlogits = dloss * (softmax(logits) - t) / N
//
// Tiles: one block does the whole loss: thread i takes samples i, i + THREADS, ...; then the threads' sums are added in
// order by the first. Backward: one thread a sample. Shared memory: LossSums, 3 KiB.
// Invariants: the order of the sum is fixed by N; the first among equal logits counts; a class without weight adds
// nothing, even where its logit is infinitely unlikely; the exponent's argument is at most 0.

#include "rir.cuh"

constexpr uint32_t THREADS = 256;

struct LossParams {
    const float* logits;    // [N K]
    const int32_t* labels;  // [N]
    float* loss;            // [1]
    float* correct;         // [1]
    double smoothing;
    uint32_t samples;  // N
    uint32_t classes;  // K
};

struct LossSums {
    double loss[THREADS];
    uint32_t correct[THREADS];
};

// A row's largest logit, the first index that has it, and log(sum of exp(logit - largest)).
struct LogSumExp {
    float largest;
    uint32_t best;
    float log_sum;
};

__device__ __forceinline__ LogSumExp log_sum_exp(const float* logits, uint32_t classes) {
    uint32_t best = 0;
    for (uint32_t k = 1; k < classes; ++k) {
        if (logits[k] > logits[best]) {
            best = k;
        }
    }
    float sum = 0.0f;
    for (uint32_t k = 0; k < classes; ++k) {
        sum += expf(logits[k] - logits[best]);
    }
    return {logits[best], best, logf(sum)};
}

// The smoothed target: of the label's class, and of every other.
struct Target {
    float right, wrong;
};

__device__ __forceinline__ Target target(uint32_t classes, double smoothing) {
    const double spread = smoothing / classes;
    return {float(1.0 - smoothing + spread), float(spread)};
}

__device__ void softmax_cross_entropy(const LossParams& p) {
    RIR_SHARED(LossSums, shared);
    const Target t = target(p.classes, p.smoothing);
    double loss = 0.0;
    uint32_t correct = 0;
    for (uint32_t n = threadIdx.x; n < p.samples; n += THREADS) {
        const float* logits = p.logits + uint64_t(n) * p.classes;
        const LogSumExp row = log_sum_exp(logits, p.classes);
        for (uint32_t k = 0; k < p.classes; ++k) {
            const float weight = int32_t(k) == p.labels[n] ? t.right : t.wrong;
            if (weight != 0.0f) {
                loss += weight * (row.log_sum - (logits[k] - row.largest));
            }
        }
        correct += int32_t(row.best) == p.labels[n];
    }
    shared.loss[threadIdx.x] = loss;
    shared.correct[threadIdx.x] = correct;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (uint32_t thread = 1; thread < THREADS; ++thread) {
            loss += shared.loss[thread];
            correct += shared.correct[thread];
        }
        *p.loss = float(loss / p.samples);
        *p.correct = float(correct);
    }
}
RIR_KERNEL(softmax_cross_entropy_f32, LossParams, THREADS, softmax_cross_entropy)

struct LossBackwardParams {
    const float* dloss;     // [1]
    const float* logits;    // [N K]
    const int32_t* labels;  // [N]
    float* dlogits;         // [N K]
    double smoothing;
    uint32_t samples;  // N
    uint32_t classes;  // K
};

__device__ void softmax_cross_entropy_backward(const LossBackwardParams& p) {
    const Target t = target(p.classes, p.smoothing);
    const float factor = *p.dloss / float(p.samples);
    for (uint64_t n = grid_thread(); n < p.samples; n += grid_threads()) {
        const float* logits = p.logits + n * p.classes;
        const LogSumExp row = log_sum_exp(logits, p.classes);
        for (uint32_t k = 0; k < p.classes; ++k) {
            const float probability = expf(logits[k] - row.largest - row.log_sum);
            p.dlogits[n * p.classes + k] = factor * (probability - (int32_t(k) == p.labels[n] ? t.right : t.wrong));
        }
    }
}
RIR_KERNEL(softmax_cross_entropy_backward_f32, LossBackwardParams, THREADS, softmax_cross_entropy_backward)
