// CUDA's short vectors. A card moves one by one access of its whole size, aligned to it, where the host's compiler
// would split the copy; so copying is a call to the runtime, which reports one access and then moves the bytes. The
// call is not inline: its return address is the kernel's line.
#pragma once

#include "builtins.hpp"

#define RIR_COPIED_AS_ONE(Vector) \
    Vector() = default;           \
    Vector(const Vector& other);  \
    Vector& operator=(const Vector& other);

#define RIR_VECTOR_2(Vector, Element)                \
    struct alignas(2 * sizeof(Element)) Vector {     \
        Element x, y;                                \
        RIR_COPIED_AS_ONE(Vector)                    \
        Vector(Element x, Element y) : x(x), y(y) {} \
    };                                               \
    __forceinline__ Vector make_##Vector(Element x, Element y) { return Vector(x, y); }

// Of 8-byte elements too: a card's widest access is 16 bytes, so that those are only 2 elements long.
#define RIR_VECTOR_4(Vector, Element)                                                  \
    struct alignas(4 * sizeof(Element)) Vector {                                       \
        Element x, y, z, w;                                                            \
        RIR_COPIED_AS_ONE(Vector)                                                      \
        Vector(Element x, Element y, Element z, Element w) : x(x), y(y), z(z), w(w) {} \
    };                                                                                 \
    __forceinline__ Vector make_##Vector(Element x, Element y, Element z, Element w) { return Vector(x, y, z, w); }

RIR_VECTOR_2(char2, signed char)
RIR_VECTOR_2(uchar2, unsigned char)
RIR_VECTOR_2(short2, short)
RIR_VECTOR_2(ushort2, unsigned short)
RIR_VECTOR_2(int2, int)
RIR_VECTOR_2(uint2, unsigned)
RIR_VECTOR_2(float2, float)
RIR_VECTOR_2(longlong2, long long)
RIR_VECTOR_2(ulonglong2, unsigned long long)
RIR_VECTOR_2(double2, double)
RIR_VECTOR_4(char4, signed char)
RIR_VECTOR_4(uchar4, unsigned char)
RIR_VECTOR_4(short4, short)
RIR_VECTOR_4(ushort4, unsigned short)
RIR_VECTOR_4(int4, int)
RIR_VECTOR_4(uint4, unsigned)
RIR_VECTOR_4(float4, float)

#undef RIR_VECTOR_2
#undef RIR_VECTOR_4

// Three elements have no access of their own: they are aligned, and moved, one by one.
struct int3 {
    int x, y, z;
};
struct float3 {
    float x, y, z;
};
__forceinline__ uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
__forceinline__ int3 make_int3(int x, int y, int z) { return {x, y, z}; }
__forceinline__ float3 make_float3(float x, float y, float z) { return {x, y, z}; }
