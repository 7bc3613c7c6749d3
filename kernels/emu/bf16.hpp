// bfloat16 as cuda_bf16.h has it: storage and conversions, no arithmetic.
#pragma once

#include "vectors.hpp"

// Rounds to nearest, ties to even; every NaN becomes the canonical one, 0x7fff (PTX ISA, cvt).
struct alignas(2) __nv_bfloat16 {
    unsigned short bits;

    __nv_bfloat16() = default;
    __nv_bfloat16(float value) {
        const unsigned wide = __float_as_uint(value);
        const bool nan = (wide & 0x7fffffffu) > 0x7f800000u;
        bits = nan ? 0x7fff : (unsigned short)((wide + 0x7fffu + (wide >> 16 & 1u)) >> 16);
    }
    operator float() const { return __uint_as_float(unsigned(bits) << 16); }
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;

    RIR_COPIED_AS_ONE(__nv_bfloat162)
    __nv_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) : x(x), y(y) {}
};

#undef RIR_COPIED_AS_ONE

__forceinline__ __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
__forceinline__ __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
__forceinline__ float __bfloat162float(__nv_bfloat16 value) { return value; }
__forceinline__ __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 value;
    value.bits = bits;
    return value;
}
__forceinline__ unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }

__forceinline__ __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
__forceinline__ __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 both) { return {both, both}; }
__forceinline__ __nv_bfloat162 __float2bfloat162_rn(float both) { return {both, both}; }
__forceinline__ __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
__forceinline__ __nv_bfloat162 __float22bfloat162_rn(const float2& pair) { return {pair.x, pair.y}; }
__forceinline__ float2 __bfloat1622float2(const __nv_bfloat162& pair) { return {pair.x, pair.y}; }
__forceinline__ __nv_bfloat16 __low2bfloat16(const __nv_bfloat162& pair) { return pair.x; }
__forceinline__ __nv_bfloat16 __high2bfloat16(const __nv_bfloat162& pair) { return pair.y; }
__forceinline__ float __low2float(const __nv_bfloat162& pair) { return pair.x; }
__forceinline__ float __high2float(const __nv_bfloat162& pair) { return pair.y; }
