// The matrix instruction, for rates.cu alone, until ptx.cuh has it with its twin.
#pragma once

#include "ptx.cuh"

namespace ptx {

// mma.m16n8k16: sums += a b, of bf16 in f32.
__device__ __forceinline__ void multiply_matrices(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
        "%2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    // Some sum of the operands: rates.cu asks for speed, not for the product.
    for (int i = 0; i < 4; ++i) sums[i] += float(a[i] & 0xff) + float(b[i % 2] & 0xff);
#endif
}

}  // namespace ptx
