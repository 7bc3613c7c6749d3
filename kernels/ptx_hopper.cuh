// PTX that only Hopper has (sm_90a), by the rules of ptx.cuh: one thin function for each instruction, with its twin.
//
// The asynchronous proxy: bulk copies and wgmma reach shared memory by another way than a thread's own loads and
// stores. What a thread stored is seen by them only after fence_async_shared() and a barrier; what they wrote is seen
// by whoever waited for its completion.
//
// Here is what a form may be tried with, proved on the emulator: no kernel adds by copies (add_box), whose order is not
// certain, nor multiplies from registers (multiply_warpgroup_registers of ptx_wgmma.cuh), which hold sums.
#pragma once

#include "ptx.cuh"
#include "tensor_map.cuh"

#if !defined(__CUDACC__)
#include "emu/hopper.hpp"
#endif

namespace ptx {

#if defined(__CUDACC__)
__device__ __forceinline__ uint32_t shared_address(const void* at) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(at));
}
#endif

// -- mbarrier: a phase completes when `count` threads have arrived and all bytes that were expected have come. --

// In shared memory. The first phase has parity 0; a thread that waits for the parity of the phase before the first does
// not wait at all.
struct alignas(8) Barrier {
    uint64_t opaque;
};

// mbarrier.init. By one thread; others see it after fence_barrier_init and a barrier.
__device__ __forceinline__ void barrier_init(Barrier& barrier, uint32_t count) {
#if defined(__CUDACC__)
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(count) : "memory");
#else
    rir::emu::barrier_init(&barrier, count);
#endif
}

// fence.mbarrier_init: of barriers that this thread has made, for the bulk copies and the cluster.
__device__ __forceinline__ void fence_barrier_init() {
#if defined(__CUDACC__)
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
    rir::emu::fence_barrier_init();
#endif
}

// mbarrier.arrive: releases what this thread did before to whoever waits for the phase.
__device__ __forceinline__ void barrier_arrive(Barrier& barrier) {
#if defined(__CUDACC__)
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
#else
    rir::emu::barrier_arrive(&barrier);
#endif
}

// mbarrier.arrive at the barrier in the same place of another block of the cluster (mapa). Of the block's scope, so
// that it says no more than that what was read has been read: of the cluster's, ptxas puts a fence of the whole card
// before it (MEMBAR.ALL.GPU), which waits for everything that the warp has stored.
__device__ __forceinline__ void barrier_arrive_at(Barrier& barrier, uint32_t block_of_cluster) {
#if defined(__CUDACC__)
    asm volatile(
        "{\n"
        ".reg .b32 remote;\n"
        "mapa.shared::cluster.u32 remote, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
        "}" ::"r"(shared_address(&barrier)),
        "r"(block_of_cluster)
        : "memory");
#else
    rir::emu::barrier_arrive_at(&barrier, block_of_cluster);
#endif
}

// mbarrier.arrive.expect_tx: arrives, and adds to the bytes that this phase expects.
__device__ __forceinline__ void barrier_arrive_and_expect(Barrier& barrier, uint32_t bytes) {
#if defined(__CUDACC__)
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
                 : "memory");
#else
    rir::emu::barrier_arrive_and_expect(&barrier, bytes);
#endif
}

// mbarrier.try_wait.parity, until the phase of this parity has completed; acquires what it released, bulk copies
// included.
__device__ __forceinline__ void barrier_wait(Barrier& barrier, uint32_t parity) {
#if defined(__CUDACC__)
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "wait:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@done bra ready;\n"
        "bra wait;\n"
        "ready:\n"
        "}" ::"r"(shared_address(&barrier)),
        "r"(parity)
        : "memory");
#else
    rir::emu::barrier_wait(&barrier, parity);
#endif
}

// -- Bulk copies by tensor map (the Tensor Memory Accelerator). By one thread. --

// prefetch.tensormap: into the cache of descriptors.
__device__ __forceinline__ void prefetch_map(const TensorMap& map) {
#if defined(__CUDACC__)
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#else
    rir::emu::prefetch_map(&map);
#endif
}

