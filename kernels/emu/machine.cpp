#include "machine.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "ptx.hpp"
#include "text.hpp"

namespace rir::emu {

const char* verb(Access access) {
    switch (access) {
        case Access::Read:
            return "reads";
        case Access::Write:
            return "writes";
        case Access::VolatileRead:
            return "reads (volatile)";
        case Access::VolatileWrite:
            return "writes (volatile)";
        case Access::Atomic:
            return "updates (atomic)";
        case Access::AsyncWrite:
            return "writes (cp.async)";
    }
    return "";
}

constinit thread_local Thread* running = nullptr;

Machine& Machine::here() {
    thread_local const auto machine = std::make_unique<Machine>();
    return *machine;
}

Machine::Name Machine::name(const uint3& index) {
    Name name;
    std::snprintf(name.text, sizeof name.text, "(%u,%u,%u)", index.x, index.y, index.z);
    return name;
}

Machine::ThreadName Machine::thread_name(uint32_t rank) const {
    const Thread& thread = cluster.thread(rank);
    const bool alone = cluster.blocks() == 1;
    ThreadName text;
    std::snprintf(text.text, sizeof text.text, "%s%s%s", name(thread.index).text, alone ? "" : " of block ",
                  alone ? "" : name(cluster.block_index(thread.block)).text);
    return text;
}

uint3 Machine::block_index(uint64_t linear) const {
    const uint64_t x = launch->grid[0], y = launch->grid[1];
    return {unsigned(linear % x), unsigned(linear / x % y), unsigned(linear / x / y)};
}

Machine::Name Machine::block_name(uint64_t linear) const { return name(block_index(linear)); }

void Machine::describe_shared(uintptr_t address, char* text, size_t size) const {
    for (const auto& arena : arenas) {
        if (arena->near(address)) return arena->describe(address, text, size);
    }
}

void Machine::describe(uintptr_t address, char* text, size_t size) const {
    const auto near = [&](const auto& arena) { return arena->near(address); };
    if (std::any_of(arenas.begin(), arenas.end(), near)) return describe_shared(address, text, size);
    global.describe(address, text, size);
}

void Machine::complain(const void* site, const char* format, va_list arguments) {
    Text text(message_, sizeof message_);
    text.add("kernel %s", launch->kernel);
    if (running) {
        text.add(", block %s, thread %s", name(cluster.block_index(running->block)).text, name(running->index).text);
    }
    text.add(": ");
    text.add_list(format, arguments);
    site_ = site;
    faulted_ = true;
}

void Machine::complain(const void* site, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    complain(site, format, arguments);
    va_end(arguments);
}

void fault(const void* site, const char* format, ...) {
    Machine& machine = *running->machine;
    va_list arguments;
    va_start(arguments, format);
    machine.complain(site, format, arguments);
    va_end(arguments);
    machine.cluster.leave_by_fault();
}

bool Machine::accepts(const RirEmuLaunch& launch) {
    const uint32_t* grid = launch.grid;
    const uint32_t* block = launch.block;
    const uint64_t threads = uint64_t(block[0]) * block[1] * block[2];
    if (!kernel) {
        complain(nullptr, "no kernel of this name was compiled in");
    } else if (launch.params_bytes != kernel->params_bytes || launch.params_bytes > sizeof params) {
        complain(nullptr, "it takes %zu bytes of parameters and is given %zu", kernel->params_bytes,
                 launch.params_bytes);
    } else if (threads == 0 || threads > kernel->max_threads || threads > MAX_THREADS || block[2] > 64) {
        complain(nullptr, "a block of %u x %u x %u threads, where it may have 1 to %u", block[0], block[1], block[2],
                 std::min(kernel->max_threads, MAX_THREADS));
    } else if (grid[0] == 0 || grid[1] == 0 || grid[2] == 0 || grid[0] > 0x7fffffffu || grid[1] > 65535 ||
               grid[2] > 65535) {
        complain(nullptr, "a grid of %u x %u x %u blocks, where it may have up to 2147483647 x 65535 x 65535, none 0",
                 grid[0], grid[1], grid[2]);
    } else if (grid[0] % kernel->cluster != 0) {
        complain(nullptr, "a grid of %u blocks along x, where clusters have %u", grid[0], kernel->cluster);
    } else if (kernel->cluster > MAX_BLOCKS || (kernel->cluster > 1 && threads % LANES != 0)) {
        complain(nullptr, "a cluster of %u blocks of %u threads: the emulator runs up to %u, of whole warps",
                 kernel->cluster, uint32_t(threads), MAX_BLOCKS);
    } else if (launch.dynamic_shared > launch.shared_limit) {
        complain(nullptr, "%u bytes of dynamic shared memory, where a block may have %u", launch.dynamic_shared,
                 launch.shared_limit);
    }
    return !faulted_;
}

int Machine::run(const RirEmuLaunch& launch, const Kernel* kernel, RirEmuCounters* counters, char* message,
                 size_t bytes, uint64_t* site) {
    this->launch = &launch;
    this->kernel = kernel;
    faulted_ = false;
    site_ = nullptr;
    if (counters) *counters = {};
    if (accepts(launch)) {
        begin_launch(launch.counters ? counters : nullptr);
        Random random(launch.seed);
        std::vector<uint32_t> order(size_t(launch.grid[0]) * launch.grid[1] * launch.grid[2] / kernel->cluster);
        std::iota(order.begin(), order.end(), 0);
        for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(uint32_t(i))]);
        for (size_t i = 0; i < order.size() && !faulted_; ++i) {
            run_cluster(uint64_t(order[i]) * kernel->cluster, random);
        }
    }
    if (counters) {
        counters->barriers = cluster.barriers();
        counters->matrix_instructions = cluster.matrix_instructions();
    }
    if (message && bytes > 0) std::snprintf(message, bytes, "%s", faulted_ ? message_ : "");
    // A return address is just past its call.
    if (site) *site = site_ ? uint64_t(site_) - 1 : 0;
    return faulted_;
}

