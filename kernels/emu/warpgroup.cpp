// Matrix descriptors, layouts of operands and fragments by PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
#include "warpgroup.hpp"

#include <algorithm>
#include <cstring>

#include "bf16.hpp"
#include "machine.hpp"

namespace rir::emu {
namespace {

constexpr uint32_t ROWS = 64, DEPTH = 16, CHUNK = 16, CHUNK_ELEMENTS = 8;
constexpr uint32_t A_REGISTERS = ROWS * DEPTH / 2 / WARP_GROUP;

// A matrix descriptor, and where it puts the elements of an operand: rows of A or columns of B are `at`.
struct Descriptor {
    uintptr_t start;
    uint32_t leading, stride;  // bytes
    uint32_t swizzle;          // bits of the address that are exchanged
    bool across;

    Descriptor(uint64_t bits, bool across)
        : start((bits & 0x3fff) << 4),
          leading(uint32_t(bits >> 16 & 0x3fff) << 4),
          stride(uint32_t(bits >> 32 & 0x3fff) << 4),
          // 0: none, 1: 128 bytes, 2: 64, 3: 32
          swizzle(uint32_t(4 - (bits >> 62)) % 4),
          across(across) {}

    uint32_t line() const { return CHUNK << swizzle; }
    // The chunk of eight elements along what is contiguous, before the swizzle.
    uintptr_t chunk(uint32_t at, uint32_t depth) const {
        uintptr_t offset;
        if (across) {
            const uint32_t span = line() / 2;
            offset = swizzle == 0 ? at / 8 * stride + depth / 8 * leading + depth % 8 * CHUNK
                                  : at / span * leading + at % span * 2 + depth / 8 * stride + depth % 8 * line();
        } else {
            offset = swizzle == 0 ? at / 8 * stride + at % 8 * CHUNK + depth / 8 * leading
                                  : at / 8 * stride + at % 8 * line() + depth * 2;
        }
        return swizzled(start + offset, swizzle);
    }
    // Calls f(at, depth, offset) for every chunk of an operand `width` wide.
    template <typename F>
    void each_chunk(uint32_t width, const F& f) const {
        const uint32_t at_step = across ? CHUNK_ELEMENTS : 1, depth_step = across ? 1 : CHUNK_ELEMENTS;
        for (uint32_t at = 0; at < width; at += at_step) {
            for (uint32_t depth = 0; depth < DEPTH; depth += depth_step) f(at, depth, chunk(at, depth));
        }
    }
};

// Row and column of a thread's sum `i`; of operand A in registers, row and depth of its element `i`.
uint32_t row_of(uint32_t thread, uint32_t i) { return thread / LANES * 16 + thread % LANES / 4 + i / 2 % 2 * 8; }
uint32_t column_of(uint32_t thread, uint32_t i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

const WarpGroupOperands& operands_of(const Call& call) { return *static_cast<WarpGroupOperands*>(call.matrices); }

}  // namespace

void WarpGroups::begin_cluster() {
    groups_.clear();
    under_way_ = 0;
}

WarpGroups::Group& WarpGroups::group_of(const Thread& thread, const void* site) {
    const uint32_t in_block = thread.rank - thread.block * machine_.cluster.threads_of_block();
    const uint32_t first = in_block / WARP_GROUP * WARP_GROUP;
    if (first + WARP_GROUP > machine_.cluster.threads_of_block()) {
        fault(site, "wgmma by warps that are no whole group of four");
    }
    const uint32_t first_thread = thread.rank - in_block + first;
    for (Group& group : groups_) {
        if (group.first_thread == first_thread) return group;
    }
    Group& made = groups_.emplace_back();
    made.first_thread = first_thread;
    made.agent = machine_.agents.add("wgmma");
    return made;
}

void WarpGroups::commit() { ++running->committed; }

void WarpGroups::multiply(const Call& call) {
    Thread& thread = *running;
    Group& group = group_of(thread, call.site);
    const WarpGroupOperands& mine = operands_of(call);
    if (group.arrived == 0) {
        group.first = call;
    } else {
        const WarpGroupOperands& theirs = operands_of(group.first);
        const bool same = call.line == group.first.line && mine.columns == theirs.columns && mine.a == theirs.a &&
                          mine.b == theirs.b && !mine.registers == !theirs.registers &&
                          mine.a_across == theirs.a_across && mine.b_across == theirs.b_across &&
                          mine.accumulate == theirs.accumulate;
        if (!same) fault(call.site, "wgmma of other operands than those of the warp group's other threads");
    }
    thread.call = call;
    if (++group.arrived < WARP_GROUP) {
        machine_.cluster.sleep(call);
        return;
    }
    group.arrived = 0;
    start(group, call);
    for (uint32_t t = 0; t < WARP_GROUP; ++t) {
        Thread& other = machine_.cluster.thread(group.first_thread + t);
        if (&other != &thread) machine_.cluster.wake(other);
    }
}

// The registers of a product's sums, or of its operand A: those that products under way have, or taken now.
WarpGroups::Held& WarpGroups::hold(Group& group, const Call& call, bool of_sums) {
    Cluster& cluster = machine_.cluster;
    const auto registers_of = [&](uint32_t t) {
        const WarpGroupOperands& operands = operands_of(cluster.thread(group.first_thread + t).call);
        return of_sums ? static_cast<void*>(operands.sums) : const_cast<uint32_t*>(operands.registers);
    };
    const uint32_t columns = operands_of(call).columns, words = of_sums ? columns / 2 : A_REGISTERS;
    for (Held& held : group.held) {
        if (held.of_threads[0] != registers_of(0)) continue;
        if (held.words != words) fault(call.site, "wgmma of other columns than those under way on its sums");
        if (held.returned.any()) fault(call.site, "wgmma on sums for which only some of its threads have waited");
        return held;
    }
    Held& held = group.held.emplace_back();
    held.words = words;
    if (of_sums) held.sums.resize(ROWS * columns);
    for (uint32_t t = 0; t < WARP_GROUP; ++t) {
        Thread& thread = cluster.thread(group.first_thread + t);
        if (!thread.marks.watching()) fault(call.site, "wgmma without wgmma.fence before it");
        void* own = held.of_threads[t] = registers_of(t);
        const uintptr_t offset = uintptr_t(own) - thread.stack_low;
        const size_t bytes = words * sizeof(float);
        if (!thread.marks.free(offset, bytes))
            fault(call.site, "wgmma on registers that others under way have in part");
        if (!thread.marks.fenced(offset, bytes)) {
            fault(call.site, "wgmma without wgmma.fence since thread %s last touched %s",
                  Machine::name(thread.index).text, of_sums ? "its sums" : "the registers of its operand");
        }
        thread.marks.give(offset, bytes);
        if (!of_sums) continue;
        auto* sums = static_cast<float*>(own);
        for (uint32_t i = 0; i < words; ++i) held.sums[row_of(t, i) * columns + column_of(t, i)] = sums[i];
        std::memset(sums, 0xff, bytes);
    }
    return held;
}

void WarpGroups::touch_registers(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site) {
    if (thread.marks.touch(address - thread.stack_low, bytes)) return;
    fault(site, "%s %zu bytes of registers that a wgmma under way has, before wgmma.wait_group", verb(access), bytes);
}

void WarpGroups::start(Group& group, const Call& call) {
    Thread& thread = *running;
    const WarpGroupOperands& operands = operands_of(call);
    if (operands.columns % 8 != 0 || operands.columns < 8 || operands.columns > 256) {
        fault(call.site, "wgmma of %u columns, where there are 8 to 256 by eights", operands.columns);
    }
    for (uint32_t t = 0; t < WARP_GROUP; ++t) {
        if (machine_.cluster.thread(group.first_thread + t).committed != thread.committed) {
            fault(call.site, "wgmma by threads that have committed different numbers of groups");
        }
    }
    Held& sums = hold(group, call, true);
    sums.last_group = thread.committed;
    const Stamp stamp = machine_.clocks.tick();
    const Actor actor{group.agent, stamp, call.site, thread.rank};
    read_operand(group, actor, operands.b, operands.b_across, operands.columns);
    Product& product = group.under_way.emplace_back(Product{&sums, operands, thread.block, thread.committed, {}});
    if (operands.registers) {
        hold(group, call, false).last_group = thread.committed;
        product.a.resize(ROWS * DEPTH);
        for (uint32_t t = 0; t < WARP_GROUP; ++t) {
            const uint32_t* own = operands_of(machine_.cluster.thread(group.first_thread + t).call).registers;
            for (uint32_t i = 0; i < 2 * A_REGISTERS; ++i) {
                const uint32_t bits = i % 2 == 0 ? own[i / 2] << 16 : own[i / 2] & 0xffff0000u;
                product.a[row_of(t, i) * DEPTH + column_of(t, i)] = __uint_as_float(bits);
            }
        }
    } else {
        read_operand(group, actor, operands.a, operands.a_across, ROWS);
    }
    group.finished.resize(thread.committed + 1, group.finished.empty() ? 0 : group.finished.back());
    group.finished.back() = stamp;
    ++under_way_;
    ++instructions_;
    if (machine_.counters.wanted()) {
        const uint32_t lines = operands.columns + (operands.registers ? 0 : ROWS);
        machine_.counters.multiplied(ROWS, operands.columns, DEPTH, lines);
    }
}

// Every thread of the group must have heard of what it reads.
void WarpGroups::read_operand(const Group& group, const Actor& actor, uint64_t bits, bool across, uint32_t width) {
    const Descriptor descriptor(bits, across);
    if (bits >> 49 & 7) fault(actor.site, "a matrix descriptor with a base offset, which the emulator has none of");
    if (descriptor.swizzle > 0 && descriptor.start / descriptor.line() % 8 != 0) {
        fault(actor.site, "a matrix descriptor that begins at line %u of a swizzle's eight, without a base offset",
              uint32_t(descriptor.start / descriptor.line() % 8));
    }
    const uint32_t block = machine_.cluster.block_of(group.first_thread);
    const uintptr_t begin = machine_.arenas[block]->begin();
    descriptor.each_chunk(width, [&](uint32_t, uint32_t, uintptr_t offset) {
        machine_.touch_shared_by(actor, block, begin + offset, CHUNK, Access::Read);
        if (!machine_.kernel->instrumented) return;
        const uint32_t unaware =
            machine_.shadow.first_unaware(block, begin + offset, CHUNK, group.first_thread, WARP_GROUP);
        if (unaware == WARP_GROUP) return;
        running = &machine_.cluster.thread(group.first_thread + unaware);
        machine_.touch_shared_by({actor.thread, actor.now, actor.site, running->rank}, block, begin + offset, CHUNK,
                                 Access::Read);
    });
}

// Calls put(at, depth, value) for every element of an operand.
template <typename Put>
void WarpGroups::gather(uint32_t block, uint64_t bits, bool across, uint32_t width, const Put& put) const {
    const auto* begin = reinterpret_cast<const unsigned char*>(machine_.arenas[block]->begin());
    Descriptor(bits, across).each_chunk(width, [&](uint32_t at, uint32_t depth, uintptr_t offset) {
        uint16_t elements[CHUNK_ELEMENTS];
        std::memcpy(elements, begin + offset, sizeof elements);
        for (uint32_t i = 0; i < CHUNK_ELEMENTS; ++i) {
            put(at + (across ? i : 0), depth + (across ? 0 : i), __uint_as_float(uint32_t(elements[i]) << 16));
        }
    });
}

// The ISA leaves the order of the 16 products, and their rounding, open: one by one in f32, and what was there last.
void WarpGroups::finish_first(Group& group) {
    const Product product = std::move(group.under_way.front());
    group.under_way.pop_front();
    --under_way_;
    const WarpGroupOperands& operands = product.operands;
    const uint32_t columns = operands.columns;
    float of_shared[ROWS * DEPTH], b[DEPTH * 256];
    const float* a = operands.registers ? product.a.data() : of_shared;
    if (!operands.registers) {
        gather(product.block, operands.a, operands.a_across, ROWS,
               [&](uint32_t row, uint32_t depth, float value) { of_shared[row * DEPTH + depth] = value; });
    }
    gather(product.block, operands.b, operands.b_across, columns,
           [&](uint32_t column, uint32_t depth, float value) { b[depth * columns + column] = value; });
    for (uint32_t row = 0; row < ROWS; ++row) {
        for (uint32_t column = 0; column < columns; column += 8) {
            float d[8] = {};
            for (uint32_t depth = 0; depth < DEPTH; ++depth) {
                for (uint32_t i = 0; i < 8; ++i) d[i] += a[row * DEPTH + depth] * b[depth * columns + column + i];
            }
            float* sums = &product.sums->sums[row * columns + column];
            for (uint32_t i = 0; i < 8; ++i) sums[i] = operands.accumulate ? d[i] + sums[i] : d[i];
        }
    }
}

void WarpGroups::finish_some(Random& random) {
    for (Group& group : groups_) {
        if (!group.under_way.empty() && random.below(16) == 0) finish_first(group);
    }
}

void WarpGroups::wait(uint32_t groups) {
    Thread& thread = *running;
    if (groups_.empty() || thread.committed <= groups) return;
    Group& group = group_of(thread, nullptr);
    const uint32_t last = thread.committed - groups - 1;
    while (!group.under_way.empty() && group.under_way.front().group <= last) finish_first(group);
    if (group.finished.empty()) return;
    machine_.clocks.learn(thread.rank, group.agent, group.finished[std::min<size_t>(last, group.finished.size() - 1)]);
    const uint32_t t = thread.rank - group.first_thread;
    for (auto held = group.held.begin(); held != group.held.end();) {
        const auto next = std::next(held);
        if (held->last_group <= last && !held->returned[t]) {
            auto* own = static_cast<float*>(held->of_threads[t]);
            const uint32_t columns = uint32_t(held->sums.size() / ROWS);
            for (uint32_t i = 0; columns > 0 && i < held->words; ++i) {
                own[i] = held->sums[row_of(t, i) * columns + column_of(t, i)];
            }
            thread.marks.take_back(uintptr_t(own) - thread.stack_low, held->words * sizeof(float));
            held->returned.set(t);
            if (held->returned.all()) group.held.erase(held);
        }
        held = next;
    }
}

void WarpGroups::check_exit(const Thread& thread) {
    for (Group& group : groups_) {
        const uint32_t t = thread.rank - group.first_thread;
        if (t >= WARP_GROUP) continue;
        for (const Held& held : group.held) {
            if (!held.returned[t]) fault(nullptr, "exits while products of its warp group are under way");
        }
    }
}

}  // namespace rir::emu
