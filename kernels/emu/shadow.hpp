// Who touched which byte, and whether that was ordered: races by happens-before.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "clocks.hpp"
#include "memory.hpp"
#include "runtime.hpp"

namespace rir::emu {

// Who makes an access, where in the code.
struct Actor {
    uint32_t thread;  // or agent
    Stamp now;
    const void* site;
    uint32_t starter;  // the thread whose knowledge counts: itself, or who started the agent's work

    static Actor of(uint32_t thread, const Clocks& clocks, const void* site) {
        return {thread, clocks.now(thread), site, thread};
    }
    bool is_agent() const { return thread >= AGENT; }
};

class Shadow {
  public:
    explicit Shadow(Clocks& clocks) : clocks_(clocks) {}

    // `global` are the launch's extents; after their shadows comes one for the shared memory of every block that runs
    // at a time, each of so many bytes.
    void begin_launch(const std::vector<Extent>& global, const std::vector<uintptr_t>& shared, size_t shared_bytes);
    void begin_cluster(uint64_t first_block);

    // An aligned access of 1, 2, 4, 8 or 16 bytes.
    void global(const Extent& extent, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
        apply<false>(regions_[extent.shadow], address, bytes, access, actor);
    }
    void shared(uint32_t block, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
        apply<true>(regions_[extents_ + block], address, bytes, access, actor);
    }

    // The first of so many threads that has not heard of what was last written to these bytes; their number, if all
    // have.
    uint32_t first_unaware(uint32_t block, uintptr_t address, size_t bytes, uint32_t first, uint32_t count);

    // Bytes that a cp.async of this thread wrote are now as if the thread had written them itself.
    void finish_async_write(uint32_t block, uintptr_t address, size_t bytes, const Actor& actor);

  private:
    // A plain write: the latest of a cell.
    struct Write {
        Stamp stamp;  // 0: none
        int32_t site;
        uint16_t thread;  // or agent; with UNFINISHED, by its cp.async that nobody has waited for
    };
    static constexpr uint16_t UNFINISHED = 1 << 15;
    // Accesses of another kind by lanes of one warp, or by an agent, at one stamp.
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
    void check_proxy(bool shared, const Write& write, uintptr_t address, size_t bytes, Access access,
                     const Actor& actor) const;
    void check_group(const Group& group, uintptr_t address, size_t bytes, Access access, const Actor& actor) const;
    bool of_block(const Group& group, const Actor& actor) const;
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
    // A write that these threads have all heard of, from `first` on.
    struct {
        Stamp stamp;
        uint32_t writer, first;
    } heard_{};
    size_t extents_ = 0;
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
