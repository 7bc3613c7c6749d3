#include "hopper.hpp"

#include "machine.hpp"

namespace rir::emu {

#define RIR_SITE __builtin_return_address(0)

uint32_t shared_address(const void* at) {
    const uintptr_t offset = uintptr_t(at) - running->arena->begin();
    // A descriptor counts 18 bits.
    if (offset >= 1 << 18) fault(RIR_SITE, "a matrix descriptor of what is not in the block's dynamic shared memory");
    return uint32_t(offset);
}

void barrier_init(void* barrier, uint32_t count, const char*, int) {
    running->machine->barriers.make(barrier, count, RIR_SITE);
}
void fence_barrier_init() { running->machine->barriers.fence(); }
void barrier_arrive(void* barrier, const char*, int) {
    running->machine->barriers.arrive(barrier, running->block, 0, RIR_SITE);
}
void barrier_arrive_at(void* barrier, uint32_t block, const char*, int) {
    running->machine->barriers.arrive(barrier, block, 0, RIR_SITE);
}
void barrier_arrive_and_expect(void* barrier, uint32_t bytes, const char*, int) {
    running->machine->barriers.arrive(barrier, running->block, bytes, RIR_SITE);
}
void barrier_wait(void* barrier, uint32_t parity, const char* file, int line) {
    running->machine->barriers.wait(barrier, parity, file, line, RIR_SITE);
}

void prefetch_map(const void*) {}
void load_box(void* to, const void* map, void* barrier, const int32_t* at, uint32_t rank, uint16_t blocks, const char*,
              int) {
    running->machine->bulk.load(to, map, barrier, at, rank, nullptr, blocks, RIR_SITE);
}
void load_im2col(void* to, const void* map, void* barrier, int32_t channel, int32_t x, int32_t y, int32_t image,
                 uint16_t tap_x, uint16_t tap_y, uint16_t blocks, const char*, int) {
    const int32_t at[] = {channel, x, y, image};
    const uint16_t taps[] = {tap_x, tap_y};
    running->machine->bulk.load(to, map, barrier, at, 4, taps, blocks, RIR_SITE);
}
void store_box(const void* map, const void* from, const int32_t* at, uint32_t rank, bool add, const char*, int) {
    running->machine->bulk.store(map, from, at, rank, add, RIR_SITE);
}
void store_commit() { running->machine->bulk.commit(); }
void store_wait(uint32_t groups, bool read) { running->machine->bulk.wait(groups, read); }
void fence_async_shared() {
    running->machine->clocks.fence_proxy(running->rank);
    running->machine->barriers.fence();
}

void warpgroup_fence(const char*, int) { running->marks.fence(); }
void warpgroup_commit(const char*, int) { running->machine->warpgroups.commit(); }
void warpgroup_wait(uint32_t groups, const char*, int) { running->machine->warpgroups.wait(groups); }
void multiply_warpgroup(float* sums, uint32_t columns, uint64_t a, bool a_across, uint64_t b, bool b_across,
                        bool accumulate, const char* file, int line) {
    WarpGroupOperands operands{sums, columns, nullptr, a, b, a_across, b_across, accumulate};
    Call call{Primitive::MultiplyWarpGroup, 0, file, line, RIR_SITE};
    call.matrices = &operands;
    running->machine->warpgroups.multiply(call);
}
void multiply_warpgroup_registers(float* sums, uint32_t columns, const uint32_t* a, uint64_t b, bool b_across,
                                  bool accumulate, const char* file, int line) {
    WarpGroupOperands operands{sums, columns, a, 0, b, false, b_across, accumulate};
    Call call{Primitive::MultiplyWarpGroup, 0, file, line, RIR_SITE};
    call.matrices = &operands;
    running->machine->warpgroups.multiply(call);
}
void set_registers(uint32_t registers, bool increase, const char* file, int line) {
    running->machine->cluster.set_registers({Primitive::SetRegisters, 0, file, line, RIR_SITE}, registers, increase);
}

void named_barrier(uint32_t id, uint32_t threads, bool wait, const char* file, int line) {
    running->machine->cluster.named_barrier({Primitive::NamedBarrier, 0, file, line, RIR_SITE, 0, id}, threads, wait);
}
uint32_t block_of_cluster() { return running->block; }
void cluster_arrive(const char*, int) { running->machine->cluster.arrive_at_cluster(RIR_SITE); }
void cluster_wait(const char* file, int line) {
    running->machine->cluster.wait_for_cluster({Primitive::WaitCluster, 0, file, line, RIR_SITE});
}

void wait_for_launch_before() { running->machine->wait_for_launches_before(*running); }
void let_next_launch_begin() {}

}  // namespace rir::emu
