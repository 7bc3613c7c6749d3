// Programs that PTX ISA allows, of threads that wait for each other and for copies by mbarriers, named barriers and
// clusters: whatever the order, no fault and one result.
#include "params.hpp"
#include "ptx_wgmma.cuh"

// Writes by all, arrivals of all, and reads of what others wrote, phase by phase.
struct Exchange {
    ptx::Barrier written, read;
    float values[64];
};
__device__ void phases(const TestParams& p) {
    RIR_SHARED(Exchange, shared);
    const unsigned t = threadIdx.x;
    if (t == 0) {
        ptx::barrier_init(shared.written, blockDim.x);
        ptx::barrier_init(shared.read, blockDim.x);
    }
    __syncthreads();
    float sum = 0;
    for (unsigned phase = 0; phase < p.elements; ++phase) {
        shared.values[t] = p.x[t] + float(phase);
        ptx::barrier_arrive(shared.written);
        ptx::barrier_wait(shared.written, phase % 2);
        sum += shared.values[63 - t];
        ptx::barrier_arrive(shared.read);
        ptx::barrier_wait(shared.read, phase % 2);
    }
    p.y[t] = sum;
}
RIR_KERNEL(test_phases, TestParams, 64, phases)

// A phase of two arrivals that expect a copy each, one before its copy starts and one after; who waits for the
// phase before the first does not wait. What a copy brought is read by threads that hear of it from another alone.
struct alignas(1024) TwoHalves {
    float halves[2][32];
    ptx::Barrier full;
};
__device__ void expectations(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(TwoHalves, shared);
    const unsigned t = threadIdx.x;
    if (t == 0) {
        ptx::barrier_init(shared.full, 2);
        // Either fence makes a barrier known to copies.
        if (p.offset == 0) {
            ptx::fence_barrier_init();
        } else {
            ptx::fence_async_shared();
        }
    }
    __syncthreads();
    if (t == 0) {
        ptx::barrier_wait(shared.full, 1);
        ptx::barrier_arrive_and_expect(shared.full, 128);
        ptx::load_box(shared.halves[0], p.maps[0], shared.full, 0, 0, 0);
    }
    if (t == 32) {
        ptx::load_box(shared.halves[1], p.maps[0], shared.full, 32, 0, 0);
        ptx::barrier_arrive_and_expect(shared.full, 128);
    }
    if (t == 1) ptx::barrier_wait(shared.full, 0);
    __syncthreads();
    p.y[t] = shared.halves[t / 32][t % 32];
}
RIR_KERNEL(test_expectations, CopyParams, 64, expectations)

// A ring of stages of some lines, each a copy's.
constexpr unsigned RING = 3, LINE = 32;
template <unsigned LINES>
struct alignas(1024) Ring {
    float stages[RING][LINES][LINE];
    ptx::Barrier full[RING], empty[RING];
};
template <unsigned LINES>
__device__ __forceinline__ void make_ring(Ring<LINES>& ring, unsigned users) {
    if (threadIdx.x != 0) return;
    for (unsigned i = 0; i < RING; ++i) {
        ptx::barrier_init(ring.full[i], 1);
        ptx::barrier_init(ring.empty[i], users);
    }
    ptx::fence_barrier_init();
}

// A producer warp fills the ring and two consumer warps empty it, each in its own time.
__device__ void ring(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Ring<1>, shared);
    make_ring(shared, 64);
    __syncthreads();
    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float sum = 0;
    for (unsigned step = 0; step < p.items; ++step) {
        const unsigned slot = step % RING, parity = step / RING % 2;
        if (warp == 0) {
            if (lane != 0) continue;
            ptx::barrier_wait(shared.empty[slot], parity ^ 1);
            ptx::barrier_arrive_and_expect(shared.full[slot], sizeof shared.stages[0]);
            ptx::load_box(shared.stages[slot], p.maps[0], shared.full[slot], 0, int32_t(step), 0);
        } else {
            ptx::barrier_wait(shared.full[slot], parity);
            sum += shared.stages[slot][0][warp == 1 ? lane : 31 - lane];
            ptx::barrier_arrive(shared.empty[slot]);
        }
    }
    if (warp > 0) p.y[threadIdx.x - WARP] = sum;
}
RIR_KERNEL(test_ring, CopyParams, 96, ring)

