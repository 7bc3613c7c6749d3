// ldmatrix, stmatrix and mma.sync: what a warp's 32 lanes do together, once all have come.
#pragma once

#include <cstdint>

namespace rir::emu {

class Machine;
struct Thread;

// What a lane brings to ldmatrix or stmatrix: the 16-byte row that it names, and a register for each matrix.
struct MovedMatrices {
    uintptr_t row;
    uint32_t* registers;
};

// What a lane brings to mma.m16n8k16 of bf16: its fragments.
struct MultipliedMatrices {
    float* sums;        // of D = A B + C, in C's place: 4
    const uint32_t* a;  // 4 pairs of bf16
    const uint32_t* b;  // 2
};

// By the call of every lane of a warp, in the order of lanes. A faulty access is made by the lane that names it, which
// `running` then is.
void move_matrices(Machine& machine, Thread* const* lanes);
void multiply_matrices(Thread* const* lanes);

}  // namespace rir::emu
