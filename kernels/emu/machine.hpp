// All of the emulator on one OS thread: multiprocessors that run a launch's clusters one after another, the blocks of
// each together.
#pragma once

#include <cstdarg>
#include <memory>
#include <vector>

#include "agents.hpp"
#include "async.hpp"
#include "builtins.hpp"
#include "bulk.hpp"
#include "cluster.hpp"
#include "counters.hpp"
#include "emu.h"
#include "fiber.hpp"
#include "mbarrier.hpp"
#include "memory.hpp"
#include "random.hpp"
#include "runtime.hpp"
#include "shadow.hpp"
#include "warpgroup.hpp"

namespace rir::emu {

// "reads", "writes (volatile)": for a fault's sentence.
const char* verb(Access access);

class Machine {
  public:
    Machine() : shadow(clocks), cluster(*this), barriers(*this), bulk(*this), warpgroups(*this) {}
    // This OS thread's.
    static Machine& here();

    int run(const RirEmuLaunch& launch, const Kernel* kernel, RirEmuCounters* counters, char* message, size_t bytes,
            uint64_t* site);

    void touch(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);
    // One more thread's part in an access to shared memory that has been checked and counted: races are its own.
    void share(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);
    // Bytes whose size or alignment is not that of one access, in aligned pieces.
    void touch_range(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);
    // A thread has waited for what it wrote by cp.async.
    void finish_async_write(Thread& thread, uintptr_t address, size_t bytes, const void* site);
    // Work in the background, which the running thread started, touches 16-byte pieces of a block's shared memory.
    // Faults where that has no such bytes.
    void touch_shared_by(const Actor& actor, uint32_t block, uintptr_t address, size_t bytes, Access access);
    // The same of global memory, known to lie in the launch's tensors.
    void touch_global_by(const Actor& actor, uintptr_t address, size_t bytes, Access access);
    // Of launches that may begin before the ones before them have ended: a thread hears that these have, or does not.
    void wait_for_launches_before(const Thread& thread);
    bool follows(const Thread& thread) const {
        return !launch->programmatic || clocks.before(before_.stamp, before_.agent, thread.rank);
    }
    // Records the sentence; the running thread then leaves by it.
    void complain(const void* site, const char* format, va_list arguments);
    void complain(const void* site, const char* format, ...) __attribute__((format(printf, 3, 4)));
    // "(1,2,3)": a thread's index, or a block's.
    struct Name {
        char text[40];
    };
    static Name name(const uint3& index);
    // A thread of the cluster, with its block where there are several.
    struct ThreadName {
        char text[96];
    };
    ThreadName thread_name(uint32_t rank) const;
    Name block_name(uint64_t linear) const;
    uint3 block_index(uint64_t linear) const;
    void describe_shared(uintptr_t address, char* text, size_t size) const;
    // Of any memory.
    void describe(uintptr_t address, char* text, size_t size) const;

    const Kernel* kernel = nullptr;
    const RirEmuLaunch* launch = nullptr;
    std::vector<std::unique_ptr<SharedArena>> arenas;  // of the cluster's blocks
    GlobalMemory global;
    Clocks clocks;
    Agents agents{clocks};
    Shadow shadow;
    Counters counters;
    Cluster cluster;
    Barriers barriers;
    BulkCopies bulk;
    WarpGroups warpgroups;
    alignas(128) unsigned char params[32 << 10];

  private:
    bool accepts(const RirEmuLaunch& launch);
    void begin_launch(RirEmuCounters* counted);
    void run_cluster(uint64_t first_block, Random& random);
    void touch_shared(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);
    bool touch_params(uintptr_t address, size_t bytes, Access access, const void* site);
    void touch_bytewise(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);
    void check_global(const Extent* extent, uintptr_t address, size_t bytes, Access access, const void* site);
    void check_alignment(uintptr_t address, size_t bytes, Access access, const char* where, const void* site);

    struct {
        uint32_t agent;
        Stamp stamp;
    } before_{};
    bool faulted_ = false;
    char message_[1024];
    const void* site_ = nullptr;
};

}  // namespace rir::emu