// The same in a cluster: every block copies one line of each stage to all blocks, once all have used what was there.
template <unsigned BLOCKS>
__device__ void shared_ring(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Ring<BLOCKS>, shared);
    make_ring(shared, BLOCKS);
    ptx::cluster_arrive();
    ptx::cluster_wait();
    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, block = ptx::block_of_cluster();
    float sum = 0;
    for (unsigned step = 0; step < p.items; ++step) {
        const unsigned slot = step % RING, parity = step / RING % 2;
        if (warp == 0) {
            if (lane != 0) continue;
            ptx::barrier_wait(shared.empty[slot], parity ^ 1);
            ptx::barrier_arrive_and_expect(shared.full[slot], sizeof shared.stages[0]);
            ptx::load_box(shared.stages[slot][block], p.maps[0], shared.full[slot], 0, int32_t(step * BLOCKS + block),
                          uint16_t((1u << BLOCKS) - 1));
        } else {
            // One lane waits, and tells the others.
            if (lane == 7) ptx::barrier_wait(shared.full[slot], parity);
            __syncwarp();
            for (unsigned line = 0; line < BLOCKS; ++line) sum += shared.stages[slot][line][lane] * float(line + 1);
            __syncwarp();
            if (lane < BLOCKS) ptx::barrier_arrive_at(shared.empty[slot], lane);
        }
    }
    if (warp > 0) p.y[blockIdx.x * WARP + lane] = sum + float(block);
    __syncwarp();
    ptx::cluster_arrive();
    ptx::cluster_wait();
}
RIR_KERNEL_CLUSTER(test_shared_ring_2, CopyParams, 64, 2, shared_ring<2>)
RIR_KERNEL_CLUSTER(test_shared_ring_4, CopyParams, 64, 4, shared_ring<4>)

// A copy to some blocks of a cluster, not to the one that starts it.
__device__ void others_copy(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Ring<1>, shared);
    const unsigned block = ptx::block_of_cluster();
    make_ring(shared, 1);
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (threadIdx.x == 0) {
        if (block == 1) ptx::load_box(shared.stages[0], p.maps[0], shared.full[0], 0, 0, 0b1101);
        if (block != 1) ptx::barrier_arrive_and_expect(shared.full[0], sizeof shared.stages[0]);
    }
    if (block != 1) {
        ptx::barrier_wait(shared.full[0], 0);
        p.y[blockIdx.x * LINE + threadIdx.x] = shared.stages[0][0][threadIdx.x];
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
}
RIR_KERNEL_CLUSTER(test_others_copy, CopyParams, 32, 4, others_copy)

// What one block has copied to itself, and its threads know by its own barrier, another block copies over.
__device__ void taken_over(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Ring<1>, shared);
    const unsigned block = ptx::block_of_cluster(), t = threadIdx.x;
    make_ring(shared, 1);
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (block == 0) {
        if (t == 0) {
            ptx::barrier_arrive_and_expect(shared.full[0], sizeof shared.stages[0]);
            ptx::load_box(shared.stages[0], p.maps[0], shared.full[0], 0, 0, 0);
            ptx::barrier_wait(shared.full[0], 0);
            ptx::barrier_arrive_and_expect(shared.full[0], sizeof shared.stages[0]);
        }
        __syncthreads();
        p.y[t] = shared.stages[0][0][t];
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
    if (block == 1 && t == 0) ptx::load_box(shared.stages[0], p.maps[0], shared.full[0], 0, 1, 1);
    if (block == 0) {
        ptx::barrier_wait(shared.full[0], 1);
        p.y[LINE + t] = shared.stages[0][0][t];
    }
    ptx::cluster_arrive();
    ptx::cluster_wait();
}
RIR_KERNEL_CLUSTER(test_taken_over, CopyParams, 32, 2, taken_over)

// PTX ISA, mbarrier.try_wait, example 4: all threads of a cluster arrive at the first block's barrier, which its maker
// has told of by the cluster's barrier alone.
struct Meeting {
    ptx::Barrier all;
};
__device__ void remote_arrivals(const TestParams& p) {
    RIR_SHARED(Meeting, meeting);
    const unsigned block = ptx::block_of_cluster();
    if (block == 0 && threadIdx.x == 0) ptx::barrier_init(meeting.all, blockDim.x * 2);
    ptx::cluster_arrive();
    ptx::cluster_wait();
    for (unsigned phase = 0; phase < 4; ++phase) {
        ptx::barrier_arrive_at(meeting.all, 0);
        if (block == 0) ptx::barrier_wait(meeting.all, phase % 2);
        // All that arrive again have heard that the phase is over.
        ptx::cluster_arrive();
        p.y[blockIdx.x * blockDim.x + threadIdx.x] = float(block * 100 + phase);
        ptx::cluster_wait();
    }
}
RIR_KERNEL_CLUSTER(test_remote_arrivals, TestParams, 64, 2, remote_arrivals)

// PTX ISA, barrier: producer and consumer, who tell each other by two barriers that each waits for one of.
struct Handover {
    float values[4][32];
};
__device__ void handover(const TestParams& p) {
    RIR_SHARED(Handover, shared);
    const unsigned pair = threadIdx.x / 64, lane = threadIdx.x % WARP;
    const bool produces = threadIdx.x % 64 < WARP;
    const unsigned given = 1 + pair, taken = 15 - pair;
    float sum = 0;
    // The pairs keep different time.
    for (unsigned round = 0; round < p.elements + pair; ++round) {
        if (produces) {
            shared.values[pair][lane] = p.x[lane] + float(round);
            ptx::named_barrier_arrive(given, 64);
            ptx::named_barrier_sync(taken, 64);
        } else {
            ptx::named_barrier_sync(given, 64);
            sum += shared.values[pair][31 - lane];
            ptx::named_barrier_arrive(taken, 64);
        }
    }
    if (!produces) p.y[pair * WARP + lane] = sum;
}
RIR_KERNEL(test_handover, TestParams, 256, handover)

