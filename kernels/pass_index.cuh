// How a pass over the rows of a [rows, channels] matrix is shared out among the threads of a grid: tests/pass_index.cpp
// proves on the host that every element has one thread.
//
// A row is `vectors` of neighbouring channels. Rows fall into runs, one for each y of the grid, whose threads lie over
// them as the vectors do in memory: a warp moves neighbours. A thread owns one vector of a row, so that what belongs to
// its channels stays in its registers, and takes every step-th row of its run; the launch sees to it that a run has a
// multiple of a row's vectors for threads, or as many as all vectors.
//
// A card starts the blocks of a grid in the order of their numbers, x before y. Descending, they begin with the last
// row: the convolution before, which ascends, wrote it last and left it in the L2 cache; and they end with the first,
// where the next convolution begins.
#pragma once

#include <cstdint>

#include "host.cuh"

// A thread's rows of the vector that it owns.
struct Pass {
    uint32_t vector;  // of a row
    uint32_t left;    // rows, this one among them
    uint32_t row;
    uint32_t step;  // to the next, modulo 2^32

    __host__ __device__ constexpr void advance() {
        row += step;
        --left;
    }
};

// Of thread `thread` of the `threads` of run `run` of `runs`.
__host__ __device__ constexpr Pass pass_of(uint32_t thread, uint32_t threads, uint32_t run, uint32_t runs,
                                           uint32_t rows, uint32_t vectors, bool descending) {
    const uint32_t most = (rows + runs - 1) / runs, before = run * most;
    const uint32_t of_run = before < rows ? (rows - before < most ? rows - before : most) : 0;
    const uint32_t first = thread / vectors, step = threads / vectors;
    const uint32_t left = first < of_run ? (of_run - first + step - 1) / step : 0;
    const uint32_t vector = thread % vectors, row = before + first;
    if (descending) {
        // Seen from the matrix' end: a warp's vectors are neighbours as they are from its beginning.
        return {vectors - 1 - vector, left, rows - 1 - row, 0 - step};
    }
    return {vector, left, row, step};
}
