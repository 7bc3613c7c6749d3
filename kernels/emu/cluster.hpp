// A cluster: the blocks that run together, their threads, and who of them runs next. Most kernels' clusters are of one
// block.
#pragma once

#include <memory>
#include <vector>

#include "async.hpp"
#include "builtins.hpp"
#include "clocks.hpp"
#include "fiber.hpp"
#include "memory.hpp"
#include "random.hpp"
#include "registers.hpp"

namespace rir::emu {

class Machine;

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
    NamedBarrier,
    WaitBarrier,
    WaitCluster,
    MultiplyWarpGroup,
    SetRegisters,
};

// A thread's call of a primitive: what it brings, and then what it gets.
struct Call {
    Primitive primitive;
    uint8_t bytes = 0;  // of a shuffled value; or how many matrices
    const char* file;
    int line;
    const void* site;
    uint32_t mask = 0;
    uint32_t operand = 0;  // a predicate, a shuffle's lane, distance or mask, a parity, a barrier's number
    int width = 32;
    uint64_t value = 0;
    void* matrices = nullptr;  // a matrix instruction's operands, on the caller's stack
};

struct Thread {
    enum class State : uint8_t { Runnable, AtBarrier, AtWarp, Waiting, Exited };

    Machine* machine;
    uintptr_t stack_low;
    uint32_t rank;   // in the cluster, block by block, x fastest
    uint32_t block;  // of the cluster
    SharedArena* arena;
    uint3 index;  // in its block
    State state;
    Call call;
    AsyncCopies copies;
    // Of its warp group's products: groups committed, and registers.
    uint32_t committed;
    RegisterMarks marks;
    Fiber fiber;
    Stack stack;

    uint32_t lane() const { return rank % LANES; }
    uint32_t warp() const { return rank / LANES; }
};

// The thread that runs on this OS thread; null outside of a launch.
extern constinit thread_local Thread* running;

class Cluster {
  public:
    explicit Cluster(Machine& machine) : machine_(machine) {}

    void begin_launch(const uint32_t extent[3], uint32_t blocks);
    // Returns when no thread can go on: all have exited, or one has faulted, or they wait for each other in vain.
    void run(uint64_t first_block, Random& random);
    uint32_t blocks() const { return uint32_t(blocks_.size()); }
    uint32_t threads_of_block() const { return threads_of_block_; }
    const Thread& thread(uint32_t rank) const { return *threads_[rank]; }
    Thread& thread(uint32_t rank) { return *threads_[rank]; }
    uint32_t block_of(uint32_t rank) const { return rank / threads_of_block_; }
    const uint3& block_index(uint32_t block) const { return blocks_[block].index; }
    bool all_exited() const { return live_ == 0; }
    bool block_exited(uint32_t block) const { return blocks_[block].live == 0; }
    // Who waits where, of a cluster that cannot go on.
    void describe_deadlock(char* text, size_t size) const;

    // By the running thread; they return its call with what it got.
    const Call& at_barrier(const Call& call);
    const Call& at_warp(const Call& call);
    // Lets another thread run in between.
    void yield();
    // Until somebody wakes it.
    void sleep(const Call& call);
    void wake(Thread& thread);
    [[noreturn]] void leave_by_fault();

    void named_barrier(const Call& call, uint32_t threads, bool waits);
    void arrive_at_cluster(const void* site);
    void wait_for_cluster(const Call& call);
    void set_registers(const Call& call, uint32_t registers, bool increase);

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
        uint32_t registers;      // of each thread
        uint32_t asked, asking;  // by setmaxnreg; lanes that have
    };
    static constexpr uint32_t NAMED_BARRIERS = 16, WARPS = MAX_THREADS / LANES;
    // A barrier of some of a block's warps.
    struct Named {
        uint32_t threads;
        uint32_t came[WARPS];  // lanes, by warp of the block
        std::vector<Thread*> sleepers;
        Knowledge known;
    };
    struct Block {
        uint3 index;
        uint32_t live, waiting;
        const Thread* first_waiting;  // of those at the block's barrier
        uint32_t free_registers;      // given back by setmaxnreg: the sum over warps of each thread's
        uint32_t open;                // named barriers at which any thread has come
        Named named[NAMED_BARRIERS];
    };

    static void run_thread(void* thread);
    [[noreturn]] void exit_thread(Thread& thread);
    Thread* take_next();
    void wait(Thread& thread);
    void complete_barrier(Block& block);
    void complete_if_all_arrived(Warp& warp, size_t gathering);
    void complete_warp(uint32_t warp, uint32_t lanes);
    void complete_named_if_all_arrived(Block& block, uint32_t id);
    void complete_cluster_if_all_arrived();
    void settle_registers(uint32_t block);
    void check_registers(uint32_t block) const;
    // Of all, the block's first.
    uint32_t first_warp(uint32_t block) const { return block * threads_of_block_ / LANES; }
    void shuffle(uint32_t warp, uint32_t lanes);
    void matrices(uint32_t warp, uint32_t lanes);

    Machine& machine_;
    Random* random_ = nullptr;
    Fiber main_;
    std::vector<std::unique_ptr<Thread>> threads_;
    std::vector<Thread*> runnable_;
    std::vector<Warp> warps_;
    std::vector<Block> blocks_;
    uint32_t threads_of_block_ = 0, count_ = 0, live_ = 0;
    uint64_t barriers_ = 0, matrix_instructions_ = 0;

    // The cluster's barrier: who has arrived in this phase, and what the last one made known.
    struct AtCluster {
        uint64_t phase = 0;
        uint32_t arrived = 0;
        std::vector<uint64_t> phases;  // that each thread has arrived in
        std::vector<uint64_t> waited;  // and waited for
        std::vector<Thread*> sleepers;
        Knowledge gathered, known;
    } at_cluster_;
};

}  // namespace rir::emu
