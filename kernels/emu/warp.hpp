// Barriers, shuffles and votes. All but the fences wait for other threads; README.md says which order memory.
#pragma once

#include <cstdint>

#include "builtins.hpp"

// The default arguments are the caller's line: what tells one barrier from another, and what a fault names.
#define RIR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

void __syncthreads(RIR_HERE);
int __syncthreads_count(int predicate, RIR_HERE);
int __syncthreads_and(int predicate, RIR_HERE);
int __syncthreads_or(int predicate, RIR_HERE);

void __syncwarp(unsigned mask = 0xffffffffu, RIR_HERE);
unsigned __ballot_sync(unsigned mask, int predicate, RIR_HERE);
int __all_sync(unsigned mask, int predicate, RIR_HERE);
int __any_sync(unsigned mask, int predicate, RIR_HERE);
// Which lanes run together is up to the card, at each call anew; here every lane runs alone.
unsigned __activemask();

// A thread's own accesses already happen in its order here, and a fence alone orders no other thread's.
__forceinline__ void __threadfence_block() {}
__forceinline__ void __threadfence() {}
__forceinline__ void __threadfence_system() {}

namespace rir::emu {

enum class Shuffle : uint8_t { Index, Up, Down, Xor };

// Of at most 8 bytes.
void shuffle(Shuffle kind, unsigned mask, void* value, size_t bytes, unsigned operand, int width, const char* file,
             int line);

}  // namespace rir::emu

#define RIR_SHUFFLE(name, kind, Operand)                                                                           \
    template <typename T>                                                                                          \
    __forceinline__ T name(unsigned mask, T value, Operand operand, int width = warpSize, RIR_HERE) {              \
        static_assert(sizeof(T) <= 8);                                                                             \
        rir::emu::shuffle(rir::emu::Shuffle::kind, mask, &value, sizeof(T), unsigned(operand), width, file, line); \
        return value;                                                                                              \
    }
RIR_SHUFFLE(__shfl_sync, Index, int)
RIR_SHUFFLE(__shfl_up_sync, Up, unsigned)
RIR_SHUFFLE(__shfl_down_sync, Down, unsigned)
RIR_SHUFFLE(__shfl_xor_sync, Xor, int)
#undef RIR_SHUFFLE
#undef RIR_HERE
