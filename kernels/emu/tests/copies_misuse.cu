// Programs that break one rule each of bulk copies and mbarriers. maps[0] is of what is read, maps[1] of what is
// written.
#include "lines.cuh"

// -- Waiting. --

__device__ void stage_not_waited(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) {
        load_line(p, lines, 0);
        p.y[0] = lines.values[0][0];
    }
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_stage_not_waited, CopyParams, 32, stage_not_waited)

__device__ void block_barrier_for_copy(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) load_line(p, lines, 0);
    __syncthreads();
    p.y[threadIdx.x] = lines.values[0][threadIdx.x];
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_block_barrier_for_copy, CopyParams, 32, block_barrier_for_copy)

// Parity 1 is that of the phase before the first.
__device__ void parity_of_before(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) {
        load_line(p, lines, 0);
        ptx::barrier_wait(lines.full, 1);
        p.y[0] = lines.values[0][0];
    }
}
RIR_KERNEL(test_parity_of_before, CopyParams, 32, parity_of_before)

// The second wait is for the phase of the first.
__device__ void parity_not_flipped(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x != 0) return;
    for (uint32_t i = 0; i < 2; ++i) {
        load_line(p, lines, i);
        ptx::barrier_wait(lines.full, 0);
        p.y[i] = lines.values[i][0];
    }
}
RIR_KERNEL(test_parity_not_flipped, CopyParams, 32, parity_not_flipped)

__device__ void parity_to_come(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) load_line(p, lines, 0);
    ptx::barrier_wait(lines.full, 0);
    ptx::barrier_wait(lines.full, 1);
}
RIR_KERNEL(test_parity_to_come, CopyParams, 32, parity_to_come)

// Says that it has read before it does.
__device__ void released_before_read(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) {
        for (uint32_t round = 0; round < 2; ++round) {
            ptx::barrier_wait(lines.empty, (round & 1) ^ 1);
            load_line(p, lines, 0);
        }
    } else if (threadIdx.x == 32) {
        for (uint32_t round = 0; round < 2; ++round) {
            ptx::barrier_wait(lines.full, round & 1);
            ptx::barrier_arrive(lines.empty);
            p.y[round] = lines.values[0][round];
        }
    }
}
RIR_KERNEL(test_released_before_read, CopyParams, 64, released_before_read)

__device__ void bytes_never_come(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) {
        ptx::barrier_arrive_and_expect(lines.full, 256);
        ptx::load_box(lines.values[0], p.maps[0], lines.full, 0, 0, 0);
    }
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_bytes_never_come, CopyParams, 32, bytes_never_come)

__device__ void block_ends_first(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) load_line(p, lines, 0);
}
RIR_KERNEL(test_block_ends_first, CopyParams, 1, block_ends_first)

// -- Arriving. --

__device__ void too_many_arrivals(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x != 0) return;
    ptx::barrier_arrive_and_expect(lines.full, 128);
    ptx::barrier_arrive(lines.full);
}
RIR_KERNEL(test_too_many_arrivals, CopyParams, 32, too_many_arrivals)

__device__ void phase_nobody_saw(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x != 0) return;
    ptx::barrier_arrive(lines.full);
    ptx::barrier_arrive(lines.full);
}
RIR_KERNEL(test_phase_nobody_saw, CopyParams, 32, phase_nobody_saw)

__device__ void too_many_bytes(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) ptx::barrier_arrive_and_expect(lines.full, 1 << 20);
}
RIR_KERNEL(test_too_many_bytes, CopyParams, 32, too_many_bytes)

// -- Making barriers. --

__device__ void barrier_not_made(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    ptx::barrier_wait(lines.spare, 1);
}
RIR_KERNEL(test_barrier_not_made, CopyParams, 32, barrier_not_made)

__device__ void barrier_not_known(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    if (threadIdx.x == 0) ptx::barrier_init(lines.full, 64);
    ptx::barrier_arrive(lines.full);
}
RIR_KERNEL(test_barrier_not_known, CopyParams, 64, barrier_not_known)

__device__ void barrier_without_fence(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    if (threadIdx.x == 0) ptx::barrier_init(lines.full, 1);
    __syncthreads();
    if (threadIdx.x == 0) load_line(p, lines, 0);
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_barrier_without_fence, CopyParams, 32, barrier_without_fence)

__device__ void barrier_made_twice(const CopyParams&) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) ptx::barrier_init(lines.full, 2);
}
RIR_KERNEL(test_barrier_made_twice, CopyParams, 32, barrier_made_twice)

