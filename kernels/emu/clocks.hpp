// What happened before what: the order of memory that barriers make.
//
// Time is counted in stamps, which grow by one at every synchronisation. A thread marks its accesses with the stamp of
// its latest synchronisation. What it knows of others is their latest stamps that happened before:
//     - of all threads of its block, `ordered`: a barrier of the whole block needs one number only;
//     - of the lanes of its warp, one number each;
//     - of anybody, a vector, from the first time on that it synchronises by anything else (an mbarrier, a named
//       barrier, the cluster's, or waiting for its own copies and products).
//
// Beside threads there are agents: what works in the background, such as the copies of one mbarrier or the products of
// one warp group. An agent's work has a stamp of its own, which whoever waits for it comes to know.
#pragma once

#include <cstdint>
#include <vector>

namespace rir::emu {

using Stamp = uint32_t;

constexpr uint32_t LANES = 32;
constexpr uint32_t MAX_THREADS = 1024;  // of a block
constexpr uint32_t MAX_BLOCKS = 8;      // of a cluster, without asking for more (CUDA Programming Guide)
constexpr uint32_t MAX_AGENTS = 1024;   // beside the threads
constexpr uint32_t AGENT = 1 << 14;     // numbers from here on are agents'

// By thread or agent, the latest of its stamps that is known.
class Knowledge {
  public:
    void clear() { stamps_.clear(); }
    bool empty() const { return stamps_.empty(); }
    Stamp of(uint32_t index) const { return index < stamps_.size() ? stamps_[index] : 0; }
    void raise(uint32_t index, Stamp stamp);
    void join(const Knowledge& other);

  private:
    std::vector<Stamp> stamps_;
};

class Clocks {
  public:
    void begin_launch();
    // So many blocks that run together, of so many threads each.
    void begin_cluster(uint32_t blocks, uint32_t threads);

    // All threads of a block wait for each other.
    void barrier(uint32_t block);
    // The named lanes of a warp wait for each other.
    void join(uint32_t warp, uint32_t lanes);
    // Tells what happened before, and what the thread did up to now.
    void release(uint32_t thread, Knowledge& to);
    void acquire(uint32_t thread, const Knowledge& from);

    uint32_t add_agent();
    // Work of an agent begins.
    Stamp tick();
    // The thread has waited for an agent's work up to this stamp.
    void learn(uint32_t thread, uint32_t agent, Stamp stamp) { known_[thread].raise(place(agent), stamp); }
    // Where an agent's stamp is in what is known.
    uint32_t place(uint32_t index) const { return index < AGENT ? index : count_ + (index - AGENT); }

    // fence.proxy.async: what this thread did to shared memory so far may be reached by the asynchronous proxy.
    void fence_proxy(uint32_t thread) {
        fenced_[thread] = now_[thread];
        now_[thread] = tick();
    }
    bool fenced(Stamp stamp, uint32_t thread) const { return stamp <= fenced_[thread]; }

    Stamp now(uint32_t thread) const { return now_[thread]; }
    // Whether what another did at a stamp happened before what `thread` does now.
    bool before(Stamp stamp, uint32_t other, uint32_t thread) const {
        if (other == thread) return true;
        if (other < AGENT) {
            if (other / threads_ == thread / threads_ && stamp <= ordered_[thread / threads_]) return true;
            if (other / LANES == thread / LANES && stamp <= seen_[thread * LANES + other % LANES]) return true;
        }
        const uint32_t at = place(other);
        return stamp <= common_[thread / threads_].of(at) || stamp <= known_[thread].of(at);
    }
    // All stamps up to this one are of clusters that ran before.
    Stamp earlier() const { return earlier_; }
    bool same_block(uint32_t a, uint32_t b) const { return a / threads_ == b / threads_; }
    // All stamps up to this one of threads of the thread's block happened before everything from now on.
    Stamp ordered(uint32_t thread) const { return ordered_[thread / threads_]; }

  private:
    Stamp latest_ = 0, earlier_ = 0;
    uint32_t threads_ = 1, count_ = 0, agents_ = 0;  // of a block, of the cluster; agents
    Stamp ordered_[MAX_BLOCKS] = {};
    Knowledge common_[MAX_BLOCKS];  // what all threads of a block know of others
    std::vector<Stamp> now_, fenced_, seen_;
    std::vector<Knowledge> known_;
};

}  // namespace rir::emu
