// Programs that break one rule each of clusters, named barriers, registers and launches that follow each other.
#include "lines.cuh"

__device__ __forceinline__ void meet() {
    ptx::cluster_arrive();
    ptx::cluster_wait();
}

// -- Clusters. --

// The second block says that it is ready, and is gone when the first copies to both.
__device__ void copy_to_ended_block(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines, 32);
    meet();
    if (ptx::block_of_cluster() == 1) {
        ptx::barrier_arrive_at(lines.empty, 0);
        return;
    }
    ptx::barrier_wait(lines.empty, 0);
    for (int i = 0; i < 100; ++i) __syncwarp();
    if (threadIdx.x != 0) return;
    ptx::barrier_arrive_and_expect(lines.full, 128);
    ptx::load_box(lines.values[0], p.maps[0], lines.full, 0, 0, 3);
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL_CLUSTER(test_copy_to_ended_block, CopyParams, 32, 2, copy_to_ended_block)

__device__ void copy_to_unready_block(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    const bool first = ptx::block_of_cluster() == 0;
    if (first) begin(lines);
    meet();
    if (first && threadIdx.x == 0) {
        ptx::barrier_arrive_and_expect(lines.full, 128);
        ptx::load_box(lines.values[0], p.maps[0], lines.full, 0, 0, 3);
    }
    meet();
}
RIR_KERNEL_CLUSTER(test_copy_to_unready_block, CopyParams, 32, 2, copy_to_unready_block)

__device__ void copy_beyond_cluster(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    meet();
    if (threadIdx.x == 0) ptx::load_box(lines.values[0], p.maps[0], lines.full, 0, 0, 4);
    meet();
}
RIR_KERNEL_CLUSTER(test_copy_beyond_cluster, CopyParams, 32, 2, copy_beyond_cluster)

// A copy into the other block's line while that reads what it has put there itself.
__device__ void copy_over_other_block(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    lines.values[0][threadIdx.x] = 1.0f;
    ptx::fence_async_shared();
    meet();
    const uint32_t block = ptx::block_of_cluster();
    if (threadIdx.x == 0) {
        if (block == 0) ptx::load_box(lines.values[0], p.maps[0], lines.full, 0, 0, 2);
        if (block == 1) ptx::barrier_arrive_and_expect(lines.full, 128);
    }
    if (block == 1) {
        p.y[threadIdx.x] = lines.values[0][threadIdx.x];
        ptx::barrier_wait(lines.full, 0);
    }
    meet();
}
RIR_KERNEL_CLUSTER(test_copy_over_other_block, CopyParams, 32, 2, copy_over_other_block)

__device__ void remote_arrive_unmet(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    if (ptx::block_of_cluster() == 0) begin(lines, 32);
    if (ptx::block_of_cluster() == 1) ptx::barrier_arrive_at(lines.empty, 0);
    meet();
}
RIR_KERNEL_CLUSTER(test_remote_arrive_unmet, CopyParams, 32, 2, remote_arrive_unmet)

__device__ void remote_arrive_at_ended_block(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines, 32);
    meet();
    if (ptx::block_of_cluster() == 1) return;
    for (int i = 0; i < 100; ++i) __syncwarp();
    ptx::barrier_arrive_at(lines.empty, 1);
}
RIR_KERNEL_CLUSTER(test_remote_arrive_at_ended_block, CopyParams, 32, 2, remote_arrive_at_ended_block)

__device__ void remote_arrive_beyond(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines, 32);
    meet();
    ptx::barrier_arrive_at(lines.empty, 2);
}
RIR_KERNEL_CLUSTER(test_remote_arrive_beyond, CopyParams, 32, 2, remote_arrive_beyond)

__device__ void cluster_arrives_twice(const CopyParams&) {
    ptx::cluster_arrive();
    ptx::cluster_arrive();
}
RIR_KERNEL_CLUSTER(test_cluster_arrives_twice, CopyParams, 32, 2, cluster_arrives_twice)

__device__ void cluster_waits_only(const CopyParams&) { ptx::cluster_wait(); }
RIR_KERNEL_CLUSTER(test_cluster_waits_only, CopyParams, 32, 2, cluster_waits_only)

__device__ void cluster_waits_again(const CopyParams&) {
    meet();
    ptx::cluster_wait();
}
RIR_KERNEL_CLUSTER(test_cluster_waits_again, CopyParams, 32, 2, cluster_waits_again)

__device__ void cluster_never_meets(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (ptx::block_of_cluster() == 0) {
        meet();
    } else {
        ptx::barrier_wait(lines.full, 0);
    }
}
RIR_KERNEL_CLUSTER(test_cluster_never_meets, CopyParams, 32, 2, cluster_never_meets)

