// What works in the background, with names for faults' sentences.
#pragma once

#include <cstdio>
#include <vector>

#include "clocks.hpp"

namespace rir::emu {

class Agents {
  public:
    explicit Agents(Clocks& clocks) : clocks_(clocks) {}
    void begin_cluster() { names_.clear(); }
    // `kind` is a string that lives on.
    uint32_t add(const char* kind) {
        names_.push_back(kind);
        return clocks_.add_agent();
    }
    const char* name(uint32_t agent) const { return names_[agent - AGENT]; }

  private:
    Clocks& clocks_;
    std::vector<const char*> names_;
};

}  // namespace rir::emu
