// All of the emulator on one OS thread: a multiprocessor that runs a launch's blocks one after another.
#pragma once

#include <cstdarg>
#include <memory>
#include <vector>

#include "async.hpp"
#include "builtins.hpp"
#include "counters.hpp"
#include "emu.h"
#include "fiber.hpp"
#include "memory.hpp"
#include "runtime.hpp"
#include "shadow.hpp"

namespace rir::emu {

class Machine;

// "reads", "writes (volatile)": for a fault's sentence.
const char* verb(Access access);

// Seeded, so that a launch can be repeated exactly (splitmix64).
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint32_t below(uint32_t n) { return uint32_t((next() >> 32) * n >> 32); }

  private:
    uint64_t next() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    uint64_t state_;
};

// What a thread waits in.
enum class Primitive : uint8_t {
    SyncThreads,
    SyncThreadsCount,
    SyncThreadsAnd,
    SyncThreadsOr,
    SyncWarp,
    Ballot,
    All,
    Any,
    LoadMatrices,
    LoadMatricesTransposed,
    StoreMatrices,
    MultiplyMatrices,
    ShuffleIndex,
    ShuffleUp,
    ShuffleDown,
    ShuffleXor,
};

// A thread's call of a primitive: what it brings, and then what it gets.
struct Call {
    Primitive primitive;
    uint8_t bytes = 0;  // of a shuffled value; or how many matrices
    const char* file;
    int line;
    const void* site;
    uint32_t mask = 0;
    uint32_t operand = 0;  // a predicate, or a shuffle's lane, distance or mask
    int width = 32;
    uint64_t value = 0;
    void* matrices = nullptr;  // a matrix instruction's operands (matrix.hpp), on the caller's stack
};

struct Thread {
    enum class State : uint8_t { Runnable, AtBarrier, AtWarp, Exited };

    Machine* machine;
    uintptr_t stack_low;
    uint32_t rank;  // in the block, x fastest
    uint3 index;
    State state;
    Call call;
    AsyncCopies copies;
    Fiber fiber;
    Stack stack;

    uint32_t lane() const { return rank % LANES; }
    uint32_t warp() const { return rank / LANES; }
};

// The thread that runs on this OS thread; null outside of a launch.
extern constinit thread_local Thread* running;

// A block's threads, and who of them runs next.
class Block {
  public:
    explicit Block(Machine& machine) : machine_(machine) {}

    void begin_launch(const uint32_t extent[3]);
    // Returns when no thread can go on: all have exited, or one has faulted, or they wait for each other in vain.
    void run(Random& random);
    uint32_t threads() const { return count_; }
    const Thread& thread(uint32_t rank) const { return *threads_[rank]; }
    bool all_exited() const { return live_ == 0; }
    // Who waits where, of a block that cannot go on.
    void describe_deadlock(char* text, size_t size) const;

    // By the running thread; they return its call with what it got.
    const Call& at_barrier(const Call& call);
    const Call& at_warp(const Call& call);
    // Lets another thread run in between.
    void yield();
    [[noreturn]] void leave_by_fault();

    // Of the launch.
    Random& random() { return *random_; }
    uint64_t barriers() const { return barriers_; }
    uint64_t matrix_instructions() const { return matrix_instructions_; }

  private:
    // Lanes that call one primitive with one mask, until all whom it names have come.
    struct Gathering {
        const Thread* first;
        uint32_t arrived;
    };
    struct Warp {
        uint32_t alive;  // lanes that have not exited
        std::vector<Gathering> gatherings;
    };

    static void run_thread(void* thread);
    [[noreturn]] void exit_thread(Thread& thread);
    Thread* take_next();
    void wait(Thread& thread);
    void wake(Thread& thread);
    void complete_barrier();
    void complete_if_all_arrived(Warp& warp, size_t gathering);
    void complete_warp(uint32_t warp, uint32_t lanes);
    void shuffle(uint32_t warp, uint32_t lanes);
    void matrices(uint32_t warp, uint32_t lanes);

    Machine& machine_;
    Random* random_ = nullptr;
    Fiber main_;
    std::vector<std::unique_ptr<Thread>> threads_;
    std::vector<Thread*> runnable_;
    std::vector<Warp> warps_;
    const Thread* first_waiting_ = nullptr;  // of those at the block's barrier
    uint32_t count_ = 0, live_ = 0, waiting_ = 0;
    uint64_t barriers_ = 0, matrix_instructions_ = 0;
};

class Machine {
  public:
    Machine() : shadow(clocks), block(*this) {}
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
    // Records the sentence; the running thread then leaves by it.
    void complain(const void* site, const char* format, va_list arguments);
    void complain(const void* site, const char* format, ...) __attribute__((format(printf, 3, 4)));
    // "(1,2,3)": a thread's index, or a block's.
    struct Name {
        char text[40];
    };
    static Name name(const uint3& index);
    Name block_name(uint64_t linear) const;

    const Kernel* kernel = nullptr;
    const RirEmuLaunch* launch = nullptr;
    uint3 block_index{};
    SharedArena arena;
    GlobalMemory global;
    Clocks clocks;
    Shadow shadow;
    Counters counters;
    Block block;
    alignas(128) unsigned char params[32 << 10];

  private:
    bool accepts(const RirEmuLaunch& launch);
    void touch_shared(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);
    bool touch_params(uintptr_t address, size_t bytes, Access access, const void* site);
    void touch_bytewise(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);
    void check_global(const Extent* extent, uintptr_t address, size_t bytes, Access access, const void* site);
    void check_alignment(uintptr_t address, size_t bytes, Access access, const char* where, const void* site);

    bool faulted_ = false;
    char message_[1024];
    const void* site_ = nullptr;
};

}  // namespace rir::emu
