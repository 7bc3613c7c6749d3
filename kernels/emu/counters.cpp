#include "counters.hpp"

#include <algorithm>

namespace rir::emu {
namespace {

constexpr size_t SECTOR = 32, BANK = 4, BANKS = 32;

}  // namespace

void Counters::begin_block(uint32_t threads) {
    threads_ = threads;
    places_.clear();
}

void Counters::end_block() {
    for (const auto& [place, executions] : places_) {
        for (const auto& [_, access] : executions.unfinished) finish(place, access);
    }
}

void Counters::count(Space space, uintptr_t address, size_t bytes, Access access, const Actor& actor) {
    const Place place{actor.site, bytes, space, writes(access)};
    Executions& executions = places_[place];
    executions.by_thread.resize(threads_);
    const uint32_t warp = actor.thread / LANES, execution = executions.by_thread[actor.thread]++;
    const uint64_t key = uint64_t(warp) << 32 | execution;
    WarpAccess& together = executions.unfinished[key];
    together.lanes |= 1u << (actor.thread % LANES);
    together.addresses[actor.thread % LANES] = address;
    if (together.lanes == UINT32_MAX) {
        finish(place, together);
        executions.unfinished.erase(key);
    }
}

void Counters::finish(const Place& place, const WarpAccess& access) {
    const uint64_t bytes = place.bytes * uint64_t(__builtin_popcount(access.lanes));
    const auto distinct = [&](uint32_t lanes, uintptr_t unit, uintptr_t* values) {
        uintptr_t* end = values;
        for (; lanes != 0; lanes &= lanes - 1) *end++ = access.addresses[__builtin_ctz(lanes)] / unit;
        std::sort(values, end);
        return std::unique(values, end);
    };
    uintptr_t values[LANES];
    if (place.space == Space::Global) {
        // An aligned access never straddles two sectors.
        const uint64_t sectors = uint64_t(distinct(access.lanes, SECTOR, values) - values);
        (place.writes ? total_->global_written_bytes : total_->global_read_bytes) += bytes;
        (place.writes ? total_->global_written_sectors : total_->global_read_sectors) += sectors;
        ++total_->global_accesses;
        return;
    }
    (place.writes ? total_->shared_written_bytes : total_->shared_read_bytes) += bytes;
    ++total_->shared_accesses;
    // 32 banks of 4 bytes; lanes that want one word share it. Of 8 bytes a lane, half of the warp is served at a time,
    // and of 16 bytes a quarter, so that conflicts arise within those only
    // (NVIDIA's GTC 2019 talk S9593).
    const uintptr_t width = std::max(place.bytes, BANK);
    const uint32_t together = uint32_t(BANKS * BANK / width);
    for (uint32_t first = 0; first < LANES; first += together) {
        const uint32_t lanes = access.lanes & uint32_t(((uint64_t(1) << together) - 1) << first);
        if (lanes == 0) continue;
        uint64_t by_bank[BANKS] = {};
        const uintptr_t* end = distinct(lanes, width, values);
        // Wide words begin at different banks, or conflict in all of theirs.
        for (const uintptr_t* word = values; word != end; ++word) ++by_bank[*word * width / BANK % BANKS];
        total_->shared_cycles += *std::max_element(by_bank, by_bank + BANKS);
        ++total_->shared_least_cycles;
    }
}

}  // namespace rir::emu
