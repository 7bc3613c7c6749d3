#include "clocks.hpp"

#include <algorithm>

#include "runtime.hpp"

namespace rir::emu {

void Knowledge::raise(uint32_t index, Stamp stamp) {
    if (index >= stamps_.size()) stamps_.resize(index + 1);
    stamps_[index] = std::max(stamps_[index], stamp);
}

void Knowledge::join(const Knowledge& other) {
    if (stamps_.size() < other.stamps_.size()) stamps_.resize(other.stamps_.size());
    for (size_t i = 0; i < other.stamps_.size(); ++i) stamps_[i] = std::max(stamps_[i], other.stamps_[i]);
}

Stamp Clocks::tick() {
    if (latest_ == UINT32_MAX) fault(nullptr, "more synchronisations in one launch than the emulator can count");
    return ++latest_;
}

void Clocks::begin_launch() {
    if (latest_ < UINT32_MAX / 2) return;
    latest_ = 0;
    std::fill(seen_.begin(), seen_.end(), 0);
}

void Clocks::begin_cluster(uint32_t blocks, uint32_t threads) {
    threads_ = threads;
    count_ = blocks * threads;
    agents_ = 0;
    if (now_.size() < count_) {
        now_.resize(count_);
        fenced_.resize(count_);
        seen_.resize(size_t(count_) * LANES);
        known_.resize(count_);
    }
    earlier_ = tick();
    for (uint32_t thread = 0; thread < count_; ++thread) {
        fenced_[thread] = earlier_;
        known_[thread].clear();
    }
    for (uint32_t block = 0; block < blocks; ++block) {
        common_[block].clear();
        barrier(block);
    }
}

void Clocks::barrier(uint32_t block) {
    const uint32_t first = block * threads_;
    for (uint32_t thread = first; thread < first + threads_; ++thread) {
        if (known_[thread].empty()) continue;
        common_[block].join(known_[thread]);
        known_[thread].clear();
    }
    ordered_[block] = tick();
    std::fill_n(now_.begin() + first, threads_, tick());
}

void Clocks::join(uint32_t warp, uint32_t lanes) {
    Stamp joined[LANES] = {};
    Knowledge of_others;
    const uint32_t first = warp * LANES;
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        if (!(lanes >> lane & 1)) continue;
        const Stamp* seen = &seen_[size_t(first + lane) * LANES];
        for (uint32_t other = 0; other < LANES; ++other) joined[other] = std::max(joined[other], seen[other]);
        joined[lane] = std::max(joined[lane], now_[first + lane]);
        of_others.join(known_[first + lane]);
    }
    const Stamp now = tick();
    for (uint32_t lane = 0; lane < LANES; ++lane) {
        if (!(lanes >> lane & 1)) continue;
        std::copy_n(joined, LANES, &seen_[size_t(first + lane) * LANES]);
        if (!of_others.empty()) known_[first + lane].join(of_others);
        now_[first + lane] = now;
    }
}

void Clocks::release(uint32_t thread, Knowledge& to) {
    const uint32_t block = thread / threads_, first = block * threads_, warp = thread / LANES * LANES;
    to.join(common_[block]);
    to.join(known_[thread]);
    for (uint32_t other = first; other < first + threads_; ++other) to.raise(other, ordered_[block]);
    for (uint32_t lane = 0; lane < LANES && warp + lane < count_; ++lane) {
        to.raise(warp + lane, seen_[size_t(thread) * LANES + lane]);
    }
    to.raise(thread, now_[thread]);
    now_[thread] = tick();
}

void Clocks::acquire(uint32_t thread, const Knowledge& from) {
    known_[thread].join(from);
    now_[thread] = tick();
}

uint32_t Clocks::add_agent() {
    if (agents_ == MAX_AGENTS) fault(nullptr, "more mbarriers and warp groups in one cluster than the emulator counts");
    return AGENT + agents_++;
}

}  // namespace rir::emu
