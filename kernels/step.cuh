// What a training step shares with the host. A captured argument is frozen, so what changes from step to step is read
// from the card's memory.
#pragma once

#include "rir.cuh"

// Written by the host before every step.
struct StepInputs {
    uint64_t step;  // counted from 0 over the whole run
    uint64_t seed;  // of the augmentation
    float learning_rate;
    float lookahead;  // how far slow weights go toward the fast ones; 0: not in this step
    uint32_t epoch;
    // What the host reads of a step's outcome lies in a ring; this is the step's place in it.
    uint32_t slot;
};

// The card's own: set once a loss is not sane, and from then on the State stays as it was.
struct StepState {
    uint32_t halted;
    uint32_t padding;
};

// A place of the ring, in memory that the host reads at any time. `done` is written last: one more than the step.
struct StepOutcome {
    float loss;
    float correct;
    uint64_t done;
};
