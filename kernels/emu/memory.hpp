// The memory that a launch may touch: its tensors, a block's shared memory, and its parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "emu.h"

namespace rir::emu {

// Bytes that checks treat alike. A launch's tensors may overlap; its extents do not.
struct Extent {
    uintptr_t begin, end;
    bool writable;
    uint32_t shadow;  // the index of its shadow

    bool holds(uintptr_t address, size_t bytes) const {
        return address - begin < end - begin && bytes <= end - address;
    }
};

// A block's shared memory. Its allocations lie apart, so that running past one does not reach the next: dynamic shared
// memory at the arena's start, static structures after it.
class SharedArena {
  public:
    SharedArena();
    ~SharedArena();
    SharedArena(const SharedArena&) = delete;
    SharedArena& operator=(const SharedArena&) = delete;

    void begin_launch(uint32_t dynamic_bytes, uint32_t limit);
    void begin_block();
    // Null, with `error` set, where it does not fit.
    void* static_structure(const void* tag, size_t bytes, size_t alignment, const char*& error);
    void* dynamic() const { return bytes_; }
    bool near(uintptr_t address) const { return address - uintptr_t(bytes_) < BYTES; }
    bool holds(uintptr_t address, size_t bytes) const;
    uintptr_t begin() const { return uintptr_t(bytes_); }
    // Where an address that no allocation holds lies, for a fault's sentence.
    void describe(uintptr_t address, char* text, size_t size) const;

    static constexpr size_t BYTES = 512 << 10;

  private:
    struct Allocation {
        const void* tag;  // null: dynamic
        Extent extent;
    };
    void add(const void* tag, size_t offset, size_t bytes);

    static constexpr size_t STATIC_LIMIT = 48 << 10;  // CUDA's, whatever the card
    static constexpr size_t DYNAMIC_ROOM = 256 << 10;
    static constexpr size_t GAP = 256;

    unsigned char* bytes_;
    std::vector<Allocation> allocations_;
    size_t static_end_ = 0, static_bytes_ = 0;
    uint32_t dynamic_bytes_ = 0, limit_ = 0;
};

// A launch's tensors, as extents in the order of their addresses.
class GlobalMemory {
  public:
    void begin_launch(const RirEmuTensor* tensors, size_t count);
    const std::vector<Extent>& extents() const { return extents_; }
    // The extent that holds an address.
    const Extent* find(uintptr_t address) {
        if (latest_ < extents_.size() && extents_[latest_].holds(address, 1)) return &extents_[latest_];
        return search(address);
    }
    // Whether one tensor, or tensors that overlap, hold all the bytes.
    bool holds(uintptr_t address, size_t bytes) const;
    void describe(uintptr_t address, char* text, size_t size) const;

  private:
    const Extent* search(uintptr_t address);

    const RirEmuTensor* tensors_ = nullptr;
    size_t count_ = 0, latest_ = 0;
    std::vector<Extent> extents_;
};

// Whether an address belongs to this program's constants, which kernels may read.
bool program_constant(uintptr_t address);

}  // namespace rir::emu
