// What the card at hand can do, measured where nothing else limits it: the two lines of a roofline.
//
// copy: memory alone. A thread moves 16 bytes at a time, UNROLL of them before it waits; thread t of T takes vectors
// t + T (UNROLL i + u). Shared memory: none.
// multiply_matrices, multiply_add: arithmetic alone. Every operand stays in registers; a warp has SUMS independent
// sums, so that each waits for the one of the round before and for nothing else. Operands are random, since zeros draw
// less power and let the clock rise. The sums are stored at the end, or the compiler would drop the loop.
//
// multiply_matrices counts WARPS * rounds * A * B * 16 * 8 * 16 * 2 FLOP, multiply_add threads * rounds * SUMS * 2.

#include "ptx.cuh"

constexpr uint32_t THREADS = 256;
constexpr int UNROLL = 4;

struct CopyParams {
    const void* from;  // [vectors], 16 bytes each
    void* to;          // [vectors]
    uint64_t vectors;
};

__device__ void copy(const CopyParams& p) {
    const uint4* from = static_cast<const uint4*>(p.from);
    uint4* to = static_cast<uint4*>(p.to);
    for (uint64_t i = grid_thread(); i < p.vectors; i += UNROLL * grid_threads()) {
        uint4 held[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            const uint64_t at = i + u * grid_threads();
            if (at < p.vectors) held[u] = ptx::load_streaming(from + at);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            const uint64_t at = i + u * grid_threads();
            if (at < p.vectors) ptx::store_streaming(to + at, held[u]);
        }
    }
}
RIR_KERNEL(rates_copy, CopyParams, THREADS, copy)

struct LoopParams {
    void* sums;  // [threads] f32
    uint32_t rounds;
    uint32_t padding;
};

// 32 random bits for this thread and operand `n`: the finaliser of MurmurHash3 (Appleby, 2011).
__device__ __forceinline__ uint32_t random_bits(uint32_t n) {
    uint32_t x = (uint32_t(grid_thread()) + 1) * 0x9e3779b9u + n * 0x7f4a7c15u;
    x = (x ^ (x >> 16)) * 0x85ebca6bu;
    x = (x ^ (x >> 13)) * 0xc2b2ae35u;
    return x ^ (x >> 16);
}

// Two bf16 numbers from 1/2 to 2, of either sign: sign and mantissa random, and the lowest bit of the exponent between
// 126 and 127.
__device__ __forceinline__ uint32_t random_pair(uint32_t n) {
    const uint32_t bits = random_bits(n);
    const uint32_t exponents = 0x3f003f00u + (bits & 0x00800080u);
    return (bits & 0x807f807fu) | exponents;
}

// Fragments of a and of b: each a meets each b.
constexpr int A = 2, B = 4;

__device__ void multiply_matrices(const LoopParams& p) {
    uint32_t a[A][4], b[B][2];
    float sums[A][B][4] = {};
#pragma unroll
    for (int i = 0; i < A * 4; ++i) a[i / 4][i % 4] = random_pair(i);
#pragma unroll
    for (int i = 0; i < B * 2; ++i) b[i / 2][i % 2] = random_pair(A * 4 + i);
    for (uint32_t round = 0; round < p.rounds; ++round) {
#pragma unroll
        for (int i = 0; i < A; ++i) {
#pragma unroll
            for (int j = 0; j < B; ++j) ptx::multiply_matrices(sums[i][j], a[i], b[j]);
        }
    }
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < A * B * 4; ++i) total += sums[i / (B * 4)][i / 4 % B][i % 4];
    static_cast<float*>(p.sums)[grid_thread()] = total;
}
RIR_KERNEL(rates_multiply_matrices, LoopParams, THREADS, multiply_matrices)

constexpr int SUMS = 16;

__device__ void multiply_add(const LoopParams& p) {
    float sums[SUMS];
    // Factors a little under 1, so that the sums neither grow nor vanish.
    const float factor = 1.0f - float(random_bits(0) >> 8) * 0x1p-32f;
#pragma unroll
    for (int i = 0; i < SUMS; ++i) sums[i] = float(random_bits(1 + i) >> 8) * 0x1p-24f;
    const float term = sums[0] * 0x1p-8f;
    for (uint32_t round = 0; round < p.rounds; ++round) {
#pragma unroll
        for (int i = 0; i < SUMS; ++i) sums[i] = fmaf(sums[i], factor, term);
    }
    float total = 0.0f;
#pragma unroll
    for (int i = 0; i < SUMS; ++i) total += sums[i];
    static_cast<float*>(p.sums)[grid_thread()] = total;
}
RIR_KERNEL(rates_multiply_add, LoopParams, THREADS, multiply_add)
