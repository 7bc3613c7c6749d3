#include "async.hpp"

#include <cstring>

#include "machine.hpp"
#include "ptx.hpp"

namespace rir::emu {
namespace {

constexpr int POISON = 0xff;

}  // namespace

void AsyncCopies::Copy::move() {
    // Of no bytes the source may be any address, and null is none for memcpy.
    if (source_bytes > 0) std::memcpy(to, from, source_bytes);
    std::memset(to + source_bytes, 0, bytes - source_bytes);
    moved = true;
}

void AsyncCopies::start(Thread& thread, void* to, const void* from, uint32_t bytes, uint32_t source_bytes,
                        const void* site) {
    Machine& machine = *thread.machine;
    if (source_bytes > bytes) {
        fault(site, "cp.async of %u bytes, of which %u from the source", bytes, source_bytes);
    }
    if (!thread.arena->near(uintptr_t(to))) fault(site, "cp.async writes where no shared memory is");
    if (uintptr_t(from) % bytes != 0) fault(site, "cp.async of %u bytes from an address not aligned to as many", bytes);
    if (source_bytes > 0) machine.touch_range(thread, uintptr_t(from), source_bytes, Access::Read, site);
    machine.touch(thread, uintptr_t(to), bytes, Access::AsyncWrite, site);
    copies_.push_back({static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), bytes, source_bytes,
                       groups_, false, site});
    if (machine.cluster.random().below(4) == 0) {
        copies_.back().move();
    } else {
        std::memset(to, POISON, bytes);
    }
}

void AsyncCopies::commit(Thread& thread) {
    for (Copy& copy : copies_) {
        if (!copy.moved && thread.machine->cluster.random().below(4) == 0) copy.move();
    }
    ++groups_;
}

void AsyncCopies::wait(Thread& thread, uint32_t groups) {
    size_t count = 0;
    while (count < copies_.size() && copies_[count].group + groups < groups_) ++count;
    finish_first(thread, count);
}

void AsyncCopies::wait_all(Thread& thread) { finish_first(thread, copies_.size()); }

void AsyncCopies::finish_first(Thread& thread, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        Copy& copy = copies_[i];
        if (!copy.moved) copy.move();
        thread.machine->finish_async_write(thread, uintptr_t(copy.to), copy.bytes, copy.site);
    }
    copies_.erase(copies_.begin(), copies_.begin() + ptrdiff_t(count));
}

void async_copy(void* shared, const void* global, unsigned bytes, unsigned source_bytes) {
    running->copies.start(*running, shared, global, bytes, source_bytes, __builtin_return_address(0));
}
void async_commit() { running->copies.commit(*running); }
void async_wait(unsigned groups) { running->copies.wait(*running, groups); }
void async_wait_all() { running->copies.wait_all(*running); }

}  // namespace rir::emu
