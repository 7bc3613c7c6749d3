// PTX of launches that follow each other (programmatic dependent launch, compute capability 9.0 and newer), by the
// rules of ptx.cuh. Every exported kernel begins with begin_launch, or with its first half (rir.cuh), so this file
// stands below all others.
//
// A launch that the driver marks may begin before the launch before it has ended: its blocks are placed, and wait,
// while the last blocks of the one before still work. Why that is right:
//
// - Every thread of every kernel waits before it touches global memory, and what it waits for is that the launch before
//   has ended and its writes are seen. That one cannot have ended before its own wait was over. So everything that was
//   queued earlier has ended, however many launches have begun: what is read is there, and nothing is overwritten that
//   is still to be read.
// - A kernel that was compiled for an older architecture does not wait, so the driver never marks it (card/launch.rs).
//
// Why the first thing that a kernel does is to let the next one begin: that takes effect once every block has said so
// or ended, so every block of this launch has its place by then, and a block that waits takes none from it. This holds
// along a chain as well, and nothing waits for a later launch, so there is no deadlock. What waiting blocks hold
// (registers, shared memory, places for threads) is what this launch could not use any more. Where a kernel fills a
// multiprocessor, as persistent ones do, the next launch's block takes the place of a block that has ended: it is
// there, its barriers made (the kernels on wgmma wait only then, make_ring of conv2d/wgmma_ws.cuh), when the slowest
// block ends. Where small blocks leave room, they wait beside those that work, and issue nothing.
#pragma once

#if !defined(__CUDACC__)
#include "emu/hopper.hpp"
#endif

namespace ptx {

// griddepcontrol.wait: until the launches before this one have ended, and what they wrote is seen. Of a launch that was
// not marked: at once.
__device__ __forceinline__ void wait_for_launch_before() {
#if !defined(__CUDACC__)
    rir::emu::wait_for_launch_before();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// griddepcontrol.launch_dependents: the next launch may begin, once every block has said so or ended.
__device__ __forceinline__ void let_next_launch_begin() {
#if !defined(__CUDACC__)
    rir::emu::let_next_launch_begin();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ void begin_launch() {
    let_next_launch_begin();
    wait_for_launch_before();
}

}  // namespace ptx
