// Products of warp groups, of operands that lie in shared memory as the test has put them.
#include "params.hpp"
#include "ptx_wgmma.cuh"

struct alignas(1024) Operands {
    uint4 bytes[10 << 10];
};

__device__ __forceinline__ uint64_t descriptor_of(const Operands& operands, const OperandPlace& place, uint32_t group,
                                                  uint32_t swizzle) {
    const auto* begin = reinterpret_cast<const unsigned char*>(operands.bytes);
    return ptx::matrix_descriptor(begin + place.offset + group * place.group, ptx::Swizzle(swizzle), place.leading,
                                  place.stride);
}

// What a thread's sums begin with, and where they go.
template <unsigned SUMS>
__device__ __forceinline__ float* sums_of_thread(const ProductParams& p) {
    return p.y + threadIdx.x * SUMS;
}

// By stores, or by cp.async.
template <bool COPIES>
__device__ __forceinline__ void put_operands(const ProductParams& p, Operands& operands) {
    const uint4* image = static_cast<const uint4*>(p.image);
    for (uint32_t i = threadIdx.x; i < p.image_bytes / 16; i += blockDim.x) {
        if (COPIES) {
            ptx::copy_async<16>(&operands.bytes[i], image + i);
        } else {
            operands.bytes[i] = image[i];
        }
    }
    if (COPIES) ptx::copy_async_wait_all();
    ptx::fence_async_shared();
    __syncthreads();
}

template <ptx::Major A, ptx::Major B, unsigned N, bool COPIES = false>
__device__ void multiply(const ProductParams& p) {
    RIR_SHARED_DYNAMIC(Operands, operands);
    put_operands<COPIES>(p, operands);
    float* out = sums_of_thread<N / 2>(p);
    float sums[N / 2];
    for (unsigned i = 0; i < N / 2; ++i) sums[i] = out[i];
    const uint32_t group = threadIdx.x / 128;
    uint64_t a = descriptor_of(operands, p.a, group, p.swizzle), b = descriptor_of(operands, p.b, group, p.swizzle);
    ptx::warpgroup_fence();
    for (uint32_t product = 0; product < p.products; ++product) {
        ptx::multiply_warpgroup<A, B>(sums, a, b, p.accumulate || product > 0);
        a += p.a.step / 16;
        b += p.b.step / 16;
        if ((product + 1) % p.of_group != 0 && product + 1 < p.products) continue;
        ptx::warpgroup_commit();
        if (p.behind == 1) {
            ptx::warpgroup_wait<1>();
        } else {
            ptx::warpgroup_wait<0>();
        }
        if (!p.one_fence) ptx::warpgroup_fence();
    }
    ptx::warpgroup_wait<0>();
    ptx::warpgroup_keep(sums);
    for (unsigned i = 0; i < N / 2; ++i) out[i] = sums[i];
}

#define ORDERS(N)                                                                                            \
    RIR_KERNEL(test_multiply_kk_##N, ProductParams, 256, multiply<ptx::Major::Depth, ptx::Major::Depth, N>)  \
    RIR_KERNEL(test_multiply_km_##N, ProductParams, 256, multiply<ptx::Major::Depth, ptx::Major::Across, N>) \
    RIR_KERNEL(test_multiply_mk_##N, ProductParams, 256, multiply<ptx::Major::Across, ptx::Major::Depth, N>) \
    RIR_KERNEL(test_multiply_mm_##N, ProductParams, 256, multiply<ptx::Major::Across, ptx::Major::Across, N>)
ORDERS(64)
ORDERS(96)
ORDERS(192)
ORDERS(256)
RIR_KERNEL(test_multiply_copied, ProductParams, 128, multiply<ptx::Major::Depth, ptx::Major::Depth, 64, true>)
#if !defined(__CUDACC__)
// No kernel has use for their operands in asm.
ORDERS(8)
ORDERS(24)
#endif

// With A in registers, all products' at once; in turns of two groups as above.
template <ptx::Major B, unsigned N>
__device__ void multiply_registers(const ProductParams& p) {
    RIR_SHARED_DYNAMIC(Operands, operands);
    constexpr unsigned MOST = 4;
    uint32_t a[MOST][4];
    for (unsigned product = 0; product < MOST; ++product) {
        for (unsigned i = 0; i < 4; ++i) {
            a[product][i] = product < p.products ? p.fragments[(product * blockDim.x + threadIdx.x) * 4 + i] : 0;
        }
    }
    put_operands<false>(p, operands);
    float* out = sums_of_thread<N / 2>(p);
    float sums[N / 2];
    for (unsigned i = 0; i < N / 2; ++i) sums[i] = out[i];
    uint64_t b = descriptor_of(operands, p.b, 0, p.swizzle);
    ptx::warpgroup_fence();
#pragma unroll
    for (unsigned product = 0; product < MOST; ++product) {
        if (product == p.products) break;
        ptx::multiply_warpgroup_registers<B>(sums, a[product], b, p.accumulate || product > 0);
        b += p.b.step / 16;
        if ((product + 1) % p.of_group == 0) ptx::warpgroup_commit();
    }
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    ptx::warpgroup_keep(sums);
    for (unsigned i = 0; i < N / 2; ++i) out[i] = sums[i];
}
RIR_KERNEL(test_multiply_rk_96, ProductParams, 128, multiply_registers<ptx::Major::Depth, 96>)
RIR_KERNEL(test_multiply_rm_192, ProductParams, 128, multiply_registers<ptx::Major::Across, 192>)

// The sums of a product, rounded, are operand A of the next without an exchange, as in attention: a thread's sums 8 k
// to 8 k + 7 are elements of depths 16 k on.
__device__ void multiply_chain(const ProductParams& p) {
    RIR_SHARED_DYNAMIC(Operands, operands);
    put_operands<false>(p, operands);
    float first[32], sums[32];
    const uint64_t b = descriptor_of(operands, p.b, 0, p.swizzle);
    ptx::warpgroup_fence();
    ptx::multiply_warpgroup<ptx::Major::Depth, ptx::Major::Depth>(first, descriptor_of(operands, p.a, 0, p.swizzle), b,
                                                                  false);
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    ptx::warpgroup_keep(first);
    uint32_t a[4][4];
    for (unsigned i = 0; i < 32; i += 2) {
        const uint32_t low = __float_as_uint(first[i]) >> 16, high = __float_as_uint(first[i + 1]) & 0xffff0000u;
        a[i / 8][i / 2 % 4] = high | low;
    }
    // B is the first's again for each 16 of the depths.
    ptx::warpgroup_fence();
#pragma unroll
    for (unsigned k = 0; k < 4; ++k) {
        ptx::multiply_warpgroup_registers<ptx::Major::Depth>(sums, a[k], b, k > 0);
    }
    ptx::warpgroup_commit();
    ptx::warpgroup_wait<0>();
    ptx::warpgroup_keep(sums);
    for (unsigned i = 0; i < 32; ++i) sums_of_thread<32>(p)[i] = sums[i];
}
RIR_KERNEL(test_multiply_chain, ProductParams, 128, multiply_chain)