void Machine::begin_launch(RirEmuCounters* counted) {
    std::memcpy(params, launch->params, launch->params_bytes);
    while (arenas.size() < kernel->cluster) arenas.push_back(std::make_unique<SharedArena>());
    std::vector<uintptr_t> shared;
    for (const auto& arena : arenas) {
        arena->begin_launch(launch->dynamic_shared, launch->shared_limit);
        shared.push_back(arena->begin());
    }
    global.begin_launch(launch->tensors, launch->tensor_count);
    clocks.begin_launch();
    shadow.begin_launch(global.extents(), shared, SharedArena::BYTES);
    cluster.begin_launch(launch->block, kernel->cluster);
    counters.begin_launch(counted);
}

void Machine::run_cluster(uint64_t first_block, Random& random) {
    for (const auto& arena : arenas) arena->begin_block();
    clocks.begin_cluster(cluster.blocks(), cluster.threads_of_block());
    agents.begin_cluster();
    if (launch->programmatic) before_ = {agents.add("a launch before"), clocks.tick()};
    barriers.begin_cluster();
    bulk.begin_cluster();
    warpgroups.begin_cluster();
    shadow.begin_cluster(first_block);
    if (counters.wanted()) counters.begin_block(cluster.blocks() * cluster.threads_of_block());
    cluster.run(first_block, random);
    if (counters.wanted()) counters.end_block();
    if (!faulted_ && !cluster.all_exited()) {
        char waiting[768];
        cluster.describe_deadlock(waiting, sizeof waiting);
        complain(nullptr, "block %s: deadlock, no thread can go on: %s", block_name(first_block).text, waiting);
    }
}

void Machine::wait_for_launches_before(const Thread& thread) {
    if (launch->programmatic) clocks.learn(thread.rank, before_.agent, before_.stamp);
}

void Machine::check_alignment(uintptr_t address, size_t bytes, Access access, const char* where, const void* site) {
    if (address % bytes == 0) return;
    fault(site, "%s %zu bytes %s, at an address that is not a multiple of %zu", verb(access), bytes, where, bytes);
}

void Machine::touch_shared(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site) {
    const SharedArena& arena = *thread.arena;
    const bool inside = arena.holds(address, bytes);
    if (!inside || address % bytes != 0) [[unlikely]] {
        char where[128];
        arena.describe(address, where, sizeof where);
        if (inside) check_alignment(address, bytes, access, where, site);
        fault(site, "%s %zu bytes %s", verb(access), bytes, where);
    }
    if (!kernel->instrumented) return;
    const Actor actor = Actor::of(thread.rank, clocks, site);
    shadow.shared(thread.block, address, bytes, access, actor);
    if (counters.wanted()) [[unlikely]]
        counters.count(Space::Shared, address, bytes, access, actor);
}

void Machine::share(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site) {
    if (!kernel->instrumented) return;
    shadow.shared(thread.block, address, bytes, access, Actor::of(thread.rank, clocks, site));
}

void Machine::finish_async_write(Thread& thread, uintptr_t address, size_t bytes, const void* site) {
    if (!kernel->instrumented) return;
    shadow.finish_async_write(thread.block, address, bytes, Actor::of(thread.rank, clocks, site));
}

void Machine::touch_shared_by(const Actor& actor, uint32_t block, uintptr_t address, size_t bytes, Access access) {
    const SharedArena& arena = *arenas[block];
    if (!arena.holds(address, bytes)) {
        char where[128];
        arena.describe(address, where, sizeof where);
        fault(actor.site, "%s that %s %zu bytes %s", agents.name(actor.thread), verb(access), bytes, where);
    }
    if (kernel->instrumented) shadow.shared(block, address, bytes, access, actor);
}

