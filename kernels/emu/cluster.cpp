// The scheduler, and the primitives that threads wait in.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "machine.hpp"
#include "matrix.hpp"
#include "text.hpp"
#include "warp.hpp"

namespace rir::emu {
namespace {

const char* name(Primitive primitive) {
    switch (primitive) {
        case Primitive::SyncThreads:
            return "__syncthreads";
        case Primitive::SyncThreadsCount:
            return "__syncthreads_count";
        case Primitive::SyncThreadsAnd:
            return "__syncthreads_and";
        case Primitive::SyncThreadsOr:
            return "__syncthreads_or";
        case Primitive::SyncWarp:
            return "__syncwarp";
        case Primitive::Ballot:
            return "__ballot_sync";
        case Primitive::All:
            return "__all_sync";
        case Primitive::Any:
            return "__any_sync";
        case Primitive::LoadMatrices:
            return "ldmatrix";
        case Primitive::LoadMatricesTransposed:
            return "ldmatrix.trans";
        case Primitive::StoreMatrices:
            return "stmatrix";
        case Primitive::MultiplyMatrices:
            return "mma.sync";
        case Primitive::ShuffleIndex:
            return "__shfl_sync";
        case Primitive::ShuffleUp:
            return "__shfl_up_sync";
        case Primitive::ShuffleDown:
            return "__shfl_down_sync";
        case Primitive::ShuffleXor:
            return "__shfl_xor_sync";
        case Primitive::NamedBarrier:
            return "bar.sync";
        case Primitive::WaitBarrier:
            return "mbarrier.try_wait";
        case Primitive::WaitCluster:
            return "barrier.cluster.wait";
        case Primitive::MultiplyWarpGroup:
            return "wgmma.mma_async";
        case Primitive::SetRegisters:
            return "setmaxnreg";
    }
    return "";
}

// Whether two calls are of one barrier. Two calls of one line are, since a compiler may duplicate the code.
bool same_barrier(const Call& a, const Call& b) {
    return a.primitive == b.primitive && a.line == b.line && std::strcmp(a.file, b.file) == 0;
}

// Registers of a thread that a block is launched with at most: 65,536 for all, in eights.
uint32_t registers_at_launch(uint32_t threads) { return std::min(65536 / threads, 255u) / 8 * 8; }

// Whether two calls in a warp answer each other.
bool same_warp_call(const Call& a, const Call& b) {
    return a.primitive == b.primitive && a.mask == b.mask && a.bytes == b.bytes;
}

}  // namespace

void Cluster::begin_launch(const uint32_t extent[3], uint32_t blocks) {
    threads_of_block_ = extent[0] * extent[1] * extent[2];
    count_ = threads_of_block_ * blocks;
    while (threads_.size() < count_) threads_.push_back(std::make_unique<Thread>());
    runnable_.reserve(count_);
    warps_.resize((count_ + LANES - 1) / LANES);
    blocks_.resize(blocks);
    at_cluster_.phases.resize(count_);
    at_cluster_.waited.resize(count_);
    for (uint32_t rank = 0; rank < count_; ++rank) {
        Thread& thread = *threads_[rank];
        const uint32_t in_block = rank % threads_of_block_;
        thread.machine = &machine_;
        thread.stack_low = uintptr_t(thread.stack.low());
        thread.rank = rank;
        thread.block = rank / threads_of_block_;
        thread.arena = machine_.arenas[thread.block].get();
        thread.index = {in_block % extent[0], in_block / extent[0] % extent[1], in_block / extent[0] / extent[1]};
    }
    barriers_ = 0;
    matrix_instructions_ = 0;
}

void Cluster::run(uint64_t first_block, Random& random) {
    random_ = &random;
    live_ = count_;
    runnable_.clear();
    for (uint32_t w = 0; w < warps_.size(); ++w) {
        const uint32_t lanes = std::min(LANES, count_ - w * LANES);
        warps_[w].alive = uint32_t((uint64_t(1) << lanes) - 1);
        warps_[w].gatherings.clear();
        warps_[w].registers = registers_at_launch(threads_of_block_);
        warps_[w].asking = 0;
    }
    for (uint32_t block = 0; block < blocks(); ++block) {
        Block& at = blocks_[block];
        at.index = machine_.block_index(first_block + block);
        at.live = threads_of_block_;
        at.waiting = 0;
        at.free_registers = 0;
        at.open = 0;
        for (Named& named : at.named) {
            std::fill(std::begin(named.came), std::end(named.came), 0);
            named.sleepers.clear();
            named.known.clear();
        }
    }
    at_cluster_.phase = 0;
    at_cluster_.arrived = 0;
    at_cluster_.gathered.clear();
    at_cluster_.known.clear();
    at_cluster_.sleepers.clear();
    std::fill(at_cluster_.phases.begin(), at_cluster_.phases.end(), 0);
    std::fill(at_cluster_.waited.begin(), at_cluster_.waited.end(), 0);
    for (uint32_t rank = 0; rank < count_; ++rank) {
        Thread& thread = *threads_[rank];
        thread.copies.begin_block();
        thread.committed = 0;
        thread.marks.begin_block();
        thread.fiber.start(thread.stack, run_thread, &thread);
        wake(thread);
    }
    running = take_next();
    main_.switch_to(running->fiber);
    running = nullptr;
}

void Cluster::run_thread(void* argument) {
    Thread& thread = *static_cast<Thread*>(argument);
    Machine& machine = *thread.machine;
    machine.kernel->entry(machine.params);
    machine.cluster.exit_thread(thread);
}

void Cluster::exit_thread(Thread& thread) {
    Block& block = blocks_[thread.block];
    machine_.warpgroups.check_exit(thread);
    machine_.bulk.check_exit(thread, block.live == 1);
    if (block.live == 1) check_registers(thread.block);
    thread.state = Thread::State::Exited;
    --live_;
    --block.live;
    // Those that exited are not waited for.
    if (block.live > 0 && block.waiting == block.live) complete_barrier(block);
    if (at_cluster_.phases[thread.rank] <= at_cluster_.phase) complete_cluster_if_all_arrived();
    Warp& warp = warps_[thread.warp()];
    warp.alive &= ~(1u << thread.lane());
    // One completed gathering may be replaced by the list's last.
    for (size_t i = warp.gatherings.size(); i-- > 0;) complete_if_all_arrived(warp, i);
    for (uint32_t open = block.open; open != 0; open &= open - 1) {
        complete_named_if_all_arrived(block, uint32_t(__builtin_ctz(open)));
    }
    if (warp.asking != 0) settle_registers(thread.block);
    running = take_next();
    thread.fiber.finish_to(running ? running->fiber : main_);
}

void Cluster::leave_by_fault() { running->fiber.finish_to(main_); }

Thread* Cluster::take_next() {
    machine_.bulk.step(*random_);
    machine_.warpgroups.step(*random_);
    while (runnable_.empty()) {
        if (!machine_.bulk.end_one(*random_)) return nullptr;
    }
    Thread*& taken = runnable_[random_->below(uint32_t(runnable_.size()))];
    Thread* next = taken;
    taken = runnable_.back();
    runnable_.pop_back();
    return next;
}

void Cluster::wait(Thread& thread) {
    running = take_next();
    if (running != &thread) thread.fiber.switch_to(running ? running->fiber : main_);
}

void Cluster::wake(Thread& thread) {
    thread.state = Thread::State::Runnable;
    runnable_.push_back(&thread);
}

void Cluster::yield() {
    wake(*running);
    wait(*running);
}

void Cluster::sleep(const Call& call) {
    Thread& thread = *running;
    thread.call = call;
    thread.state = Thread::State::Waiting;
    wait(thread);
}

const Call& Cluster::at_barrier(const Call& call) {
    Thread& thread = *running;
    Block& block = blocks_[thread.block];
    if (block.waiting == 0) {
        block.first_waiting = &thread;
    } else if (const Call& theirs = block.first_waiting->call; !same_barrier(theirs, call)) {
        fault(call.site, "divergent barrier: waits in %s (%s:%d) while thread %s waits in %s (%s:%d)",
              name(call.primitive), call.file, call.line, Machine::name(block.first_waiting->index).text,
              name(theirs.primitive), theirs.file, theirs.line);
    }
    thread.call = call;
    thread.state = Thread::State::AtBarrier;
    if (++block.waiting == block.live) complete_barrier(block);
    wait(thread);
    return thread.call;
}

void Cluster::complete_barrier(Block& block) {
    const uint32_t first = uint32_t(&block - blocks_.data()) * threads_of_block_, end = first + threads_of_block_;
    uint32_t nonzero = 0;
    for (uint32_t rank = first; rank < end; ++rank) {
        const Thread& thread = *threads_[rank];
        nonzero += thread.state == Thread::State::AtBarrier && thread.call.operand != 0;
    }
    for (uint32_t rank = first; rank < end; ++rank) {
        Thread& thread = *threads_[rank];
        if (thread.state != Thread::State::AtBarrier) continue;
        switch (thread.call.primitive) {
            case Primitive::SyncThreadsCount:
                thread.call.value = nonzero;
                break;
            case Primitive::SyncThreadsAnd:
                thread.call.value = nonzero == block.waiting;
                break;
            case Primitive::SyncThreadsOr:
                thread.call.value = nonzero > 0;
                break;
            default:
                break;
        }
        wake(thread);
    }
    block.waiting = 0;
    ++barriers_;
    machine_.clocks.barrier(uint32_t(&block - blocks_.data()));
}

const Call& Cluster::at_warp(const Call& call) {
    Thread& thread = *running;
    if (!(call.mask >> thread.lane() & 1)) {
        fault(call.site, "calls %s (%s:%d) with mask 0x%08x, which does not name its own lane, %u",
              name(call.primitive), call.file, call.line, call.mask, thread.lane());
    }
    Warp& warp = warps_[thread.warp()];
    size_t ours = warp.gatherings.size();
    for (size_t i = 0; i < warp.gatherings.size(); ++i) {
        const Gathering& gathering = warp.gatherings[i];
        const Call& theirs = gathering.first->call;
        if (same_warp_call(theirs, call)) {
            ours = i;
        } else if ((theirs.mask >> thread.lane() & 1) && (gathering.arrived & call.mask)) {
            fault(
                call.site,
                "calls %s (%s:%d) with mask 0x%08x, while thread %s, which it names, calls %s (%s:%d) with mask 0x%08x",
                name(call.primitive), call.file, call.line, call.mask, Machine::name(gathering.first->index).text,
                name(theirs.primitive), theirs.file, theirs.line, theirs.mask);
        }
    }
    thread.call = call;
    thread.state = Thread::State::AtWarp;
    if (ours == warp.gatherings.size()) warp.gatherings.push_back({&thread, 0});
    warp.gatherings[ours].arrived |= 1u << thread.lane();
    complete_if_all_arrived(warp, ours);
    wait(thread);
    return thread.call;
}

void Cluster::complete_if_all_arrived(Warp& warp, size_t index) {
    const Gathering gathering = warp.gatherings[index];
    if ((gathering.first->call.mask & warp.alive) != gathering.arrived) return;
    warp.gatherings[index] = warp.gatherings.back();
    warp.gatherings.pop_back();
    complete_warp(gathering.first->warp(), gathering.arrived);
}

void Cluster::complete_warp(uint32_t warp, uint32_t lanes) {
    const uint32_t first = warp * LANES;
    uint32_t ballot = 0;
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        if (lanes >> lane & 1) ballot |= uint32_t(threads_[first + lane]->call.operand != 0) << lane;
    }
    const Primitive primitive = threads_[first + uint32_t(__builtin_ctz(lanes))]->call.primitive;
    if (primitive == Primitive::SyncWarp) machine_.clocks.join(warp, lanes);
    if (primitive >= Primitive::LoadMatrices && primitive <= Primitive::MultiplyMatrices) matrices(warp, lanes);
    if (primitive >= Primitive::ShuffleIndex && primitive <= Primitive::ShuffleXor) shuffle(warp, lanes);
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        if (!(lanes >> lane & 1)) continue;
        Thread& thread = *threads_[first + lane];
        switch (primitive) {
            case Primitive::Ballot:
                thread.call.value = ballot;
                break;
            case Primitive::All:
                thread.call.value = ballot == lanes;
                break;
            case Primitive::Any:
                thread.call.value = ballot != 0;
                break;
            default:
                break;
        }
        wake(thread);
    }
}

