// wgmma: products that a warp group starts and later waits for.
//
// From the first product that adds to some sums until a wait for the last of them, the sums lie with the emulator, and
// the threads' own are poison. Operands in shared memory are read at a seeded moment between a product's start and that
// wait, those in registers when it starts; until the wait nobody may touch either registers.
#pragma once

#include <bitset>
#include <cstdint>
#include <deque>
#include <list>
#include <vector>

#include "cluster.hpp"
#include "shadow.hpp"

namespace rir::emu {

class Machine;

constexpr uint32_t WARP_GROUP = 128;

// What every thread brings to a product.
struct WarpGroupOperands {
    float* sums;
    uint32_t columns;
    const uint32_t* registers;  // of A; null: it is in shared memory
    uint64_t a, b;
    bool a_across, b_across, accumulate;
};

class WarpGroups {
  public:
    explicit WarpGroups(Machine& machine) : machine_(machine) {}
    void begin_cluster();

    // By the running thread.
    void multiply(const Call& call);
    void commit();
    void wait(uint32_t groups);
    // An access to the stack of a thread that has fenced registers.
    void touch_registers(Thread& thread, uintptr_t address, size_t bytes, Access access, const void* site);

    // A moment passes: some products are done.
    void step(Random& random) {
        if (under_way_ > 0) finish_some(random);
    }
    void check_exit(const Thread& thread);

    // Of the launch.
    void begin_launch() { instructions_ = 0; }
    uint64_t instructions() const { return instructions_; }

  private:
    // Registers of a warp group that products under way have.
    struct Held {
        void* of_threads[WARP_GROUP];
        uint32_t words;       // of each thread
        uint32_t last_group;  // of products, that has them
        std::bitset<WARP_GROUP> returned;
        std::vector<float> sums;  // [64 rows][columns]; none, of an operand
    };
    struct Product {
        Held* sums;
        WarpGroupOperands operands;
        uint32_t block, group;
        std::vector<float> a;  // from registers
    };
    struct Group {
        uint32_t first_thread;
        uint32_t agent;
        uint32_t arrived = 0;
        Call first{};                   // of those who have arrived
        std::vector<Stamp> finished;    // by group of products, the stamp of its last
        std::deque<Product> under_way;  // in order
        std::list<Held> held;
    };

    Group& group_of(const Thread& thread, const void* site);
    void start(Group& group, const Call& call);
    Held& hold(Group& group, const Call& call, bool sums);
    void read_operand(const Group& group, const Actor& actor, uint64_t descriptor, bool across, uint32_t width);
    template <typename Put>
    void gather(uint32_t block, uint64_t descriptor, bool across, uint32_t width, const Put& put) const;
    void finish_some(Random& random);
    void finish_first(Group& group);

    Machine& machine_;
    std::list<Group> groups_;
    size_t under_way_ = 0;
    uint64_t instructions_ = 0;
};

}  // namespace rir::emu
