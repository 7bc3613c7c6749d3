#include "shadow.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "machine.hpp"

namespace rir::emu {
namespace {

// Sites are kept as distances from here, in 4 bytes: all code of a program or library lies within 2 GiB.
const char* const SITES = reinterpret_cast<const char*>(&fault);

int32_t pack(const void* site) { return int32_t(static_cast<const char*>(site) - SITES); }

bool conflict(Access a, Access b) { return (writes(a) || writes(b)) && !(strong(a) && strong(b)); }

const char* past(Access access) {
    switch (access) {
        case Access::Read:
            return "read";
        case Access::Write:
            return "wrote";
        case Access::VolatileRead:
            return "read (volatile)";
        case Access::VolatileWrite:
            return "wrote (volatile)";
        case Access::Atomic:
            return "updated (atomic)";
        case Access::AsyncWrite:
            return "writes by a cp.async not yet waited for";
    }
    return "";
}

}  // namespace

void Shadow::begin_launch(const std::vector<Extent>& global, const std::vector<uintptr_t>& shared,
                          size_t shared_bytes) {
    for (Region& region : regions_) recycle(region.pages);
    extents_ = global.size();
    regions_.resize(global.size() + shared.size());
    const auto cover = [](Region& region, uintptr_t begin, uintptr_t end) {
        region.begin = begin;
        region.end = end;
        region.pages.assign(((end - 1) >> PAGE_SHIFT) - (begin >> PAGE_SHIFT) + 1, Page{});
    };
    for (const Extent& extent : global) cover(regions_[extent.shadow], extent.begin, extent.end);
    for (size_t block = 0; block < shared.size(); ++block) {
        cover(regions_[extents_ + block], shared[block], shared[block] + shared_bytes);
    }
    blocks_.clear();
    heard_ = {};
    nodes_.assign(1, Node{});
    free_node_ = 0;
}

void Shadow::begin_cluster(uint64_t first_block) { blocks_.push_back({clocks_.earlier(), first_block}); }

void Shadow::recycle(std::vector<Page>& pages) {
    for (Page& page : pages) {
        if (page.cells) free_cells_[page.shift].push_back(page.cells);
    }
}

Shadow::Cell* Shadow::take_cells(int shift) {
    const size_t count = size_t(1) << (PAGE_SHIFT - shift);
    if (free_cells_[shift].empty()) {
        owned_.push_back(std::make_unique<Cell[]>(count));
        return owned_.back().get();
    }
    Cell* cells = free_cells_[shift].back();
    free_cells_[shift].pop_back();
    std::memset(static_cast<void*>(cells), 0, count * sizeof(Cell));
    return cells;
}

// Cuts a page's cells: every piece inherits the whole history.
void Shadow::refine(Page& page, int shift) {
    Cell* fine = take_cells(shift);
    const size_t pieces = size_t(1) << (page.shift - shift);
    for (size_t i = 0; i < size_t(1) << (PAGE_SHIFT - shift); ++i) {
        const Cell& coarse = page.cells[i / pieces];
        fine[i] = coarse;
        fine[i].more = 0;
        for (uint32_t n = coarse.more; n != 0; n = nodes_[n].next) {
            const Group group = nodes_[n].group;
            push(fine[i], group);
        }
    }
    for (size_t i = 0; i < size_t(1) << (PAGE_SHIFT - page.shift); ++i) drop_groups(page.cells[i]);
    free_cells_[page.shift].push_back(page.cells);
    page = {fine, uint8_t(shift)};
}

template <bool SHARED>
void Shadow::apply(Region& region, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
    Page& page = region.page(address);
    const int shift = __builtin_ctzll(bytes);
    if (!page.cells) [[unlikely]] {
        page = {take_cells(shift), uint8_t(shift)};
    } else if (shift < page.shift) [[unlikely]] {
        refine(page, shift);
    }
    const size_t in_page = address & ((uintptr_t(1) << PAGE_SHIFT) - 1);
    Cell* cell = page.cells + (in_page >> page.shift);
    for (Cell* end = cell + (bytes >> page.shift); cell != end; ++cell)
        record<SHARED>(*cell, address, bytes, access, actor);
}
template <bool SHARED>
void Shadow::record(Cell& cell, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
    check_write<SHARED>(cell, address, bytes, access, actor);
    if (access == Access::Write || access == Access::AsyncWrite) {
        if (cell.group.stamp != 0 || cell.more != 0) {
            check_group(cell.group, address, bytes, access, actor);
            for (uint32_t n = cell.more; n != 0; n = nodes_[n].next) {
                check_group(nodes_[n].group, address, bytes, access, actor);
            }
            drop_groups(cell);
        }
        const uint16_t unfinished = access == Access::AsyncWrite ? UNFINISHED : 0;
        cell.write = {actor.now, pack(actor.site), uint16_t(actor.thread | unfinished)};
        return;
    }
    const Group& group = cell.group;
    const bool known = group.stamp == actor.now && group.warp == actor.thread / LANES && group.access == access;
    if (known && cell.more == 0) [[likely]] {
        cell.group.lanes |= 1u << (actor.thread % LANES);
    } else if (access != Access::Read || !joins_readers(cell, actor)) {
        record_in_groups(cell, address, bytes, access, actor);
    }
}

template <bool SHARED>
void Shadow::check_write(Cell& cell, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
    const Write& write = cell.write;
    const bool of_this_block = write.stamp > clocks_.earlier();
    if (SHARED && !of_this_block) [[unlikely]] {
        if (reads(access)) {
            char where[128];
            running->machine->describe_shared(address, where, sizeof where);
            fault(actor.site, "%s%s%s %zu bytes %s, which no thread of this block ever wrote",
                  actor.is_agent() ? running->machine->agents.name(actor.thread) : "", actor.is_agent() ? " that " : "",
                  verb(access), bytes, where);
        }
        // What earlier blocks did here is of no concern; and this first store is one that nothing can race with but by
        // what is recorded below.
        drop_groups(cell);
        cell.write = {clocks_.ordered(actor.starter), pack(actor.site), uint16_t(actor.thread)};
        return;
    }
    if (write.stamp == 0) return;
    // What an agent did before is ordered by what its starter knows alone.
    const bool own = write.thread == actor.thread && (!actor.is_agent() || write.stamp == actor.now);
    if (of_this_block && own) return;
    if (write.thread & UNFINISHED) {
        const uint32_t thread = write.thread ^ UNFINISHED;
        race(address, bytes, access, actor, Access::AsyncWrite, write.stamp, thread, write.site);
    }
    if (!of_this_block || !clocks_.before(write.stamp, write.thread, actor.starter)) {
        race(address, bytes, access, actor, Access::Write, write.stamp, write.thread, write.site);
    }
    if (actor.is_agent()) check_proxy(SHARED, write, address, bytes, access, actor);
}

// What a thread wrote reaches the asynchronous proxy by a fence of that thread alone, whatever barriers say. The only
// one that kernels have is of shared memory.
void Shadow::check_proxy(bool shared, const Write& write, uintptr_t address, size_t bytes, Access access,
                         const Actor& actor) const {
    if (write.thread >= AGENT || (shared && clocks_.fenced(write.stamp, write.thread))) return;
    const Machine& machine = *running->machine;
    char where[128];
    machine.describe(address, where, sizeof where);
    fault(actor.site,
          "%s that %s %zu bytes %s, which thread %s wrote (code at 0x%zx), without fence.proxy.async after it",
          machine.agents.name(actor.thread), verb(access), bytes, where, machine.thread_name(write.thread).text,
          size_t(SITES + write.site) - 1);
}

void Shadow::finish_async_write(uint32_t block, uintptr_t address, size_t bytes, const Actor& actor) {
    Page& page = regions_[extents_ + block].page(address);
    const size_t in_page = address & ((uintptr_t(1) << PAGE_SHIFT) - 1);
    Cell* cell = page.cells + (in_page >> page.shift);
    for (Cell* end = cell + (bytes >> page.shift); cell != end; ++cell) {
        cell->write = {actor.now, pack(actor.site), uint16_t(actor.thread)};
    }
}

uint32_t Shadow::first_unaware(uint32_t block, uintptr_t address, size_t bytes, uint32_t first, uint32_t count) {
    const Page& page = regions_[extents_ + block].page(address);
    const size_t in_page = address & ((uintptr_t(1) << PAGE_SHIFT) - 1);
    const Cell* cell = page.cells + (in_page >> page.shift);
    for (const Cell* end = cell + (bytes >> page.shift); cell != end; ++cell) {
        const Write& write = cell->write;
        if (write.stamp == heard_.stamp && write.thread == heard_.writer && first == heard_.first) continue;
        for (uint32_t i = 0; i < count; ++i) {
            if (!clocks_.before(write.stamp, write.thread, first + i)) return i;
        }
        heard_ = {write.stamp, write.thread, first};
    }
    return count;
}

bool Shadow::of_block(const Group& group, const Actor& actor) const {
    return group.warp * LANES < AGENT && clocks_.same_block(group.warp * LANES, actor.starter);
}

void Shadow::check_group(const Group& group, uintptr_t address, size_t bytes, Access access, const Actor& actor) const {
    if (group.stamp == 0 || !conflict(group.access, access)) return;
    const uint32_t first = group.warp * LANES;
    if (group.stamp <= clocks_.earlier()) {
        const uint32_t thread = first + uint32_t(__builtin_ctz(group.lanes));
        race(address, bytes, access, actor, group.access, group.stamp, thread, group.site);
    }
    if (of_block(group, actor) && group.stamp <= clocks_.ordered(actor.starter)) return;
    for (uint32_t lanes = group.lanes; lanes != 0; lanes &= lanes - 1) {
        const uint32_t thread = first + uint32_t(__builtin_ctz(lanes));
        const bool own = thread == actor.thread && (!actor.is_agent() || group.stamp == actor.now);
        if (!own && !clocks_.before(group.stamp, thread, actor.starter)) {
            race(address, bytes, access, actor, group.access, group.stamp, thread, group.site);
        }
    }
}

// Whether all that conflicts with a group of this block conflicts with a like access by this actor too.
bool Shadow::superseded(const Group& group, const Actor& actor) const {
    if (of_block(group, actor) && group.stamp <= clocks_.ordered(actor.starter)) return true;
    for (uint32_t lanes = group.lanes; lanes != 0; lanes &= lanes - 1) {
        const uint32_t thread = group.warp * LANES + uint32_t(__builtin_ctz(lanes));
        if (thread != actor.thread && !clocks_.before(group.stamp, thread, actor.starter)) return false;
    }
    return true;
}

// Reads of one byte by many warps are common and conflict with no reads: then it is enough to find this warp's group.
bool Shadow::joins_readers(Cell& cell, const Actor& actor) {
    Group* ours = nullptr;
    const auto is_read = [&](Group& group) {
        if (group.stamp == actor.now && group.warp == actor.thread / LANES) ours = &group;
        return group.stamp == 0 || group.access == Access::Read;
    };
    if (!is_read(cell.group)) return false;
    for (uint32_t n = cell.more; n != 0; n = nodes_[n].next) {
        if (!is_read(nodes_[n].group)) return false;
    }
    if (ours) ours->lanes |= 1u << (actor.thread % LANES);
    return ours != nullptr;
}

void Shadow::record_in_groups(Cell& cell, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
    const Group mine{actor.now, 1u << (actor.thread % LANES), pack(actor.site), uint16_t(actor.thread / LANES), access};
    bool recorded = false;
    bool of_earlier_blocks[5] = {};
    // Whether a group is still needed beside the others and this access.
    const auto keep = [&](Group& group) {
        check_group(group, address, bytes, access, actor);
        if (group.stamp <= clocks_.earlier()) {
            // One stands for all: what would race with it would race with each.
            bool& another = of_earlier_blocks[int(group.access)];
            return !std::exchange(another, true);
        }
        if (group.access != access) return true;
        if (group.stamp == mine.stamp && group.warp == mine.warp) {
            group.lanes |= mine.lanes;
            return recorded = true;
        }
        return !superseded(group, actor);
    };
    if (cell.group.stamp != 0 && !keep(cell.group)) cell.group.stamp = 0;
    for (uint32_t* link = &cell.more; *link != 0;) {
        if (keep(nodes_[*link].group)) {
            link = &nodes_[*link].next;
        } else {
            drop_node(*link);
        }
    }
    if (recorded) return;
    if (cell.group.stamp == 0) {
        cell.group = mine;
    } else {
        push(cell, mine);
    }
}

void Shadow::push(Cell& cell, const Group& group) {
    uint32_t taken = free_node_;
    if (taken != 0) {
        free_node_ = nodes_[taken].next;
    } else {
        taken = uint32_t(nodes_.size());
        nodes_.emplace_back();
    }
    nodes_[taken] = {group, cell.more};
    cell.more = taken;
}

void Shadow::drop_node(uint32_t& link) {
    const uint32_t dropped = link;
    link = nodes_[dropped].next;
    nodes_[dropped].next = free_node_;
    free_node_ = dropped;
}

void Shadow::drop_groups(Cell& cell) {
    cell.group.stamp = 0;
    while (cell.more != 0) drop_node(cell.more);
}

void Shadow::race(uintptr_t address, size_t bytes, Access access, const Actor& actor, Access earlier, Stamp stamp,
                  uint32_t thread, int32_t site) const {
    const Machine& machine = *running->machine;
    char where[128], who[160];
    machine.describe(address, where, sizeof where);
    if (thread >= AGENT) {
        std::snprintf(who, sizeof who, "%s",
                      stamp <= clocks_.earlier() ? "an earlier block's" : machine.agents.name(thread));
    } else if (stamp <= clocks_.earlier()) {
        const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), stamp - 1,
                                            [](Stamp s, const BlockStart& start) { return s < start.stamp; });
        const uint64_t block = (after - 1)->block + machine.cluster.block_of(thread);
        std::snprintf(who, sizeof who, "thread %s of block %s",
                      Machine::name(machine.cluster.thread(thread).index).text, machine.block_name(block).text);
    } else {
        std::snprintf(who, sizeof who, "thread %s", machine.thread_name(thread).text);
    }
    fault(actor.site, "race: %s%s%s %zu bytes %s, which %s %s (code at 0x%zx), and nothing orders the two",
          actor.is_agent() ? machine.agents.name(actor.thread) : "", actor.is_agent() ? " " : "", verb(access), bytes,
          where, who, past(earlier), size_t(SITES + site) - 1);
}

template void Shadow::apply<false>(Region&, uintptr_t, size_t, Access, const Actor&);
template void Shadow::apply<true>(Region&, uintptr_t, size_t, Access, const Actor&);

}  // namespace rir::emu
