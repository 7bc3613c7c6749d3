// ldmatrix, stmatrix and mma.sync: what every lane and register holds, and each misuse.
#include "params.hpp"
#include "ptx.cuh"

// Four 8 x 8 matrices of 16-bit elements, row by row.
struct Matrices {
    uint4 rows[32];
};

__device__ void fill(Matrices& matrices, const TestParams& p) {
    matrices.rows[threadIdx.x] = reinterpret_cast<const uint4*>(p.x)[threadIdx.x];
    __syncwarp();
}

// counts [32 lanes][COUNT] = the registers of each lane.
template <bool TRANSPOSED, unsigned COUNT>
__device__ void load_matrices(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    fill(matrices, p);
    uint32_t got[COUNT];
    // Rows that the instruction does not ask for may be named anywhere.
    const bool asked = threadIdx.x < 8 * COUNT;
    ptx::load_matrices<TRANSPOSED>(got, asked ? static_cast<const void*>(&matrices.rows[threadIdx.x]) : p.x);
    for (unsigned i = 0; i < COUNT; ++i) p.counts[threadIdx.x * COUNT + i] = got[i];
}
RIR_KERNEL(test_load_matrices_1, TestParams, 32, load_matrices<false, 1>)
RIR_KERNEL(test_load_matrices_2, TestParams, 32, load_matrices<false, 2>)
RIR_KERNEL(test_load_matrices_4, TestParams, 32, load_matrices<false, 4>)
RIR_KERNEL(test_load_matrices_1_transposed, TestParams, 32, load_matrices<true, 1>)
RIR_KERNEL(test_load_matrices_2_transposed, TestParams, 32, load_matrices<true, 2>)
RIR_KERNEL(test_load_matrices_4_transposed, TestParams, 32, load_matrices<true, 4>)

// counts [COUNT][8 rows][4 pairs] = what registers 100 lane + i become in shared memory.
template <unsigned COUNT>
__device__ void store_matrices(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    uint32_t given[COUNT];
    for (unsigned i = 0; i < COUNT; ++i) given[i] = threadIdx.x * 100 + i;
    ptx::store_matrices(&matrices.rows[threadIdx.x], given);
    __syncwarp();
    if (threadIdx.x < 8 * COUNT) reinterpret_cast<uint4*>(p.counts)[threadIdx.x] = matrices.rows[threadIdx.x];
}
RIR_KERNEL(test_store_matrices_1, TestParams, 32, store_matrices<1>)
RIR_KERNEL(test_store_matrices_2, TestParams, 32, store_matrices<2>)
RIR_KERNEL(test_store_matrices_4, TestParams, 32, store_matrices<4>)

// y [32 lanes][4] += A B for the fragments counts [32 lanes][6]: 4 of A, then 2 of B.
__device__ void multiply(const TestParams& p) {
    const unsigned* given = p.counts + threadIdx.x * 6;
    const uint32_t a[4] = {given[0], given[1], given[2], given[3]};
    const uint32_t b[2] = {given[4], given[5]};
    float sums[4];
    for (unsigned i = 0; i < 4; ++i) sums[i] = p.y[threadIdx.x * 4 + i];
    ptx::multiply_matrices(sums, a, b);
    for (unsigned i = 0; i < 4; ++i) p.y[threadIdx.x * 4 + i] = sums[i];
}
RIR_KERNEL(test_multiply_matrices, TestParams, 32, multiply)

__device__ void misaligned_row(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    fill(matrices, p);
    uint32_t got[1];
    const char* row = reinterpret_cast<const char*>(&matrices.rows[threadIdx.x % 8]);
    ptx::load_matrices<false>(got, row + (threadIdx.x == 3 ? 8 : 0));
    p.counts[threadIdx.x] = got[0];
}
RIR_KERNEL(test_misaligned_row, TestParams, 32, misaligned_row)

__device__ void row_past_end(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    const uint32_t given[4] = {};
    ptx::store_matrices(&matrices.rows[threadIdx.x + 1], given);
    p.counts[threadIdx.x] = 0;
}
RIR_KERNEL(test_row_past_end, TestParams, 32, row_past_end)

__device__ void row_in_global(const TestParams& p) {
    uint32_t got[4];
    ptx::load_matrices<true>(got, p.x + 4 * threadIdx.x);
    p.counts[threadIdx.x] = got[0];
}
RIR_KERNEL(test_row_in_global, TestParams, 32, row_in_global)

__device__ void unwritten_row(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    if (threadIdx.x != 9) matrices.rows[threadIdx.x] = reinterpret_cast<const uint4*>(p.x)[threadIdx.x];
    __syncwarp();
    uint32_t got[2];
    ptx::load_matrices<false>(got, &matrices.rows[threadIdx.x]);
    p.counts[threadIdx.x] = got[1];
}
RIR_KERNEL(test_unwritten_row, TestParams, 32, unwritten_row)

// Every lane names the row that it wrote, but gets parts of others'.
__device__ void load_without_barrier(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    matrices.rows[threadIdx.x] = reinterpret_cast<const uint4*>(p.x)[threadIdx.x];
    uint32_t got[4];
    ptx::load_matrices<false>(got, &matrices.rows[threadIdx.x]);
    p.counts[threadIdx.x] = got[0];
}
RIR_KERNEL(test_load_without_barrier, TestParams, 32, load_without_barrier)

__device__ void store_without_barrier(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    fill(matrices, p);
    const uint4 old = matrices.rows[(threadIdx.x + 1) % 32];
    const uint32_t given[4] = {};
    ptx::store_matrices(&matrices.rows[threadIdx.x], given);
    p.counts[threadIdx.x] = old.x;
}
RIR_KERNEL(test_store_without_barrier, TestParams, 32, store_without_barrier)

__device__ void lane_missing(const TestParams& p) {
    if (threadIdx.x == 5) return;
    float sums[4] = {};
    const uint32_t a[4] = {}, b[2] = {};
    ptx::multiply_matrices(sums, a, b);
    p.y[threadIdx.x] = sums[0];
}
RIR_KERNEL(test_lane_missing, TestParams, 32, lane_missing)

__device__ void other_instruction(const TestParams& p) {
    RIR_SHARED(Matrices, matrices);
    fill(matrices, p);
    uint32_t got[1];
    if (threadIdx.x < 16) {
        ptx::load_matrices<false>(got, &matrices.rows[threadIdx.x]);
    } else {
        ptx::load_matrices<true>(got, &matrices.rows[threadIdx.x]);
    }
    p.counts[threadIdx.x] = got[0];
}
RIR_KERNEL(test_other_instruction, TestParams, 32, other_instruction)

// Rows 32 bytes apart: 8 of them take two passes over the banks.
struct Apart {
    uint4 rows[32][2];
};
__device__ void rows_apart(const TestParams& p) {
    RIR_SHARED(Apart, apart);
    apart.rows[threadIdx.x][0] = reinterpret_cast<const uint4*>(p.x)[threadIdx.x];
    __syncwarp();
    uint32_t got[2];
    ptx::load_matrices<false>(got, &apart.rows[threadIdx.x][0]);
    p.counts[threadIdx.x] = got[0];
}
RIR_KERNEL(test_rows_apart, TestParams, 32, rows_apart)
