#include "mbarrier.hpp"

#include <cstdio>

#include "machine.hpp"

namespace rir::emu {
namespace {

constexpr uint32_t MOST_ARRIVALS = (1 << 20) - 1, BYTES = 8;
constexpr int64_t MOST_BYTES = (1 << 20) - 1;

}  // namespace

void Barriers::make(const void* at, uint32_t count, const void* site) {
    Thread& thread = *running;
    if (count == 0 || count > MOST_ARRIVALS) {
        fault(site, "mbarrier.init for %u arrivals, where it takes 1 to %u", count, MOST_ARRIVALS);
    }
    if (!thread.arena->near(uintptr_t(at))) fault(site, "mbarrier.init outside of the block's shared memory");
    machine_.touch(thread, uintptr_t(at), BYTES, Access::Write, site);
    const auto [made, is_new] = all_.try_emplace(uintptr_t(at));
    MBarrier& barrier = made->second;
    if (!is_new) fault(site, "mbarrier.init of a barrier that was made before, and not taken back");
    barrier.at = uintptr_t(at);
    barrier.block = thread.block;
    barrier.count = barrier.pending = count;
    barrier.maker = thread.rank;
    barrier.agent = machine_.agents.add("a bulk copy");
}

void Barriers::fence() {
    for (auto& [_, barrier] : all_) barrier.fenced |= barrier.maker == running->rank;
}

MBarrier& Barriers::find(const void* at, uint32_t block, const char* what, const void* site) {
    Thread& thread = *running;
    Machine& machine = machine_;
    if (!thread.arena->near(uintptr_t(at))) fault(site, "%s of what is not in the block's shared memory", what);
    if (block >= machine.cluster.blocks()) {
        fault(site, "%s in block %u of a cluster of %u", what, block, machine.cluster.blocks());
    }
    const uintptr_t there = machine.arenas[block]->begin() + (uintptr_t(at) - thread.arena->begin());
    const auto found = all_.find(there);
    if (found == all_.end()) {
        char where[128];
        machine.describe_shared(there, where, sizeof where);
        fault(site, "%s %s, where no barrier was made%s", what, where,
              block == thread.block ? "" : " (in another block of the cluster)");
    }
    MBarrier& barrier = found->second;
    if (block != thread.block && machine.cluster.block_exited(block)) {
        fault(site, "%s in a block that has ended", what);
    }
    if (machine.kernel->instrumented) {
        const Actor actor = Actor::of(thread.rank, machine.clocks, site);
        machine.shadow.shared(block, there, BYTES, Access::Atomic, actor);
    }
    return barrier;
}

MBarrier& Barriers::of_copy(const void* at, uint32_t block, const void* site) {
    MBarrier& barrier = find(at, block, "a bulk copy on the barrier", site);
    if (!barrier.fenced) {
        fault(site, "a bulk copy on a barrier without fence.mbarrier_init or fence.proxy.async after it was made");
    }
    return barrier;
}

void Barriers::arrive(const void* at, uint32_t block, uint32_t expected_bytes, const void* site) {
    MBarrier& barrier = find(at, block, "mbarrier.arrive at the barrier", site);
    if (barrier.pending == 0) {
        fault(site, "arrives at a barrier for %u, where all have arrived and only bytes are still to come",
              barrier.count);
    }
    if (barrier.phase > 0 && !barrier.seen) {
        fault(site, "arrives in phase %llu of a barrier, where nobody has waited for the one before it",
              static_cast<unsigned long long>(barrier.phase));
    }
    barrier.bytes += expected_bytes;
    if (barrier.bytes > MOST_BYTES) fault(site, "a barrier that expects more than %d bytes", int(MOST_BYTES));
    machine_.clocks.release(running->rank, barrier.arriving);
    --barrier.pending;
    complete_if_due(barrier);
}

void Barriers::complete_bytes(MBarrier& barrier, uint32_t bytes, Stamp stamp) {
    barrier.bytes -= bytes;
    barrier.arriving.raise(machine_.clocks.place(barrier.agent), stamp);
    complete_if_due(barrier);
}

void Barriers::complete_if_due(MBarrier& barrier) {
    if (barrier.pending > 0 || barrier.bytes != 0) return;
    barrier.pending = barrier.count;
    ++barrier.phase;
    barrier.seen = false;
    barrier.known.join(barrier.arriving);
    barrier.arriving.clear();
    for (Thread* sleeper : barrier.sleepers) machine_.cluster.wake(*sleeper);
    barrier.sleepers.clear();
}

void Barriers::wait(const void* at, uint32_t parity, const char* file, int line, const void* site) {
    Thread& thread = *running;
    MBarrier& barrier = find(at, thread.block, "mbarrier.try_wait of the barrier", site);
    if (parity > 1) fault(site, "mbarrier.try_wait of parity %u", parity);
    // The phase of the other parity is the one under way: that of this one has completed.
    while ((barrier.phase & 1) == parity) {
        Call call{Primitive::WaitBarrier, 0, file, line, site, 0, parity};
        call.value = uintptr_t(at);
        barrier.sleepers.push_back(&thread);
        machine_.cluster.sleep(call);
    }
    barrier.seen = true;
    machine_.clocks.acquire(thread.rank, barrier.known);
}

void Barriers::describe(uintptr_t at, char* text, size_t size) const {
    const MBarrier& barrier = all_.at(at);
    std::snprintf(text, size, "phase %llu, %u of %u arrivals and %lld bytes to come",
                  static_cast<unsigned long long>(barrier.phase), barrier.pending, barrier.count,
                  static_cast<long long>(barrier.bytes));
}

}  // namespace rir::emu
