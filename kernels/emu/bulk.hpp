// Bulk copies by tensor map: cp.async.bulk.tensor and cp.reduce.async.bulk.tensor.
//
// A copy is checked when it starts. Its bytes move at a seeded moment between that and the wait that guarantees it:
// sometimes at once, often not before everybody waits. Until then the destination in shared memory is poison.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clocks.hpp"
#include "tensor_map.hpp"

namespace rir::emu {

class Machine;
class Random;
struct MBarrier;
struct Thread;

class BulkCopies {
  public:
    explicit BulkCopies(Machine& machine) : machine_(machine) {}
    void begin_cluster();

    // By the running thread. `at` are the coordinates, innermost first; of an im2col map, `taps` the offsets of the
    // spatial dimensions. `blocks`: a bit for each block that gets it; 0: the thread's own.
    void load(void* to, const void* map, void* barrier, const int32_t* at, uint32_t rank, const uint16_t* taps,
              uint16_t blocks, const void* site);
    void store(const void* map, const void* from, const int32_t* at, uint32_t rank, bool add, const void* site);
    void commit();
    void wait(uint32_t groups, bool read);

    // A moment passes: some copies end.
    void step(Random& random) {
        if (!loads_.empty()) end_some(random);
    }
    // Ends one, where all threads wait; false: there is none.
    bool end_one(Random& random);
    // A thread, the last of its block or not, exits.
    void check_exit(const Thread& thread, bool last_of_block);

  private:
    // 16 bytes of shared memory, and what of them lies where in global memory.
    struct Piece {
        uintptr_t shared, global;
        uint8_t first, bytes;  // of the 16; the rest is outside of the tensor
    };
    struct Load {
        uint32_t block;
        MBarrier* barrier;
        uint32_t bytes;
        Stamp stamp;
        bool lazy;
        std::vector<Piece> pieces;
    };
    struct Store {
        std::vector<Piece> pieces;
        uint32_t group;
        bool add;
        bool read_early;  // what it stores was taken when it began
        std::vector<unsigned char> taken;
        Stamp stamp;
    };
    // A thread's stores under way, oldest first.
    struct Stores {
        uint32_t thread;
        uint32_t reader, writer;  // agents
        uint32_t committed = 0;
        std::vector<Store> under_way;
    };

    const EncodedMap& map_of(const char* what, const void* map, uint32_t rank, bool im2col, const void* shared,
                             const void* site) const;
    void box(const EncodedMap& map, const int32_t* at, uintptr_t shared, std::vector<Piece>& pieces) const;
    void column(const EncodedMap& map, const int32_t* at, const uint16_t* taps, uintptr_t shared,
                std::vector<Piece>& pieces) const;
    void line(const EncodedMap& map, bool inside, uintptr_t global, int64_t channel, uint32_t channels,
              uintptr_t shared, std::vector<Piece>& pieces) const;
    void end_some(Random& random);
    void end(size_t load);
    static void take(Store& store);
    static void put(const Store& store);
    Stores* find_stores(const Thread& thread);

    Machine& machine_;
    std::vector<Load> loads_;
    std::vector<Stores> stores_;
};

}  // namespace rir::emu