// Lanes in segments of `width`, as PTX ISA describes shfl.sync: an index is taken modulo the segment; a source below
// the segment (up) or above it (down, xor) is none, and the lane keeps its own value.
void Cluster::shuffle(uint32_t warp, uint32_t lanes) {
    uint64_t got[LANES];
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        if (!(lanes >> lane & 1)) continue;
        const Thread& thread = *threads_[warp * LANES + lane];
        const Call& call = thread.call;
        const uint32_t width = uint32_t(call.width), begin = lane & ~(width - 1), end = begin + width;
        uint32_t source = lane;
        switch (call.primitive) {
            case Primitive::ShuffleUp:
                source = lane - begin >= call.operand ? lane - call.operand : lane;
                break;
            case Primitive::ShuffleDown:
                source = call.operand < end - lane ? lane + call.operand : lane;
                break;
            case Primitive::ShuffleXor:
                source = (lane ^ call.operand) < end ? lane ^ call.operand : lane;
                break;
            default:
                source = begin + (call.operand & (width - 1));
                break;
        }
        if (!(lanes >> source & 1)) {
            running->state = Thread::State::Runnable;
            running = threads_[warp * LANES + lane].get();
            fault(call.site, "%s (%s:%d) with mask 0x%08x takes the value of lane %u, which takes no part in it",
                  name(call.primitive), call.file, call.line, call.mask, source);
        }
        got[lane] = threads_[warp * LANES + source]->call.value;
    }
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        if (lanes >> lane & 1) threads_[warp * LANES + lane]->call.value = got[lane];
    }
}

