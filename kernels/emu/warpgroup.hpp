// wgmma: products that a warp group starts and later waits for.
//
// From the first product that adds to some sums until a wait for the last of them, the sums lie with the emulator, and
// the threads' own are poison. The operands are read at a seeded moment between a product's start and that wait.
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
    uint64_t a, b;
    bool a_across, b_across, accumulate;
};

class WarpGroups {
  public:
    explicit WarpGroups(Machine& machine) : machine_(machine) {}
    void begin_cluster();

    // By the running thread.
    void fence();
    void multiply(const Call& call);
    void commit();
    void wait(uint32_t groups);

    // A moment passes: some products are done.
    void step(Random& random) {
        if (under_way_ > 0) finish_some(random);
    }
    void check_exit(const Thread& thread);

    // Of the launch.
    void begin_launch() { instructions_ = 0; }
    uint64_t instructions() const { return instructions_; }

  private:
    // Sums of a warp group that products under way add to: [64 rows][columns].
    struct Sums {
        float* of_threads[WARP_GROUP];
        uint32_t columns;
        uint32_t last_group;  // of products, that adds to them
        std::bitset<WARP_GROUP> returned;
        std::vector<float> held;
    };
    struct Product {
        Sums* sums;
        WarpGroupOperands operands;
        uint32_t block, group;
    };
    struct Group {
        uint32_t first_thread;
        uint32_t agent;
        uint32_t arrived = 0;
        Call first{};                   // of those who have arrived
        std::vector<Stamp> finished;    // by group of products, the stamp of its last
        std::deque<Product> under_way;  // in order
        std::list<Sums> sums;
    };

    Group& group_of(const Thread& thread, const void* site);
    void start(Group& group, const Call& call);
    Sums& sums_of(Group& group, const Call& call);
    void read_operand(const Actor& actor, uint32_t block, uint64_t descriptor, bool across, uint32_t width);
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
