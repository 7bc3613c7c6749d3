// Who touched which byte, and whether that was ordered: races by happens-before.
//
// Time is counted in stamps, which grow by one at every synchronisation. A thread marks its accesses with the stamp of
// its latest synchronisation, and knows for every lane of its warp the latest stamp of that lane that happened before.
// A barrier of the whole block orders all that came before it, so that it needs one comparison only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "memory.hpp"
#include "runtime.hpp"

namespace rir::emu {

using Stamp = uint32_t;

constexpr uint32_t LANES = 32;
constexpr uint32_t MAX_THREADS = 1024;

class Clocks {
  public:
    void begin_launch();
    void begin_block(uint32_t threads);
    // All threads of the block wait for each other.
    void barrier();
    // The named lanes of a warp wait for each other.
    void join(uint32_t warp, uint32_t lanes);

    Stamp now(uint32_t thread) const { return now_[thread]; }
    // Whether what another thread of this block did at a stamp happened before what `thread` does now.
    bool before(Stamp stamp, uint32_t other, uint32_t thread) const {
        return stamp <= ordered_ || (other / LANES == thread / LANES && stamp <= seen_[thread][other % LANES]);
    }
    // All stamps up to this one are of earlier blocks.
    Stamp earlier_blocks() const { return earlier_blocks_; }
    // All stamps of this block up to this one happened before everything from now on.
    Stamp ordered() const { return ordered_; }

  private:
    Stamp tick();

    Stamp latest_ = 0, earlier_blocks_ = 0, ordered_ = 0;
    uint32_t threads_ = 0;
    Stamp now_[MAX_THREADS] = {};
    Stamp seen_[MAX_THREADS][LANES] = {};
};

// Who makes an access, where in the code.
struct Actor {
    uint32_t thread;
    Stamp now;
    const void* site;
};

class Shadow {
  public:
    explicit Shadow(Clocks& clocks) : clocks_(clocks) {}

    // `global` are the launch's extents; shared memory has one more shadow.
    void begin_launch(const std::vector<Extent>& global, uintptr_t shared_begin, size_t shared_bytes);
    void begin_block(uint64_t block);

    // An aligned access of 1, 2, 4, 8 or 16 bytes.
    void global(const Extent& extent, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
        apply<false>(regions_[extent.shadow], address, bytes, access, actor);
    }
    void shared(uintptr_t address, size_t bytes, Access access, const Actor& actor) {
        apply<true>(regions_.back(), address, bytes, access, actor);
    }

    // Bytes that a cp.async of this thread wrote are now as if the thread had written them itself.
    void finish_async_write(uintptr_t address, size_t bytes, const Actor& actor);

  private:
    // A plain write: the latest of a cell.
    struct Write {
        Stamp stamp;  // 0: none
        int32_t site;
        uint16_t thread;  // with UNFINISHED, by its cp.async that nobody has waited for
    };
    static constexpr uint16_t UNFINISHED = 1 << 15;
    // Accesses of another kind by lanes of one warp at one stamp.
    struct Group {
        Stamp stamp;  // 0: none
        uint32_t lanes;
        int32_t site;
        uint16_t warp;
        Access access;
    };
    // A page's bytes in pieces as small as its smallest access so far, each with its history since it was last written
    // by a write that everything before happened before.
    struct Cell {
        Write write;
        Group group;
        uint32_t more;  // further groups: an index into `nodes_`, 0 at the end
    };
    struct Node {
        Group group;
        uint32_t next;
    };
    struct Page {
        Cell* cells = nullptr;
        uint8_t shift = 0;  // log2 of a cell's bytes
    };
    struct Region {
        uintptr_t begin = 0, end = 0;
        std::vector<Page> pages;
        Page& page(uintptr_t address) { return pages[(address >> PAGE_SHIFT) - (begin >> PAGE_SHIFT)]; }
    };
    static constexpr int PAGE_SHIFT = 10, SHIFTS = 5;

    template <bool SHARED>
    void apply(Region& region, uintptr_t address, size_t bytes, Access access, const Actor& actor);
    template <bool SHARED>
    void record(Cell& cell, uintptr_t address, size_t bytes, Access access, const Actor& actor);
    template <bool SHARED>
    void check_write(Cell& cell, uintptr_t address, size_t bytes, Access access, const Actor& actor);
    void check_group(const Group& group, uintptr_t address, size_t bytes, Access access, const Actor& actor) const;
    void record_in_groups(Cell& cell, uintptr_t address, size_t bytes, Access access, const Actor& actor);
    bool joins_readers(Cell& cell, const Actor& actor);
    bool superseded(const Group& group, const Actor& actor) const;

    Cell* take_cells(int shift);
    void refine(Page& page, int shift);
    void push(Cell& cell, const Group& group);
    void drop_node(uint32_t& link);
    void drop_groups(Cell& cell);
    void recycle(std::vector<Page>& pages);

    [[noreturn]] void race(uintptr_t address, size_t bytes, Access access, const Actor& actor, Access earlier,
                           Stamp stamp, uint32_t thread, int32_t site) const;

    Clocks& clocks_;
    std::vector<Region> regions_;
    std::vector<std::unique_ptr<Cell[]>> owned_;
    std::vector<Cell*> free_cells_[SHIFTS];
    std::vector<Node> nodes_;
    uint32_t free_node_ = 0;
    struct BlockStart {
        Stamp stamp;
        uint64_t block;
    };
    std::vector<BlockStart> blocks_;
};

}  // namespace rir::emu