// What is written after arriving is not what the others wait for.
__device__ void written_after_arriving(const CopyParams& p) {
    ptx::cluster_arrive();
    if (ptx::block_of_cluster() == 0) p.y[threadIdx.x] = 1.0f;
    ptx::cluster_wait();
    if (ptx::block_of_cluster() == 1) p.counts[threadIdx.x] = p.y[threadIdx.x] > 0.0f;
}
RIR_KERNEL_CLUSTER(test_written_after_arriving, CopyParams, 32, 2, written_after_arriving)

// -- Named barriers. --

__device__ void mixed_counts(const CopyParams&) { ptx::named_barrier_sync(1, threadIdx.x < 32 ? 64 : 96); }
RIR_KERNEL(test_mixed_counts, CopyParams, 96, mixed_counts)

__device__ void barrier_of_block(const CopyParams&) { ptx::named_barrier_sync(0, 64); }
RIR_KERNEL(test_barrier_of_block, CopyParams, 64, barrier_of_block)

__device__ void barrier_of_part(const CopyParams&) { ptx::named_barrier_sync(2, 48); }
RIR_KERNEL(test_barrier_of_part, CopyParams, 64, barrier_of_part)

__device__ void barrier_of_absent(const CopyParams&) { ptx::named_barrier_sync(2, 96); }
RIR_KERNEL(test_barrier_of_absent, CopyParams, 64, barrier_of_absent)

__device__ void arrives_again(const CopyParams&) {
    if (threadIdx.x >= 32) return;
    ptx::named_barrier_arrive(3, 64);
    ptx::named_barrier_arrive(3, 64);
}
RIR_KERNEL(test_arrives_again, CopyParams, 64, arrives_again)

// Half of each warp is no warp: two halves do not make 32 threads.
__device__ void halves_of_warps(const CopyParams&) {
    if (threadIdx.x % 32 < 16) ptx::named_barrier_sync(4, 32);
    __syncthreads();
}
RIR_KERNEL(test_halves_of_warps, CopyParams, 64, halves_of_warps)

// Each pair of warps has a barrier, and only one of the pairs' warps wait for what they read.
__device__ void arrived_but_not_waited(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    float* values = &lines.values[0][0];
    values[threadIdx.x] = 1.0f;
    if (threadIdx.x < 32) {
        ptx::named_barrier_arrive(5, 64);
    } else {
        ptx::named_barrier_sync(5, 64);
    }
    p.y[threadIdx.x] = values[threadIdx.x ^ 32];
}
RIR_KERNEL(test_arrived_but_not_waited, CopyParams, 64, arrived_but_not_waited)

// -- Registers. --

__device__ void registers_never_free(const CopyParams&) {
    if (threadIdx.x >= 128) ptx::registers_increase<232>();
}
RIR_KERNEL_ALONE(test_registers_never_free, CopyParams, 384, registers_never_free)

__device__ void too_many_registers(const CopyParams&) {
    if (threadIdx.x < 128) {
        ptx::registers_decrease<40>();
    } else {
        ptx::registers_increase<240>();
    }
}
RIR_KERNEL_ALONE(test_too_many_registers, CopyParams, 384, too_many_registers)

__device__ void registers_the_wrong_way(const CopyParams&) { ptx::registers_decrease<232>(); }
RIR_KERNEL_ALONE(test_registers_the_wrong_way, CopyParams, 384, registers_the_wrong_way)

__device__ void registers_of_one_warp(const CopyParams&) {
    if (threadIdx.x < 32) ptx::registers_decrease<40>();
}
RIR_KERNEL_ALONE(test_registers_of_one_warp, CopyParams, 128, registers_of_one_warp)

__device__ void registers_of_three_warps(const CopyParams&) { ptx::registers_decrease<40>(); }
RIR_KERNEL_ALONE(test_registers_of_three_warps, CopyParams, 96, registers_of_three_warps)

// -- Launches that follow each other. --

__device__ void read_too_early(const CopyParams& p) {
    p.y[threadIdx.x] = float(p.list[0]);
    ptx::wait_for_launch_before();
}
RIR_KERNEL(test_read_too_early, CopyParams, 32, read_too_early)

__device__ void one_waits_for_itself(const CopyParams& p) {
    if (threadIdx.x == 0) ptx::wait_for_launch_before();
    p.y[threadIdx.x] = 1.0f;
}
RIR_KERNEL(test_one_waits_for_itself, CopyParams, 2, one_waits_for_itself)

__device__ void load_too_early(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) load_line(p, lines, 0);
    ptx::wait_for_launch_before();
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_load_too_early, CopyParams, 32, load_too_early)

__device__ void store_too_early(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    lines.values[0][threadIdx.x] = 1.0f;
    ptx::fence_async_shared();
    __syncthreads();
    if (threadIdx.x != 0) return;
    ptx::store_box(p.maps[1], lines.values[0], 0, 0);
    ptx::store_commit();
    ptx::wait_for_launch_before();
    ptx::store_wait<0>();
}
RIR_KERNEL(test_store_too_early, CopyParams, 32, store_too_early)
