#include "hopper.hpp"

#include <cstdio>

#include "machine.hpp"

namespace rir::emu {
uint32_t shared_address(const void*) { return 0; }
#define NOT_YET(name, ...) \
    void name(__VA_ARGS__) { fault(nullptr, #name); }
NOT_YET(barrier_init, void*, uint32_t, const char*, int)
NOT_YET(fence_barrier_init)
NOT_YET(barrier_arrive, void*, const char*, int)
NOT_YET(barrier_arrive_at, void*, uint32_t, const char*, int)
NOT_YET(barrier_arrive_and_expect, void*, uint32_t, const char*, int)
NOT_YET(barrier_wait, void*, uint32_t, const char*, int)
NOT_YET(prefetch_map, const void*)
NOT_YET(load_box, void*, const void*, void*, const int32_t*, uint32_t, uint16_t, const char*, int)
NOT_YET(load_im2col, void*, const void*, void*, int32_t, int32_t, int32_t, int32_t, uint16_t, uint16_t, uint16_t,
        const char*, int)
NOT_YET(store_box, const void*, const void*, const int32_t*, uint32_t, bool, const char*, int)
NOT_YET(store_commit)
NOT_YET(store_wait, uint32_t, bool)
NOT_YET(fence_async_shared)
NOT_YET(warpgroup_fence, const char*, int)
NOT_YET(warpgroup_commit, const char*, int)
NOT_YET(warpgroup_wait, uint32_t, const char*, int)
NOT_YET(multiply_warpgroup, float*, uint32_t, uint64_t, bool, uint64_t, bool, bool, const char*, int)
NOT_YET(set_registers, uint32_t, bool, const char*, int)
NOT_YET(named_barrier, uint32_t, uint32_t, bool, const char*, int)
uint32_t block_of_cluster() { return 0; }
NOT_YET(cluster_arrive, const char*, int)
NOT_YET(cluster_wait, const char*, int)
// Launches are run one after the other.
void wait_for_launch_before() {}
void let_next_launch_begin() {}
}  // namespace rir::emu

extern "C" int rir_emu_encode_map(const RirEmuTensorMap*, void*, char* message, size_t bytes) {
    std::snprintf(message, bytes, "not yet");
    return 1;
}