__device__ void barrier_of_none(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    ptx::barrier_init(lines.full, p.items);
}
RIR_KERNEL(test_barrier_of_none, CopyParams, 1, barrier_of_none)

// -- What copies ask for. --

__device__ void misaligned_load(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) ptx::load_box(&lines.values[0][16], p.maps[0], lines.full, 0, 0, 0);
}
RIR_KERNEL(test_misaligned_load, CopyParams, 32, misaligned_load)

__device__ void misaligned_store(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    if (threadIdx.x == 0) ptx::store_box(p.maps[1], &lines.values[0][4], 0, 0);
}
RIR_KERNEL(test_misaligned_store, CopyParams, 32, misaligned_store)

__device__ void load_past_end(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) ptx::load_box(lines.values[0] + p.offset / 4, p.maps[0], lines.full, 0, 0, 0);
}
RIR_KERNEL(test_load_past_end, CopyParams, 32, load_past_end)

__device__ void load_to_global(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) ptx::load_box(p.y, p.maps[0], lines.full, 0, 0, 0);
}
RIR_KERNEL(test_load_to_global, CopyParams, 32, load_to_global)

__device__ void map_elsewhere(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    const TensorMap copy = p.maps[0];
    if (threadIdx.x == 0) ptx::load_box(lines.values[0], copy, lines.full, 0, 0, 0);
}
RIR_KERNEL(test_map_elsewhere, CopyParams, 32, map_elsewhere)

__device__ void map_of_nothing(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) ptx::load_box(lines.values[0], p.maps[1], lines.full, 0, 0, 0);
}
RIR_KERNEL(test_map_of_nothing, CopyParams, 32, map_of_nothing)

__device__ void map_of_other_rank(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) ptx::load_box(lines.values[0], p.maps[0], lines.full, 0, 0, 0, 0);
}
RIR_KERNEL(test_map_of_other_rank, CopyParams, 32, map_of_other_rank)

// Of any map: a box, and a column of pixels.
__device__ void load_first(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) load_line(p, lines, 0);
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_load_first, CopyParams, 32, load_first)

__device__ void load_column(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    const int32_t* at = p.list;
    if (threadIdx.x == 0) {
        ptx::barrier_arrive_and_expect(lines.full, 128);
        ptx::load_im2col(lines.values[0], p.maps[0], lines.full, at[0], at[1], at[2], at[3], uint16_t(at[5]),
                         uint16_t(at[6]), 0);
    }
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_load_column, CopyParams, 32, load_column)

// -- Races. --

// Two copies to one place, of one phase.
__device__ void loads_collide(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x != 0) return;
    ptx::barrier_arrive_and_expect(lines.full, 256);
    for (int32_t y = 0; y < 2; ++y) ptx::load_box(lines.values[0], p.maps[0], lines.full, 0, y, 0);
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_loads_collide, CopyParams, 32, loads_collide)

// One of two copies is expected, and both are read.
__device__ void one_expected(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x != 0) return;
    ptx::barrier_arrive_and_expect(lines.full, 128);
    for (int32_t y = 0; y < 2; ++y) ptx::load_box(lines.values[y], p.maps[0], lines.full, 0, y, 0);
    ptx::barrier_wait(lines.full, 0);
    p.y[0] = lines.values[0][0] + lines.values[1][0];
}
RIR_KERNEL(test_one_expected, CopyParams, 32, one_expected)

// A copy of what a thread writes meanwhile; y is in maps[1].
__device__ void source_written(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    begin(lines);
    if (threadIdx.x == 0) {
        ptx::barrier_arrive_and_expect(lines.full, 128);
        ptx::load_box(lines.values[0], p.maps[1], lines.full, 0, 0, 0);
    } else if (threadIdx.x == 5) {
        p.y[5] = 1.0f;
    }
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_source_written, CopyParams, 32, source_written)

// The block's barrier orders threads' accesses, which no fence here joins with copies of global memory.
__device__ void source_written_before(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    p.y[threadIdx.x] = 1.0f;
    begin(lines);
    ptx::fence_async_shared();
    __syncthreads();
    if (threadIdx.x == 0) {
        ptx::barrier_arrive_and_expect(lines.full, 128);
        ptx::load_box(lines.values[0], p.maps[1], lines.full, 0, 0, 0);
    }
    ptx::barrier_wait(lines.full, 0);
}
RIR_KERNEL(test_source_written_before, CopyParams, 32, source_written_before)

// -- Copies out. --

__device__ __forceinline__ void fill(Lines& lines, uint32_t line) {
    lines.values[line][threadIdx.x] = float(threadIdx.x);
    ptx::fence_async_shared();
    __syncthreads();
}