void Cluster::matrices(uint32_t warp, uint32_t lanes) {
    if (lanes != UINT32_MAX) {
        running = threads_[warp * LANES + uint32_t(__builtin_ctz(lanes))].get();
        const Call& call = running->call;
        fault(call.site, "%s (%s:%d) without lane %u, which has exited or is none: all 32 take part in it",
              name(call.primitive), call.file, call.line, uint32_t(__builtin_ctz(~lanes)));
    }
    Thread* threads[LANES];
    for (uint32_t lane = 0; lane < LANES; ++lane) threads[lane] = threads_[warp * LANES + lane].get();
    // A faulty access is the fault of the lane that it is made for.
    Thread* const caller = running;
    const Primitive primitive = threads[0]->call.primitive;
    if (primitive == Primitive::MultiplyMatrices) {
        multiply_matrices(threads);
        ++matrix_instructions_;
    } else {
        move_matrices(machine_, threads);
    }
    running = caller;
}

void Cluster::describe_deadlock(char* text, size_t size) const {
    Text out(text, size);
    const auto alike = [](const Thread& a, const Thread& b) {
        if (a.state != b.state) return false;
        if (a.state == Thread::State::Exited) return true;
        if (!same_barrier(a.call, b.call) || a.block != b.block) return false;
        // An mbarrier's place and parity, a barrier's number, registers; of others, operand and value are data.
        switch (a.call.primitive) {
            case Primitive::WaitBarrier:
            case Primitive::NamedBarrier:
            case Primitive::SetRegisters:
                return a.call.value == b.call.value && a.call.operand == b.call.operand;
            default:
                return a.call.mask == b.call.mask;
        }
    };
    for (uint32_t rank = 0; rank < count_; ++rank) {
        const Thread& thread = *threads_[rank];
        uint32_t earlier = 0, together = 0;
        for (uint32_t other = 0; other < count_; ++other) {
            if (!alike(thread, *threads_[other])) continue;
            ++together;
            earlier += other < rank;
        }
        if (earlier > 0) continue;
        const Call& call = thread.call;
        const char* threads = together == 1 ? "thread" : "threads";
        if (!out.empty()) out.add("; ");
        if (thread.state == Thread::State::Exited) {
            out.add("%u %s exited", together, threads);
        } else {
            out.add("%u %s in %s (%s:%d)", together, threads, name(call.primitive), call.file, call.line);
            if (thread.state == Thread::State::AtWarp) out.add(" with mask 0x%08x", call.mask);
            if (call.primitive == Primitive::WaitBarrier) {
                char where[128];
                thread.arena->describe(uintptr_t(call.value), where, sizeof where);
                out.add(" for parity %u of the barrier %s", call.operand, where);
                machine_.barriers.describe(uintptr_t(call.value), where, sizeof where);
                out.add(" (%s)", where);
            } else if (call.primitive == Primitive::NamedBarrier) {
                out.add(" number %u", call.operand);
            } else if (call.primitive == Primitive::SetRegisters) {
                out.add(" to %u registers of each thread, of which %u are free for a warp", call.operand,
                        blocks_[thread.block].free_registers);
            }
        }
        out.add(", such as %s", machine_.thread_name(rank).text);
    }
}

