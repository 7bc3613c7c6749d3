// Atomics in global and shared memory: each returns what was there before. They are relaxed, and order nothing.
#pragma once

#define RIR_ATOMICS_OF_INTEGER(T)      \
    T atomicAdd(T* address, T value);  \
    T atomicSub(T* address, T value);  \
    T atomicMin(T* address, T value);  \
    T atomicMax(T* address, T value);  \
    T atomicAnd(T* address, T value);  \
    T atomicOr(T* address, T value);   \
    T atomicXor(T* address, T value);  \
    T atomicExch(T* address, T value); \
    T atomicCAS(T* address, T compare, T value);

RIR_ATOMICS_OF_INTEGER(int)
RIR_ATOMICS_OF_INTEGER(unsigned)
RIR_ATOMICS_OF_INTEGER(unsigned long long)
#undef RIR_ATOMICS_OF_INTEGER

float atomicAdd(float* address, float value);
float atomicExch(float* address, float value);
double atomicAdd(double* address, double value);