// "Waits for all non-exited threads from its warp", and counts whole warps.
struct Few {
    float values[64];
};
__device__ void named_barrier_of_few(const TestParams& p) {
    RIR_SHARED(Few, shared);
    const unsigned t = threadIdx.x;
    if (t % WARP >= 8) return;
    for (unsigned round = 0; round < 3; ++round) {
        shared.values[t] = p.x[t] + float(round);
        ptx::named_barrier_sync(7, 64);
        p.y[t] = shared.values[t ^ 32];
        ptx::named_barrier_sync(7, 64);
    }
}
RIR_KERNEL(test_named_barrier_of_few, TestParams, 64, named_barrier_of_few)

// Warp groups give each other registers, twice: whoever takes waits for whoever gives.
__device__ void registers(const TestParams& p) {
    const unsigned group = threadIdx.x / 128;
    if (group == 0) {
        ptx::registers_decrease<40>();
        ptx::named_barrier_sync(1, 384);
        ptx::registers_increase<200>();
    } else {
        ptx::registers_increase<232>();
        ptx::named_barrier_sync(1, 384);
        ptx::registers_decrease<152>();
    }
    p.y[threadIdx.x] = float(group);
}
RIR_KERNEL_ALONE(test_registers, TestParams, 384, registers)

// What comes between arriving at the cluster's barrier and waiting at it is nobody else's.
__device__ void cluster_barrier(const TestParams& p) {
    const unsigned block = ptx::block_of_cluster(), t = threadIdx.x;
    for (unsigned round = 0; round < 4; ++round) {
        if (block == round % 2) p.y[blockIdx.x / 2 * 64 + t] = float(round);
        ptx::cluster_arrive();
        p.counts[blockIdx.x * 32 + t] = block;
        ptx::cluster_wait();
        if (block != round % 2 && p.y[blockIdx.x / 2 * 64 + t] != float(round)) p.counts[blockIdx.x * 32 + t] = 77;
        ptx::cluster_arrive();
        ptx::cluster_wait();
    }
}
RIR_KERNEL_CLUSTER(test_cluster_barrier, TestParams, 32, 2, cluster_barrier)

// One thread waits for the launch before, and tells the others.
__device__ void dependent_launch(const TestParams& p) {
    ptx::let_next_launch_begin();
    if (threadIdx.x == 0) ptx::wait_for_launch_before();
    __syncthreads();
    p.y[threadIdx.x] = p.x[63 - threadIdx.x];
}
RIR_KERNEL(test_dependent_launch, TestParams, 64, dependent_launch)

// CUDA C++ Programming Guide, "Using TMA to transfer multi-dimensional arrays": a stage comes, is changed in its place
// and goes out, and then the next one comes.
__device__ void changed_in_place(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Ring<1>, shared);
    float* values = shared.stages[0][0];
    if (threadIdx.x == 0) {
        ptx::barrier_init(shared.full[0], blockDim.x);
        ptx::fence_async_shared();
    }
    __syncthreads();
    for (unsigned step = 0; step < p.items; ++step) {
        if (threadIdx.x == 0) {
            ptx::load_box(values, p.maps[0], shared.full[0], 0, int32_t(step), 0);
            ptx::barrier_arrive_and_expect(shared.full[0], sizeof shared.stages[0]);
        } else {
            ptx::barrier_arrive(shared.full[0]);
        }
        ptx::barrier_wait(shared.full[0], step % 2);
        values[threadIdx.x] += float(threadIdx.x);
        ptx::fence_async_shared();
        __syncthreads();
        if (threadIdx.x == 0) {
            ptx::store_box(p.maps[1], values, 0, int32_t(step));
            ptx::store_commit();
            ptx::store_wait_read<0>();
        }
        __syncthreads();
    }
}
RIR_KERNEL(test_changed_in_place, CopyParams, 32, changed_in_place)

// A thread copies out what it alone has written: its fence is enough. All threads end groups and wait for them.
struct alignas(1024) OneLine {
    float values[32];
};
__device__ void lone_copy_out(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(OneLine, line);
    if (threadIdx.x == 5) {
        for (unsigned round = 0; round < 3; ++round) {
            for (unsigned i = 0; i < 32; ++i) line.values[i] = float(i + round);
            ptx::fence_async_shared();
            ptx::store_box(p.maps[0], line.values, 0, int32_t(round));
            ptx::store_commit();
            ptx::store_wait_read<0>();
        }
    }
    ptx::store_commit();
    ptx::store_wait<0>();
}
RIR_KERNEL(test_lone_copy_out, CopyParams, 1024, lone_copy_out)
