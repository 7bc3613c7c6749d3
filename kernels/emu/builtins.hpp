// CUDA's qualifiers, built-in variables and plain arithmetic, as the host's compiler takes them.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define __device__
#define __host__
#define __global__
#define __constant__ const
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace rir::emu {

// Of the running thread. A thread's never change, so that the compiler may keep what it got.
uint3 thread_index() __attribute__((const));
uint3 block_index() __attribute__((const));
dim3 block_extent() __attribute__((const));
dim3 grid_extent() __attribute__((const));

[[noreturn]] void assertion(const char* text, const char* file, int line);

// CUDA promises these for the arguments where C++ does not.
template <typename To, typename From>
__forceinline__ To bits(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}
__forceinline__ float rsqrt(float x) { return 1.0f / sqrtf(x); }

}  // namespace rir::emu

#define threadIdx (::rir::emu::thread_index())
#define blockIdx (::rir::emu::block_index())
#define blockDim (::rir::emu::block_extent())
#define gridDim (::rir::emu::grid_extent())
constexpr int warpSize = 32;

#undef assert
#define assert(condition) ((condition) ? void() : ::rir::emu::assertion(#condition, __FILE__, __LINE__))

// min and max of like types, and of the mixed integers that CUDA takes: to unsigned where either is.
#define RIR_MIN_MAX(A, B, Result)                                           \
    __forceinline__ Result min(A a, B b) { return std::min<Result>(a, b); } \
    __forceinline__ Result max(A a, B b) { return std::max<Result>(a, b); }
RIR_MIN_MAX(int, int, int)
RIR_MIN_MAX(unsigned, unsigned, unsigned)
RIR_MIN_MAX(int, unsigned, unsigned)
RIR_MIN_MAX(unsigned, int, unsigned)
RIR_MIN_MAX(long, long, long)
RIR_MIN_MAX(unsigned long, unsigned long, unsigned long)
RIR_MIN_MAX(long, unsigned long, unsigned long)
RIR_MIN_MAX(unsigned long, long, unsigned long)
RIR_MIN_MAX(long long, long long, long long)
RIR_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
RIR_MIN_MAX(long long, unsigned long long, unsigned long long)
RIR_MIN_MAX(unsigned long long, long long, unsigned long long)
#undef RIR_MIN_MAX
__forceinline__ float min(float a, float b) { return fminf(a, b); }
__forceinline__ float max(float a, float b) { return fmaxf(a, b); }
__forceinline__ double min(double a, double b) { return fmin(a, b); }
__forceinline__ double max(double a, double b) { return fmax(a, b); }

// The host's mathematics stands in for the card's, which may differ in the last bits. Macros, since some C libraries
// declare functions of these names.
#define rsqrtf(x) (::rir::emu::rsqrt(x))
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
__forceinline__ float __fdividef(float x, float y) { return x / y; }
__forceinline__ float __frsqrt_rn(float x) { return rir::emu::rsqrt(x); }
__forceinline__ float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

// Rounded to nearest, and never contracted.
__forceinline__ float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
__forceinline__ float __fadd_rn(float x, float y) { return x + y; }
__forceinline__ float __fsub_rn(float x, float y) { return x - y; }
__forceinline__ float __fmul_rn(float x, float y) { return x * y; }
__forceinline__ float __fdiv_rn(float x, float y) { return x / y; }
__forceinline__ float __frcp_rn(float x) { return 1.0f / x; }
__forceinline__ float __fsqrt_rn(float x) { return sqrtf(x); }
__forceinline__ int __float2int_rn(float x) { return int(rintf(x)); }
__forceinline__ int __float2int_rz(float x) { return int(x); }
__forceinline__ float __int2float_rn(int x) { return float(x); }
__forceinline__ float __uint2float_rn(unsigned x) { return float(x); }

__forceinline__ int __popc(unsigned x) { return __builtin_popcount(x); }
__forceinline__ int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
__forceinline__ int __ffs(int x) { return __builtin_ffs(x); }
__forceinline__ int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
__forceinline__ int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll((unsigned long long)x); }
__forceinline__ unsigned __umulhi(unsigned x, unsigned y) { return unsigned(uint64_t(x) * y >> 32); }
__forceinline__ int __mulhi(int x, int y) { return int(int64_t(x) * y >> 32); }
__forceinline__ unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1u) << (31 - bit);
    return reversed;
}

__forceinline__ unsigned __float_as_uint(float x) { return rir::emu::bits<unsigned>(x); }
__forceinline__ int __float_as_int(float x) { return rir::emu::bits<int>(x); }
__forceinline__ float __uint_as_float(unsigned x) { return rir::emu::bits<float>(x); }
__forceinline__ float __int_as_float(int x) { return rir::emu::bits<float>(x); }

// The read-only data cache does not exist here: a load is a load.
template <typename T>
__forceinline__ T __ldg(const T* address) {
    return *address;
}
