// cp.async: copies from global to shared memory that a thread starts, and later waits for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace rir::emu {

struct Thread;

// One thread's copies under way, oldest first. A copy's bytes move at a seeded moment: at once, at its group's commit,
// or when waited for. Until then the destination holds poison, and until waited for nobody may touch it, whether the
// bytes have moved or not.
class AsyncCopies {
  public:
    void begin_block() {
        copies_.clear();
        groups_ = 0;
    }
    void start(Thread& thread, void* to, const void* from, uint32_t bytes, uint32_t source_bytes, const void* site);
    void commit(Thread& thread);
    // Until at most this many of the latest groups are under way.
    void wait(Thread& thread, uint32_t groups);
    void wait_all(Thread& thread);

  private:
    struct Copy {
        unsigned char* to;
        const unsigned char* from;
        uint32_t bytes, source_bytes;  // the rest is zeros
        uint32_t group;
        bool moved;
        const void* site;
        void move();
    };
    void finish_first(Thread& thread, size_t count);

    std::vector<Copy> copies_;
    uint32_t groups_ = 0;  // committed so far
};

}  // namespace rir::emu
