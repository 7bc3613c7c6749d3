// What a launch moves. Accesses are grouped as a warp makes them: the lanes' n-th executions of one place in the code.
#pragma once

#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "emu.h"
#include "runtime.hpp"
#include "shadow.hpp"

namespace rir::emu {

enum class Space : uint8_t { Global, Shared };

class Counters {
  public:
    void begin_launch(RirEmuCounters* counters) { total_ = counters; }
    bool wanted() const { return total_ != nullptr; }
    void begin_block(uint32_t threads);
    void end_block();
    void bulk_read(uint32_t bytes) { total_->bulk_read_bytes += bytes; }
    void bulk_arrived(uint32_t bytes) { total_->bulk_arrived_bytes += bytes; }
    void bulk_written(uint32_t bytes) { total_->bulk_written_bytes += bytes; }
    // A wgmma of bf16.
    // `lines` of the operands' rows and columns are read from shared memory.
    void multiplied(uint32_t rows, uint32_t columns, uint32_t depth, uint32_t lines) {
        ++total_->warpgroup_products;
        total_->warpgroup_read_bytes += 2 * uint64_t(lines) * depth;
        total_->warpgroup_flops += 2 * uint64_t(rows) * columns * depth;
    }
    void count(Space space, uintptr_t address, size_t bytes, Access access, const Actor& actor);

  private:
    struct WarpAccess {
        uint32_t lanes = 0;
        uintptr_t addresses[LANES];
    };
    // A place in the code, with what else tells its accesses apart.
    struct Place {
        const void* site;
        size_t bytes;
        Space space;
        bool writes;
        auto operator<=>(const Place&) const = default;
    };
    struct Executions {
        std::vector<uint32_t> by_thread;
        std::unordered_map<uint64_t, WarpAccess> unfinished;  // by warp and number of the execution
    };
    void finish(const Place& place, const WarpAccess& access);

    RirEmuCounters* total_ = nullptr;
    uint32_t threads_ = 0;
    std::map<Place, Executions> places_;
};

}  // namespace rir::emu
