// What goes around a training step: its batch is drawn from the data set on the card, and its outcome is reported.
//
//     image[y, x] of sample i: crop by (dy, dx) out of the zero-padded or mirrored normalised image, flip, cut a square
//     (dy, dx, flip, square) = one block of Philox4x32-10, counter (0, i, epoch, purpose), key seed
//     alternating flip = the flip of epoch 0, and the other one in every second epoch
//     normalised = (byte / 255 - mean) * inverse deviation
//
// The same numbers, bit for bit, as `write_sample` and `Augment::draw` on the host: integers, and f32 operations that
// round alike (a quotient, a difference, a product: nothing to contract).
//
// Tiles: none; one thread an element of the batch. Shared memory: none. Index maths: layout.cuh, and `source`.
// Invariants: a sample's index lies in the set; every element of the batch is written once.

#include "layout.cuh"
#include "step.cuh"

constexpr uint32_t THREADS = 256;

struct Words {
    uint32_t word[4];
};

// One block of Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
__device__ __forceinline__ Words philox(Words counter, uint64_t seed) {
    constexpr int ROUNDS = 10;
    constexpr uint32_t MULTIPLIERS[2] = {0xD2511F53, 0xCD9E8D57};
    constexpr uint32_t WEYL[2] = {0x9E3779B9, 0xBB67AE85};
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
    for (int round = 0; round < ROUNDS; ++round) {
        const uint64_t p0 = uint64_t(c0) * MULTIPLIERS[0], p1 = uint64_t(c2) * MULTIPLIERS[1];
        c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
        c1 = uint32_t(p1);
        c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
        c3 = uint32_t(p0);
        k0 += WEYL[0];
        k1 += WEYL[1];
    }
    return {{c0, c1, c2, c3}};
}

constexpr int32_t OUTSIDE = -1;

// The row or column of an image, of `size`, that the crop's `at` shows; OUTSIDE beyond a zero border.
__device__ __forceinline__ int32_t source(int32_t at, int32_t shift, int32_t size, bool reflect) {
    const int32_t from = at + shift, last = size - 1;
    if (reflect) {
        const int32_t folded = from < 0 ? -from : from;
        return folded > last ? 2 * last - folded : folded;
    }
    return from >= 0 && from <= last ? from : OUTSIDE;
}

// Whether a square of `side` pixels, its middle at a 2^-16th of `size`, covers a row or column.
__device__ __forceinline__ bool covers(uint32_t side, uint32_t middle, uint32_t size, uint32_t at) {
    const int32_t first = int32_t((middle * size) >> 16) - int32_t(side / 2);
    return int32_t(at) >= first && int32_t(at) < first + int32_t(side);
}

struct BatchParams {
    const StepInputs* step;
    const uint32_t* samples;  // [N] indices into the set
    const uint8_t* pixels;    // [set H W C]
    const uint16_t* classes;  // [set]
    const float* mean;        // [H W C], or [C]
    const float* inverse;     // [C]
    float* images;            // [N H W C]
    int32_t* labels;          // [N]
    uint32_t batch;           // N
    uint32_t height;          // H
    uint32_t width;           // W
    uint32_t channels;        // C
    uint32_t mean_is_per_pixel;
    uint32_t pad;        // crop offsets are -pad to pad
    uint32_t flip;       // whether one image in two is mirrored
    uint32_t alternate;  // whether those are the others in every second epoch
    uint32_t reflect;    // whether the border mirrors the image
    uint32_t cutout;     // pixels of the side of the square that is cut; 0: none
    uint32_t purpose;    // the stream of random numbers
    uint32_t padding;
};

__device__ void draw_batch(const BatchParams& p) {
    const uint64_t image = uint64_t(p.height) * p.width * p.channels;
    const uint32_t offsets = 2 * p.pad + 1;
    for (uint64_t i = grid_thread(); i < p.batch * image; i += grid_threads()) {
        const Place at = place_of(i, p.height, p.width, p.channels);
        const uint32_t sample = p.samples[at.image];
        const Words words = philox({{0, sample, p.step->epoch, p.purpose}}, p.step->seed);
        const int32_t dy = int32_t(words.word[0] % offsets) - int32_t(p.pad);
        const int32_t dx = int32_t(words.word[1] % offsets) - int32_t(p.pad);
        uint32_t coin = words.word[2];
        if (p.alternate) {
            coin = philox({{0, sample, 0, p.purpose}}, p.step->seed).word[2] ^ p.step->epoch;
        }
        const bool mirrored = p.flip && (coin & 1);
        const uint32_t place = words.word[3];
        const bool cut = p.cutout && covers(p.cutout, place & 0xFFFF, p.height, at.row) &&
                         covers(p.cutout, place >> 16, p.width, at.column);
        const int32_t column = mirrored ? int32_t(p.width - 1 - at.column) : int32_t(at.column);
        const int32_t y = source(int32_t(at.row), dy, int32_t(p.height), p.reflect);
        const int32_t x = source(column, dx, int32_t(p.width), p.reflect);
        float value = 0.0f;
        if (!cut && y != OUTSIDE && x != OUTSIDE) {
            const uint64_t pixel = (uint64_t(y) * p.width + uint32_t(x)) * p.channels + at.channel;
            const float mean = p.mean[p.mean_is_per_pixel ? pixel : at.channel];
            value = (float(p.pixels[sample * image + pixel]) / 255.0f - mean) * p.inverse[at.channel];
        }
        p.images[i] = value;
        if (i % image == 0) {
            p.labels[at.image] = p.classes[sample];
        }
    }
}
RIR_KERNEL(step_batch, BatchParams, THREADS, draw_batch)

struct ReportParams {
    const StepInputs* step;
    const float* loss;     // [1]
    const float* correct;  // [1]
    StepState* state;
    StepOutcome* ring;  // [slots], in the host's memory
    float exploded;     // a loss above this is not sane, nor one that is not a number
    uint32_t padding;
};

// One thread. Runs after the gradients and before the update, which it may halt.
__device__ void report(const ReportParams& p) {
    const float loss = *p.loss;
    if (!(loss <= p.exploded)) {
        p.state->halted = 1;
    }
    volatile StepOutcome& outcome = p.ring[p.step->slot];
    outcome.loss = loss;
    outcome.correct = *p.correct;
    __threadfence_system();
    outcome.done = p.step->step + 1;
}
RIR_KERNEL(step_report, ReportParams, 1, report)
