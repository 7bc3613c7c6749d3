// Chance that can be repeated.
#pragma once

#include <cstdint>

namespace rir::emu {

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

}  // namespace rir::emu
