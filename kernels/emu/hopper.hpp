// Twins of the instructions of ptx_hopper.cuh. Shared memory is named by its address in this program; a descriptor
// holds the one that a card would have, within the block's shared memory (shared_address).
#pragma once

#include <cstddef>
#include <cstdint>

namespace rir::emu {

// The line is the wrapper's in ptx_hopper.cuh, which names the instruction.
#define RIR_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

uint32_t shared_address(const void* at);

void barrier_init(void* barrier, uint32_t count, RIR_HERE);
void fence_barrier_init();
void barrier_arrive(void* barrier, RIR_HERE);
void barrier_arrive_at(void* barrier, uint32_t block_of_cluster, RIR_HERE);
void barrier_arrive_and_expect(void* barrier, uint32_t bytes, RIR_HERE);
void barrier_wait(void* barrier, uint32_t parity, RIR_HERE);

void prefetch_map(const void* map);
void load_box(void* to, const void* map, void* barrier, const int32_t* at, uint32_t rank, uint16_t blocks, RIR_HERE);
void load_im2col(void* to, const void* map, void* barrier, int32_t channel, int32_t x, int32_t y, int32_t image,
                 uint16_t tap_x, uint16_t tap_y, uint16_t blocks, RIR_HERE);
void store_box(const void* map, const void* from, const int32_t* at, uint32_t rank, bool add, RIR_HERE);
void store_commit();
void store_wait(uint32_t groups, bool read);
void fence_async_shared();

void warpgroup_fence(RIR_HERE);
void warpgroup_commit(RIR_HERE);
void warpgroup_wait(uint32_t groups, RIR_HERE);
void multiply_warpgroup(float* sums, uint32_t columns, uint64_t a, bool a_across, uint64_t b, bool b_across,
                        bool accumulate, RIR_HERE);
void multiply_warpgroup_registers(float* sums, uint32_t columns, const uint32_t* a, uint64_t b, bool b_across,
                                  bool accumulate, RIR_HERE);
void set_registers(uint32_t registers, bool increase, RIR_HERE);

void named_barrier(uint32_t id, uint32_t threads, bool wait, RIR_HERE);
uint32_t block_of_cluster() __attribute__((const));
void cluster_arrive(RIR_HERE);
void cluster_wait(RIR_HERE);

void wait_for_launch_before();
void let_next_launch_begin();

#undef RIR_HERE

}  // namespace rir::emu
