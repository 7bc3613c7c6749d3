// Barriers of some of a block's threads, of a cluster, and of registers.
#include <algorithm>

#include "machine.hpp"

namespace rir::emu {

// PTX ISA, barrier: `threads` is a multiple of the warp size, and the same for all who use the barrier; whole warps
// take part.
void Cluster::named_barrier(const Call& call, uint32_t threads, bool waits) {
    Thread& thread = *running;
    if (call.operand == 0 || call.operand >= NAMED_BARRIERS) {
        fault(call.site, "a barrier of number %u: 1 to %u are free, 0 is __syncthreads'", call.operand,
              NAMED_BARRIERS - 1);
    }
    if (threads == 0 || threads % LANES != 0 || threads > threads_of_block_) {
        fault(call.site, "barrier %u of %u threads, which are no whole warps of this block", call.operand, threads);
    }
    Named& named = blocks_[thread.block].named[call.operand];
    if (named.arrived == 0) {
        named.threads = threads;
    } else if (named.threads != threads) {
        fault(call.site, "comes to barrier %u of %u threads, where others wait for %u", call.operand, threads,
              named.threads);
    }
    machine_.clocks.release(thread.rank, named.known);
    if (waits) named.sleepers.push_back(&thread);
    const bool complete = ++named.arrived == threads;
    if (complete) {
        for (Thread* sleeper : named.sleepers) {
            machine_.clocks.acquire(sleeper->rank, named.known);
            if (sleeper != &thread) wake(*sleeper);
        }
        named.sleepers.clear();
        named.known.clear();
        named.arrived = 0;
        ++barriers_;
    } else if (waits) {
        sleep(call);
    }
}

void Cluster::arrive_at_cluster(const void* site) {
    Thread& thread = *running;
    uint64_t& phase = at_cluster_.phases[thread.rank];
    if (phase > at_cluster_.phase) fault(site, "barrier.cluster.arrive twice, without a barrier.cluster.wait between");
    phase = at_cluster_.phase + 1;
    machine_.clocks.release(thread.rank, at_cluster_.gathered);
    ++at_cluster_.arrived;
    complete_cluster_if_all_arrived();
}

void Cluster::complete_cluster_if_all_arrived() {
    // Those that exited are not waited for.
    uint32_t missing = 0;
    for (uint32_t rank = 0; rank < count_; ++rank) {
        missing += threads_[rank]->state != Thread::State::Exited && at_cluster_.phases[rank] <= at_cluster_.phase;
    }
    if (missing > 0 || at_cluster_.arrived == 0) return;
    at_cluster_.known.join(at_cluster_.gathered);
    at_cluster_.arrived = 0;
    ++at_cluster_.phase;
    ++barriers_;
    for (Thread* sleeper : at_cluster_.sleepers) {
        machine_.clocks.acquire(sleeper->rank, at_cluster_.known);
        wake(*sleeper);
    }
    at_cluster_.sleepers.clear();
}

void Cluster::wait_for_cluster(const Call& call) {
    Thread& thread = *running;
    const uint64_t phase = at_cluster_.phases[thread.rank];
    if (phase == 0) fault(call.site, "barrier.cluster.wait before any barrier.cluster.arrive");
    if (phase <= at_cluster_.phase) {
        machine_.clocks.acquire(thread.rank, at_cluster_.known);
        return;
    }
    at_cluster_.sleepers.push_back(&thread);
    sleep(call);
}

// setmaxnreg: what a thread gives back, others of its block may take; who asks for more than there is waits.
void Cluster::set_registers(const Call& call, uint32_t registers, bool increase) {
    Thread& thread = *running;
    Block& block = blocks_[thread.block];
    if (registers < 24 || registers > 256 || registers % 8 != 0) {
        fault(call.site, "setmaxnreg of %u registers, where it takes multiples of 8 from 24 to 256", registers);
    }
    if (increase ? registers < thread.registers : registers > thread.registers) {
        fault(call.site, "setmaxnreg.%s to %u registers of a thread that has %u", increase ? "inc" : "dec", registers,
              thread.registers);
    }
    if (!increase) {
        block.free_registers += thread.registers - registers;
        thread.registers = registers;
        give_registers(block);
        return;
    }
    Call asked = call;
    asked.operand = registers;
    if (block.free_registers < registers - thread.registers) {
        sleep(asked);
        return;
    }
    block.free_registers -= registers - thread.registers;
    thread.registers = registers;
}

void Cluster::give_registers(Block& block) {
    const uint32_t first = uint32_t(&block - blocks_.data()) * threads_of_block_;
    for (uint32_t rank = first; rank < first + threads_of_block_; ++rank) {
        Thread& thread = *threads_[rank];
        if (thread.state != Thread::State::Waiting || thread.call.primitive != Primitive::SetRegisters) continue;
        const uint32_t wanted = thread.call.operand - thread.registers;
        if (block.free_registers < wanted) continue;
        block.free_registers -= wanted;
        thread.registers = thread.call.operand;
        wake(thread);
    }
}

}  // namespace rir::emu