void Machine::touch_global_by(const Actor& actor, uintptr_t address, size_t bytes, Access access) {
    for (size_t piece; bytes > 0; address += piece, bytes -= piece) {
        piece = 16;
        while (piece > bytes || address % piece != 0) piece /= 2;
        const Extent* extent = global.find(address);
        if (writes(access) && !extent->writable) {
            char where[128];
            global.describe(address, where, sizeof where);
            fault(actor.site, "%s that %s %zu bytes %s, which the launch only reads", agents.name(actor.thread),
                  verb(access), piece, where);
        }
        // What nobody may write has no races.
        if (kernel->instrumented && extent->writable) shadow.global(*extent, address, piece, access, actor);
    }
}

bool Machine::touch_params(uintptr_t address, size_t bytes, Access access, const void* site) {
    const size_t offset = address - uintptr_t(params);
    if (offset >= sizeof params) return false;
    if (writes(access) || offset + bytes > launch->params_bytes) {
        fault(site, "%s %zu bytes at byte %zu of its parameters of %zu bytes", verb(access), bytes, offset,
              launch->params_bytes);
    }
    return true;
}

void Machine::check_global(const Extent* extent, uintptr_t address, size_t bytes, Access access, const void* site) {
    if (!extent && !writes(access) && program_constant(address)) return;
    char where[128];
    global.describe(address, where, sizeof where);
    if (!extent) fault(site, "%s %zu bytes %s", verb(access), bytes, where);
    if (!global.holds(address, bytes)) fault(site, "%s %zu bytes %s, so past its end", verb(access), bytes, where);
    if (writes(access) && !extent->writable) {
        fault(site, "%s %zu bytes %s, which the launch only reads", verb(access), bytes, where);
    }
    check_alignment(address, bytes, access, where, site);
}

void Machine::touch(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site) {
    if (address - thread.stack_low < Stack::BYTES) {
        if (thread.marks.watching()) [[unlikely]]
            warpgroups.touch_registers(thread, address, bytes, access, site);
        return;
    }
    if (thread.arena->near(address)) return touch_shared(thread, address, bytes, access, site);
    if (touch_params(address, bytes, access, site)) return;

    const Extent* extent = global.find(address);
    const bool whole = extent && bytes <= extent->end - address;
    if (!whole || (writes(access) && !extent->writable) || address % bytes != 0) [[unlikely]] {
        check_global(extent, address, bytes, access, site);
        // What is left is a constant, or an access across extents of tensors that overlap.
        if (extent) touch_bytewise(thread, address, bytes, access, site);
        return;
    }
    if (!follows(thread)) [[unlikely]]
        fault(site, "%s global memory before griddepcontrol.wait, while the launches before may be under way",
              verb(access));
    if (!kernel->instrumented) return;
    const Actor actor = Actor::of(thread.rank, clocks, site);
    shadow.global(*extent, address, bytes, access, actor);
    if (counters.wanted()) [[unlikely]]
        counters.count(Space::Global, address, bytes, access, actor);
}

void Machine::touch_range(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site) {
    while (bytes > 0) {
        size_t piece = 16;
        while (piece > bytes || address % piece != 0) piece /= 2;
        touch(thread, address, piece, access, site);
        address += piece;
        bytes -= piece;
    }
}

void Machine::touch_bytewise(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site) {
    for (size_t i = 0; i < bytes; ++i) touch(thread, address + i, 1, access, site);
}

void touch(const void* address, size_t bytes, Access access, const void* site) {
    if (running) running->machine->touch(*running, uintptr_t(address), bytes, access, site);
}

void* static_shared(const void* tag, size_t bytes, size_t alignment) {
    const char* error = nullptr;
    void* structure = running->arena->static_structure(tag, bytes, alignment, error);
    if (!structure) fault(__builtin_return_address(0), "%s", error);
    return structure;
}

void* dynamic_shared() { return running->arena->dynamic(); }

uint3 thread_index() { return running->index; }
unsigned lane_id() { return running->lane(); }
uint3 block_index() { return running->machine->cluster.block_index(running->block); }
dim3 block_extent() {
    const uint32_t* extent = running->machine->launch->block;
    return {extent[0], extent[1], extent[2]};
}
dim3 grid_extent() {
    const uint32_t* extent = running->machine->launch->grid;
    return {extent[0], extent[1], extent[2]};
}

void assertion(const char* text, const char* file, int line) {
    fault(__builtin_return_address(0), "assertion failed: %s (%s:%d)", text, file, line);
}

}  // namespace rir::emu
