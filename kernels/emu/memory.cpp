#include "memory.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__APPLE__)
#include <dlfcn.h>
#include <mach-o/getsect.h>
#include <mach-o/loader.h>
#else
#include <link.h>
#endif

#include "fiber.hpp"
#if defined(RIR_EMU_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) void()
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) void()
#endif

namespace rir::emu {
namespace {

// What shared memory holds before it is written: as bf16, float or double a NaN, as an index far out of range.
constexpr int POISON = 0xff;

size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

SharedArena::SharedArena() : bytes_(static_cast<unsigned char*>(std::aligned_alloc(1024, BYTES))) {
    if (!bytes_) throw std::bad_alloc();
    ASAN_POISON_MEMORY_REGION(bytes_, BYTES);
}

SharedArena::~SharedArena() {
    ASAN_UNPOISON_MEMORY_REGION(bytes_, BYTES);
    std::free(bytes_);
}

void SharedArena::begin_launch(uint32_t dynamic_bytes, uint32_t limit) {
    dynamic_bytes_ = dynamic_bytes;
    limit_ = limit;
}

void SharedArena::begin_block() {
    ASAN_POISON_MEMORY_REGION(bytes_, BYTES);
    allocations_.clear();
    static_end_ = DYNAMIC_ROOM;
    static_bytes_ = 0;
    if (dynamic_bytes_ > 0) add(nullptr, 0, dynamic_bytes_);
}

void SharedArena::add(const void* tag, size_t offset, size_t bytes) {
    const uintptr_t begin = uintptr_t(bytes_) + offset;
    allocations_.push_back({tag, {begin, begin + bytes, true, 0}});
    ASAN_UNPOISON_MEMORY_REGION(bytes_ + offset, bytes);
    std::memset(bytes_ + offset, POISON, bytes);
}

void* SharedArena::static_structure(const void* tag, size_t bytes, size_t alignment, const char*& error) {
    for (const Allocation& allocation : allocations_) {
        if (allocation.tag == tag) return reinterpret_cast<void*>(allocation.extent.begin);
    }
    static_bytes_ = round_up(static_bytes_, alignment) + bytes;
    if (static_bytes_ > STATIC_LIMIT) {
        error = "asks for more static shared memory than the 48 KiB that a block may have";
        return nullptr;
    }
    if (static_bytes_ + dynamic_bytes_ > limit_) {
        error = "asks for more shared memory, static and dynamic, than a block of this card may have";
        return nullptr;
    }
    const size_t offset = round_up(static_end_, std::max<size_t>(alignment, 128));
    if (offset + bytes > BYTES) {
        error = "has more structures in shared memory than the emulator has room for";
        return nullptr;
    }
    static_end_ = offset + bytes + GAP;
    add(tag, offset, bytes);
    return bytes_ + offset;
}

bool SharedArena::holds(uintptr_t address, size_t bytes) const {
    for (const Allocation& allocation : allocations_) {
        if (allocation.extent.holds(address, bytes)) return true;
    }
    return false;
}

void SharedArena::describe(uintptr_t address, char* text, size_t size) const {
    const Allocation* nearest = nullptr;
    for (const Allocation& allocation : allocations_) {
        if (allocation.extent.begin <= address) nearest = &allocation;
    }
    for (const Allocation& allocation : allocations_) {
        if (allocation.extent.begin <= address && allocation.extent.begin > nearest->extent.begin)
            nearest = &allocation;
    }
    if (!nearest) {
        std::snprintf(text, size, "shared memory that the launch does not have");
        return;
    }
    const Extent& extent = nearest->extent;
    const char* kind = nearest->tag ? "static" : "dynamic";
    const size_t bytes = extent.end - extent.begin;
    if (address >= extent.end) {
        std::snprintf(text, size, "%zu bytes past the end of %s shared memory of %zu bytes", address - extent.end, kind,
                      bytes);
    } else {
        std::snprintf(text, size, "at byte %zu of %s shared memory of %zu bytes", address - extent.begin, kind, bytes);
    }
}

void GlobalMemory::begin_launch(const RirEmuTensor* tensors, size_t count) {
    tensors_ = tensors;
    count_ = count;
    latest_ = 0;
    extents_.clear();
    std::vector<uintptr_t> edges;
    for (size_t i = 0; i < count; ++i) {
        edges.push_back(tensors[i].address);
        edges.push_back(tensors[i].address + tensors[i].bytes);
    }
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    for (size_t e = 0; e + 1 < edges.size(); ++e) {
        bool inside = false, writable = false;
        for (size_t i = 0; i < count; ++i) {
            if (edges[e] - tensors[i].address < tensors[i].bytes) {
                inside = true;
                writable |= tensors[i].writable != 0;
            }
        }
        if (inside) extents_.push_back({edges[e], edges[e + 1], writable, uint32_t(extents_.size())});
    }
}

const Extent* GlobalMemory::search(uintptr_t address) {
    auto after = std::upper_bound(extents_.begin(), extents_.end(), address,
                                  [](uintptr_t a, const Extent& extent) { return a < extent.begin; });
    if (after == extents_.begin()) return nullptr;
    const Extent& extent = *--after;
    if (!extent.holds(address, 1)) return nullptr;
    latest_ = size_t(&extent - extents_.data());
    return &extent;
}

bool GlobalMemory::holds(uintptr_t address, size_t bytes) const {
    for (size_t i = 0; i < count_; ++i) {
        const Extent tensor{tensors_[i].address, tensors_[i].address + tensors_[i].bytes, false, 0};
        if (tensor.holds(address, bytes)) return true;
    }
    return false;
}

void GlobalMemory::describe(uintptr_t address, char* text, size_t size) const {
    // The nearest tensor is the one that was meant, if any was.
    size_t nearest = count_;
    uintptr_t distance = UINTPTR_MAX;
    for (size_t i = 0; i < count_; ++i) {
        const uintptr_t begin = tensors_[i].address, end = begin + tensors_[i].bytes;
        const uintptr_t away = address < begin ? begin - address : address >= end ? address - end : 0;
        if (away < distance) {
            nearest = i;
            distance = away;
        }
    }
    if (address < 4096) {
        std::snprintf(text, size, "at address %zu, through a null pointer", size_t(address));
    } else if (nearest == count_) {
        std::snprintf(text, size, "at 0x%zx, in a launch that has no tensors", size_t(address));
    } else {
        const size_t bytes = tensors_[nearest].bytes;
        const uintptr_t begin = tensors_[nearest].address;
        const char* where = address < begin ? "before" : address >= begin + bytes ? "past the end of" : nullptr;
        if (where) {
            std::snprintf(text, size, "%zu bytes %s tensor %zu of %zu bytes", size_t(distance), where, nearest, bytes);
        } else {
            std::snprintf(text, size, "at byte %zu of tensor %zu of %zu bytes", size_t(address - begin), nearest,
                          bytes);
        }
    }
}

#if defined(__APPLE__)

bool program_constant(uintptr_t address) {
    static const auto* header = [] {
        Dl_info info{};
        dladdr(reinterpret_cast<const void*>(&program_constant), &info);
        return static_cast<const mach_header_64*>(info.dli_fbase);
    }();
    for (const char* segment : {"__TEXT", "__DATA_CONST"}) {
        unsigned long bytes = 0;
        const uint8_t* begin = getsegmentdata(header, segment, &bytes);
        if (begin && address - uintptr_t(begin) < bytes) return true;
    }
    return false;
}

#else

bool program_constant(uintptr_t address) {
    // The segments that are read-only once loaded, of the program or library that holds this code.
    static const std::vector<Extent> constants = [] {
        std::vector<Extent> found;
        dl_iterate_phdr(
            [](dl_phdr_info* info, size_t, void* found) {
                std::vector<Extent> extents;
                bool ours = false;
                for (int i = 0; i < info->dlpi_phnum; ++i) {
                    const auto& header = info->dlpi_phdr[i];
                    const uintptr_t begin = info->dlpi_addr + header.p_vaddr;
                    const Extent extent{begin, begin + header.p_memsz, false, 0};
                    if (header.p_type == PT_LOAD) ours |= extent.holds(uintptr_t(&program_constant), 1);
                    const bool constant = (header.p_type == PT_LOAD && !(header.p_flags & PF_W));
                    if (constant || header.p_type == PT_GNU_RELRO) extents.push_back(extent);
                }
                if (ours) *static_cast<std::vector<Extent>*>(found) = extents;
                return ours ? 1 : 0;
            },
            &found);
        return found;
    }();
    return std::any_of(constants.begin(), constants.end(), [&](const Extent& c) { return c.holds(address, 1); });
}

#endif

}  // namespace rir::emu
