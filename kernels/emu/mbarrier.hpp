// mbarrier: a phase completes when as many threads have arrived as it was made for, and all bytes that they expect have
// come. What a thread did before it arrives, and what a bulk copy wrote, happened before what follows a wait.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "clocks.hpp"

namespace rir::emu {

class Machine;
struct Thread;

struct MBarrier {
    uintptr_t at;
    uint32_t block;
    uint32_t count;    // arrivals of a phase
    uint32_t pending;  // still to come in this one
    int64_t bytes;     // still to come; negative where they came before they were expected
    uint64_t phase;
    bool seen;       // whether anybody has waited for the phase before this one
    uint32_t maker;  // who made it has fenced it for bulk copies, or not yet
    bool fenced;
    uint32_t agent;  // of the copies that complete on it
    Stamp latest;    // of those that have
    Knowledge arriving, known;
    std::vector<Thread*> sleepers;
};

class Barriers {
  public:
    explicit Barriers(Machine& machine) : machine_(machine) {}
    void begin_cluster() { all_.clear(); }

    // By the running thread.
    void make(const void* at, uint32_t count, const void* site);
    void fence();
    void arrive(const void* at, uint32_t block, uint32_t expected_bytes, const void* site);
    void wait(const void* at, uint32_t parity, const char* file, int line, const void* site);
    // The barrier at the same place of a block's shared memory as `at` in the running thread's, for a bulk copy.
    MBarrier& of_copy(const void* at, uint32_t block, const void* site);

    // What it waits for, for a deadlock's sentence.
    void describe(uintptr_t at, char* text, size_t size) const;

    // By a bulk copy's end.
    void complete_bytes(MBarrier& barrier, uint32_t bytes, Stamp stamp);

  private:
    MBarrier& find(const void* at, uint32_t block, const char* what, const void* site);
    void complete_if_due(MBarrier& barrier);

    Machine& machine_;
    std::map<uintptr_t, MBarrier> all_;
};

}  // namespace rir::emu
