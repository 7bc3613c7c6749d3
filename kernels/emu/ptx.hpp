// Twins of single PTX instructions, for ptx.cuh.
#pragma once

#include <cstdint>

namespace rir::emu {

unsigned lane_id();
void async_copy(void* shared, const void* global, unsigned bytes, unsigned source_bytes);
void async_commit();
void async_wait(unsigned groups);
void async_wait_all();

// The line is the wrapper's in ptx.cuh, which names the instruction.
#define RIR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
void load_matrices(uint32_t* to, unsigned count, bool transposed, const void* row, RIR_HERE);
void store_matrices(void* row, unsigned count, const uint32_t* from, RIR_HERE);
void multiply_matrices_bf16(float* sums, const uint32_t* a, const uint32_t* b, RIR_HERE);
#undef RIR_HERE

}  // namespace rir::emu