void shuffle(Shuffle kind, unsigned mask, void* value, size_t bytes, unsigned operand, int width, const char* file,
             int line) {
    const void* site = __builtin_return_address(0);
    if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
        fault(site, "a shuffle (%s:%d) of width %d, which is no power of two up to 32", file, line, width);
    }
    const auto primitive = Primitive(int(Primitive::ShuffleIndex) + int(kind));
    Call call{primitive, uint8_t(bytes), file, line, site, mask, operand, width};
    std::memcpy(&call.value, value, bytes);
    std::memcpy(value, &running->machine->cluster.at_warp(call).value, bytes);
}

}  // namespace rir::emu

namespace {

using namespace rir::emu;

Cluster& cluster() { return running->machine->cluster; }

}  // namespace

void __syncthreads(const char* file, int line) {
    cluster().at_barrier({Primitive::SyncThreads, 0, file, line, __builtin_return_address(0)});
}
int __syncthreads_count(int predicate, const char* file, int line) {
    const void* site = __builtin_return_address(0);
    return int(cluster().at_barrier({Primitive::SyncThreadsCount, 0, file, line, site, 0, unsigned(predicate)}).value);
}
int __syncthreads_and(int predicate, const char* file, int line) {
    const void* site = __builtin_return_address(0);
    return int(cluster().at_barrier({Primitive::SyncThreadsAnd, 0, file, line, site, 0, unsigned(predicate)}).value);
}
int __syncthreads_or(int predicate, const char* file, int line) {
    const void* site = __builtin_return_address(0);
    return int(cluster().at_barrier({Primitive::SyncThreadsOr, 0, file, line, site, 0, unsigned(predicate)}).value);
}

void __syncwarp(unsigned mask, const char* file, int line) {
    cluster().at_warp({Primitive::SyncWarp, 0, file, line, __builtin_return_address(0), mask});
}
unsigned __ballot_sync(unsigned mask, int predicate, const char* file, int line) {
    const void* site = __builtin_return_address(0);
    return unsigned(cluster().at_warp({Primitive::Ballot, 0, file, line, site, mask, unsigned(predicate)}).value);
}
int __all_sync(unsigned mask, int predicate, const char* file, int line) {
    const void* site = __builtin_return_address(0);
    return int(cluster().at_warp({Primitive::All, 0, file, line, site, mask, unsigned(predicate)}).value);
}
int __any_sync(unsigned mask, int predicate, const char* file, int line) {
    const void* site = __builtin_return_address(0);
    return int(cluster().at_warp({Primitive::Any, 0, file, line, site, mask, unsigned(predicate)}).value);
}
unsigned __activemask() {
    cluster().yield();
    return 1u << running->lane();
}
