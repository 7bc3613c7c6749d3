// Barriers of some of a block's threads, of a cluster, and of registers.
#include <algorithm>
#include <utility>

#include "machine.hpp"

namespace rir::emu {

// PTX ISA, barrier: the number of threads is a multiple of the warp size, and the same for all who use the barrier. A
// warp has arrived when all its lanes have that have not exited, and counts whole.
void Cluster::named_barrier(const Call& call, uint32_t threads, bool waits) {
    Thread& thread = *running;
    if (call.operand == 0 || call.operand >= NAMED_BARRIERS) {
        fault(call.site, "a barrier of number %u: 1 to %u are free, 0 is __syncthreads'", call.operand,
              NAMED_BARRIERS - 1);
    }
    if (threads == 0 || threads % LANES != 0 || threads > threads_of_block_) {
        fault(call.site, "barrier %u of %u threads, which are no whole warps of this block", call.operand, threads);
    }
    Block& block = blocks_[thread.block];
    Named& named = block.named[call.operand];
    if (!(block.open >> call.operand & 1)) named.threads = threads;
    if (named.threads != threads) {
        fault(call.site, "comes to barrier %u of %u threads, where others wait for %u", call.operand, threads,
              named.threads);
    }
    uint32_t& came = named.came[thread.warp() - first_warp(thread.block)];
    if (came >> thread.lane() & 1) {
        fault(call.site, "comes to barrier %u again, before it has completed", call.operand);
    }
    came |= 1u << thread.lane();
    block.open |= 1u << call.operand;
    machine_.clocks.release(thread.rank, named.known);
    if (!waits) return complete_named_if_all_arrived(block, call.operand);
    thread.call = call;
    thread.state = Thread::State::Waiting;
    named.sleepers.push_back(&thread);
    complete_named_if_all_arrived(block, call.operand);
    wait(thread);
}

void Cluster::complete_named_if_all_arrived(Block& block, uint32_t id) {
    Named& named = block.named[id];
    const uint32_t first = first_warp(uint32_t(&block - blocks_.data()));
    const auto arrived = [&](uint32_t warp) {
        return named.came[warp] != 0 && (warps_[first + warp].alive & ~named.came[warp]) == 0;
    };
    uint32_t threads = 0;
    for (uint32_t warp = 0; warp < WARPS; ++warp) threads += arrived(warp) ? LANES : 0;
    if (threads == 0 || threads < named.threads) return;
    // Lanes of a warp that has not wholly arrived have come for the next time.
    const auto end = std::partition(named.sleepers.begin(), named.sleepers.end(),
                                    [&](const Thread* thread) { return !arrived(thread->warp() - first); });
    for (auto sleeper = end; sleeper != named.sleepers.end(); ++sleeper) {
        machine_.clocks.acquire((*sleeper)->rank, named.known);
        wake(**sleeper);
    }
    named.sleepers.erase(end, named.sleepers.end());
    bool empty = true;
    for (uint32_t warp = 0; warp < WARPS; ++warp) {
        if (arrived(warp)) named.came[warp] = 0;
        empty &= named.came[warp] == 0;
    }
    if (empty) {
        named.known.clear();
        block.open &= ~(1u << id);
    }
    ++barriers_;
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
    if (phase == std::exchange(at_cluster_.waited[thread.rank], phase)) {
        fault(call.site, "barrier.cluster.wait without a barrier.cluster.arrive before it");
    }
    if (phase <= at_cluster_.phase) {
        machine_.clocks.acquire(thread.rank, at_cluster_.known);
        return;
    }
    at_cluster_.sleepers.push_back(&thread);
    sleep(call);
}

// setmaxnreg, by all lanes of a warp together: what a warp gives back, others of its block may take; a warp that asks
// for more than there is waits.
void Cluster::set_registers(const Call& call, uint32_t registers, bool increase) {
    Thread& thread = *running;
    Warp& warp = warps_[thread.warp()];
    if (registers < 24 || registers > 256 || registers % 8 != 0) {
        fault(call.site, "setmaxnreg of %u registers, where it takes multiples of 8 from 24 to 256", registers);
    }
    if ((thread.warp() - first_warp(thread.block)) / 4 * 4 + 4 > threads_of_block_ / LANES) {
        fault(call.site, "setmaxnreg by warps that are no whole group of four");
    }
    if (increase ? registers < warp.registers : registers > warp.registers) {
        fault(call.site, "setmaxnreg.%s to %u registers of a thread that has %u", increase ? "inc" : "dec", registers,
              warp.registers);
    }
    if (warp.asking != 0 && warp.asked != registers) {
        fault(call.site, "setmaxnreg of %u registers, where others of its warp ask for %u", registers, warp.asked);
    }
    warp.asked = registers;
    warp.asking |= 1u << thread.lane();
    thread.call = call;
    thread.call.operand = registers;
    thread.state = Thread::State::Waiting;
    settle_registers(thread.block);
    wait(thread);
}

void Cluster::settle_registers(uint32_t block) {
    uint32_t& free = blocks_[block].free_registers;
    const uint32_t first = first_warp(block), count = (threads_of_block_ + LANES - 1) / LANES;
    // Who gives comes before who takes; of those, nobody is known to be first.
    const uint32_t begin = random_->below(count);
    for (const bool takes : {false, true}) {
        for (uint32_t i = 0; i < count; ++i) {
            const uint32_t index = first + (begin + i) % count;
            Warp& warp = warps_[index];
            if (warp.asking == 0 || (warp.alive & ~warp.asking) != 0 || (warp.asked > warp.registers) != takes)
                continue;
            if (takes && warp.asked - warp.registers > free) continue;
            free += warp.registers - warp.asked;
            warp.registers = warp.asked;
            for (uint32_t lanes = warp.asking & warp.alive; lanes != 0; lanes &= lanes - 1) {
                wake(*threads_[index * LANES + uint32_t(__builtin_ctz(lanes))]);
            }
            warp.asking = 0;
        }
    }
}

// PTX ISA: if not all warps of a warp group execute a setmaxnreg, the behaviour is undefined.
void Cluster::check_registers(uint32_t block) const {
    const uint32_t first = first_warp(block), end = first + threads_of_block_ / LANES;
    for (uint32_t warp = first; warp < end; ++warp) {
        if (warps_[warp].registers == warps_[first + (warp - first) / 4 * 4].registers) continue;
        fault(nullptr, "the block ends, and of the four warps of a group only some have executed a setmaxnreg");
    }
}

}  // namespace rir::emu
