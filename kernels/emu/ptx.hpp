// Twins of single PTX instructions, for ptx.cuh.
#pragma once

#include <cstdint>

namespace rir::emu {

unsigned lane_id();
void async_copy(void* shared, const void* global, unsigned bytes, unsigned source_bytes);
void async_commit();
void async_wait(unsigned groups);
void async_wait_all();

}  // namespace rir::emu