__device__ void store_without_fence(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    lines.values[0][threadIdx.x] = 1.0f;
    __syncthreads();
    if (threadIdx.x != 0) return;
    ptx::store_box(p.maps[1], lines.values[0], 0, 0);
    ptx::store_commit();
    ptx::store_wait<0>();
}
RIR_KERNEL(test_store_without_fence, CopyParams, 32, store_without_fence)

__device__ void store_fenced_too_early(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    lines.values[0][threadIdx.x] = 1.0f;
    ptx::fence_async_shared();
    if (threadIdx.x == 3) lines.values[0][3] = 2.0f;
    __syncthreads();
    if (threadIdx.x != 0) return;
    ptx::store_box(p.maps[1], lines.values[0], 0, 0);
    ptx::store_commit();
    ptx::store_wait<0>();
}
RIR_KERNEL(test_store_fenced_too_early, CopyParams, 32, store_fenced_too_early)

__device__ void copy_out_without_barrier(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    lines.values[0][threadIdx.x] = 1.0f;
    ptx::fence_async_shared();
    if (threadIdx.x != 0) return;
    ptx::store_box(p.maps[1], lines.values[0], 0, 0);
    ptx::store_commit();
    ptx::store_wait<0>();
}
RIR_KERNEL(test_copy_out_without_barrier, CopyParams, 32, copy_out_without_barrier)

// Copies a line out from coordinates of the list, and waits for it as `HOW` says: not; until it is read; or in vain,
// for it is not in a group.
enum class Wait { None, Read, Uncommitted };
template <Wait HOW>
__device__ void store_and_go(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    fill(lines, 0);
    if (threadIdx.x != 0) return;
    ptx::store_box(p.maps[1], lines.values[0], p.list[0], p.list[1]);
    if (HOW != Wait::Uncommitted) ptx::store_commit();
    if (HOW != Wait::None) ptx::store_wait_read<0>();
    if (HOW == Wait::Read) p.counts[0] = p.y[0] > 0.0f;
}
RIR_KERNEL(test_exit_under_store, CopyParams, 32, store_and_go<Wait::None>)
RIR_KERNEL(test_store_not_committed, CopyParams, 32, store_and_go<Wait::Uncommitted>)
RIR_KERNEL(test_result_read_early, CopyParams, 32, store_and_go<Wait::Read>)

__device__ void source_overwritten(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    fill(lines, 0);
    if (threadIdx.x == 0) {
        ptx::store_box(p.maps[1], lines.values[0], 0, 0);
        ptx::store_commit();
    }
    __syncthreads();
    if (threadIdx.x == 7) lines.values[0][7] = 2.0f;
    if (threadIdx.x == 0) ptx::store_wait<0>();
}
RIR_KERNEL(test_source_overwritten, CopyParams, 32, source_overwritten)

// The last group but one is waited for, and the last overwritten.
__device__ void waited_for_another(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    fill(lines, 0);
    fill(lines, 1);
    if (threadIdx.x != 0) return;
    for (int32_t line = 0; line < 2; ++line) {
        ptx::store_box(p.maps[1], lines.values[line], 0, line);
        ptx::store_commit();
    }
    ptx::store_wait_read<1>();
    lines.values[1][0] = 2.0f;
    ptx::store_wait<0>();
}
RIR_KERNEL(test_waited_for_another, CopyParams, 32, waited_for_another)

// "No ordering guarantee between any two" of a group; nor across groups.
template <bool ADDS, bool COMMITS>
__device__ void stores_collide(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    fill(lines, 0);
    fill(lines, 1);
    if (threadIdx.x != 0) return;
    if (ADDS) {
        ptx::add_box(p.maps[1], lines.values[0], 0, 0);
    } else {
        ptx::store_box(p.maps[1], lines.values[0], 0, 0);
    }
    if (COMMITS) ptx::store_commit();
    ptx::store_box(p.maps[1], lines.values[1], 0, 0);
    ptx::store_commit();
    ptx::store_wait<0>();
}
RIR_KERNEL(test_stores_collide, CopyParams, 32, stores_collide<false, false>)
RIR_KERNEL(test_store_over_store, CopyParams, 32, stores_collide<false, true>)
RIR_KERNEL(test_store_over_addition, CopyParams, 32, stores_collide<true, true>)

__device__ void add_first(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Lines, lines);
    fill(lines, 0);
    if (threadIdx.x != 0) return;
    ptx::add_box(p.maps[1], lines.values[0], 0, 0);
    ptx::store_commit();
    ptx::store_wait<0>();
}
RIR_KERNEL(test_add_first, CopyParams, 32, add_first)