// cp.async.bulk.tensor of a map encoded as tiles: the box that begins at these coordinates, the innermost dimension
// first. Elements outside of the tensor come as zeros. Its bytes, those zeros included, complete on the barrier.
// `blocks` (multicast): a bit for each block of the cluster that gets it, at the same place and on the same barrier;
// 0: this block alone.
__device__ __forceinline__ void load_box(void* to, const TensorMap& map, Barrier& barrier, int32_t x, int32_t y,
                                         uint16_t blocks) {
#if defined(__CUDACC__)
    if (blocks == 0) {
        asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::
                "r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y)
            : "memory");
    } else {
        asm volatile(
            "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
            "{%3, %4}], [%2], %5;" ::"r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "h"(blocks)
            : "memory");
    }
#else
    const int32_t at[] = {x, y};
    rir::emu::load_box(to, &map, &barrier, at, 2, blocks);
#endif
}
__device__ __forceinline__ void load_box(void* to, const TensorMap& map, Barrier& barrier, int32_t x, int32_t y,
                                         int32_t z, uint16_t blocks) {
#if defined(__CUDACC__)
    if (blocks == 0) {
        asm volatile(
            "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
            "[%2];" ::"r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z)
            : "memory");
    } else {
        asm volatile(
            "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
            "{%3, %4, %5}], [%2], %6;" ::"r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z), "h"(blocks)
            : "memory");
    }
#else
    const int32_t at[] = {x, y, z};
    rir::emu::load_box(to, &map, &barrier, at, 3, blocks);
#endif
}
__device__ __forceinline__ void load_box(void* to, const TensorMap& map, Barrier& barrier, int32_t x, int32_t y,
                                         int32_t z, int32_t u, uint16_t blocks) {
#if defined(__CUDACC__)
    if (blocks == 0) {
        asm volatile(
            "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
            "[%2];" ::"r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z), "r"(u)
            : "memory");
    } else {
        asm volatile(
            "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, "
            "{%3, %4, %5, %6}], [%2], %7;" ::"r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z), "r"(u), "h"(blocks)
            : "memory");
    }
#else
    const int32_t at[] = {x, y, z, u};
    rir::emu::load_box(to, &map, &barrier, at, 4, blocks);
#endif
}

// The same of a map encoded as im2col, of a tensor [n][h][w][c]: from base pixel (x, y, image) on, which counts within
// the map's bounding box, as many pixels as the map says, along x, y and images as the box goes on; of each the
// channels from `channel` on, of the pixel moved by (tap_x, tap_y).
__device__ __forceinline__ void load_im2col(void* to, const TensorMap& map, Barrier& barrier, int32_t channel,
                                            int32_t x, int32_t y, int32_t image, uint16_t tap_x, uint16_t tap_y,
                                            uint16_t blocks) {
#if defined(__CUDACC__)
    if (blocks == 0) {
        asm volatile(
            "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, "
            "%5, "
            "%6}], [%2], {%7, %8};" ::"r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(channel), "r"(x), "r"(y), "r"(image), "h"(tap_x), "h"(tap_y)
            : "memory");
    } else {
        asm volatile(
            "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster "
            "[%0], "
            "[%1, {%3, %4, %5, %6}], [%2], {%7, %8}, %9;" ::"r"(shared_address(to)),
            "l"(&map), "r"(shared_address(&barrier)), "r"(channel), "r"(x), "r"(y), "r"(image), "h"(tap_x), "h"(tap_y),
            "h"(blocks)
            : "memory");
    }
#else
    rir::emu::load_im2col(to, &map, &barrier, channel, x, y, image, tap_x, tap_y, blocks);
#endif
}

// cp.async.bulk.tensor to global memory, of a map encoded as tiles: what of the box lies in the tensor.
__device__ __forceinline__ void store_box(const TensorMap& map, const void* from, int32_t x, int32_t y) {
#if defined(__CUDACC__)
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
                 "r"(shared_address(from)), "r"(x), "r"(y)
                 : "memory");
#else
    const int32_t at[] = {x, y};
    rir::emu::store_box(&map, from, at, 2, false);
#endif
}
__device__ __forceinline__ void store_box(const TensorMap& map, const void* from, int32_t x, int32_t y, int32_t z,
                                          int32_t u) {
#if defined(__CUDACC__)
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
                 "r"(shared_address(from)), "r"(x), "r"(y), "r"(z), "r"(u)
                 : "memory");
#else
    const int32_t at[] = {x, y, z, u};
    rir::emu::store_box(&map, from, at, 4, false);
#endif
}

// cp.reduce.async.bulk.tensor: as store_box, but adds. Several that meet add in no certain order.
__device__ __forceinline__ void add_box(const TensorMap& map, const void* from, int32_t x, int32_t y) {
#if defined(__CUDACC__)
    asm volatile(
        "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
        "r"(shared_address(from)), "r"(x), "r"(y)
        : "memory");
#else
    const int32_t at[] = {x, y};
    rir::emu::store_box(&map, from, at, 2, true);
#endif
}

// cp.async.bulk.commit_group: ends a group of this thread's stores.
__device__ __forceinline__ void store_commit() {
#if defined(__CUDACC__)
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
    rir::emu::store_commit();
#endif
}

// cp.async.bulk.wait_group.read: until at most GROUPS of this thread's latest groups still read shared memory.
template <int GROUPS>
__device__ __forceinline__ void store_wait_read() {
#if defined(__CUDACC__)
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(GROUPS) : "memory");
#else
    rir::emu::store_wait(GROUPS, true);
#endif
}

// cp.async.bulk.wait_group: until at most GROUPS are under way at all.
template <int GROUPS>
__device__ __forceinline__ void store_wait() {
#if defined(__CUDACC__)
    asm volatile("cp.async.bulk.wait_group %0;" ::"n"(GROUPS) : "memory");
#else
    rir::emu::store_wait(GROUPS, false);
#endif
}

// fence.proxy.async: what this thread did to shared memory, before what the asynchronous proxy does after a barrier.
__device__ __forceinline__ void fence_async_shared() {
#if defined(__CUDACC__)
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
    rir::emu::fence_async_shared();
#endif
}

// -- A warp group's registers. --

// setmaxnreg.inc and .dec: registers of each thread of this warp group, from here on. All that the block's warps hold
// together fits what it was launched with.
template <int REGISTERS>
__device__ __forceinline__ void registers_increase() {
    static_assert(REGISTERS % 8 == 0 && REGISTERS >= 24 && REGISTERS <= 256);
#if defined(__CUDACC__)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
#else
    rir::emu::set_registers(REGISTERS, true);
#endif
}
template <int REGISTERS>
__device__ __forceinline__ void registers_decrease() {
    static_assert(REGISTERS % 8 == 0 && REGISTERS >= 24 && REGISTERS <= 256);
#if defined(__CUDACC__)
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
#else
    rir::emu::set_registers(REGISTERS, false);
#endif
}

// elect.sync: true in one thread of a warp whose threads all ask. Unlike a comparison with its lane, it tells the
// compiler that what follows is one thread's, and needs no loop over threads whose operands differ.
__device__ __forceinline__ bool elect() {
#if defined(__CUDACC__)
    uint32_t elected;
    asm volatile(
        "{\n"
        ".reg .pred elected;\n"
        "elect.sync _|elected, 0xffffffff;\n"
        "selp.u32 %0, 1, 0, elected;\n"
        "}"
        : "=r"(elected));
    return elected != 0;
#else
    return lane_id() == 0;
#endif
}

// -- Barriers of some of a block's threads, and of a cluster. --

// barrier.sync of number `id`, 1 to 15, by `threads` threads, whole warps; number 0 is __syncthreads'.
__device__ __forceinline__ void named_barrier_sync(uint32_t id, uint32_t threads) {
#if defined(__CUDACC__)
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
    rir::emu::named_barrier(id, threads, true);
#endif
}
// barrier.arrive: counts, and does not wait.
__device__ __forceinline__ void named_barrier_arrive(uint32_t id, uint32_t threads) {
#if defined(__CUDACC__)
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
#else
    rir::emu::named_barrier(id, threads, false);
#endif
}

// %cluster_ctarank: this block's place in its cluster.
__device__ __forceinline__ uint32_t block_of_cluster() {
#if defined(__CUDACC__)
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
#else
    return rir::emu::block_of_cluster();
#endif
}

// barrier.cluster: all threads of all blocks of the cluster.
__device__ __forceinline__ void cluster_arrive() {
#if defined(__CUDACC__)
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#else
    rir::emu::cluster_arrive();
#endif
}
__device__ __forceinline__ void cluster_wait() {
#if defined(__CUDACC__)
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
    rir::emu::cluster_wait();
#endif
}

}  // namespace ptx
