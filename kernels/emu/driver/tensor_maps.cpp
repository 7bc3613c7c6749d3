// The stand-in's tensor maps: the emulator's, since its kernels read them.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "emu/emu.h"
#include "libcuda.hpp"

namespace {

constexpr int FLOAT32 = 7, BFLOAT16 = 9;  // data types
constexpr int PROMOTIONS = 4, SWIZZLES = 4;

// What both kinds of map are asked for.
struct Asked {
    int type;
    uint32_t rank;
    void* address;
    const uint64_t *dims, *strides;
    const uint32_t* steps;
    int interleave, swizzle, promotion, fill;
};

// Encodes a map whose own fields are set in `map`. What the emulator has no counterpart of is refused.
Result encode(void* to, const Asked& asked, RirEmuTensorMap map) {
    if (Result r = ready()) return r;
    if (!to || reinterpret_cast<uintptr_t>(to) % 64 != 0 || asked.rank < 1 || asked.rank > 5) return INVALID_VALUE;
    if (asked.type != FLOAT32 && asked.type != BFLOAT16) return INVALID_VALUE;
    if (asked.interleave != 0 || asked.fill != 0) return INVALID_VALUE;
    if (asked.swizzle < 0 || asked.swizzle >= SWIZZLES) return INVALID_VALUE;
    if (asked.promotion < 0 || asked.promotion >= PROMOTIONS) return INVALID_VALUE;
    map.address = reinterpret_cast<uint64_t>(asked.address);
    map.rank = asked.rank;
    map.element_bytes = asked.type == BFLOAT16 ? 2 : 4;
    map.swizzle = uint32_t(asked.swizzle);
    std::copy_n(asked.dims, asked.rank, map.dims);
    std::copy_n(asked.strides, asked.rank - 1, map.strides);
    std::copy_n(asked.steps, asked.rank, map.element_strides);
    char message[1024] = "";
    alignas(128) unsigned char encoded[128];
    if (rir_emu_encode_map(&map, encoded, message, sizeof message) != 0) {
        std::fprintf(stderr, "stand-in driver: %s\n", message);
        return INVALID_VALUE;
    }
    std::memcpy(to, encoded, sizeof encoded);
    return SUCCESS;
}

}  // namespace

EXPORT cuTensorMapEncodeTiled(void* to, int type, uint32_t rank, void* address, const uint64_t* dims,
                              const uint64_t* strides, const uint32_t* box, const uint32_t* steps, int interleave,
                              int swizzle, int promotion, int fill) {
    RirEmuTensorMap map = {};
    if (rank <= 5) std::copy_n(box, rank, map.box);
    return encode(to, {type, rank, address, dims, strides, steps, interleave, swizzle, promotion, fill}, map);
}
EXPORT cuTensorMapEncodeIm2col(void* to, int type, uint32_t rank, void* address, const uint64_t* dims,
                               const uint64_t* strides, const int* lower, const int* upper, uint32_t channels,
                               uint32_t pixels, const uint32_t* steps, int interleave, int swizzle, int promotion,
                               int fill) {
    if (rank < 3 || rank > 5) return INVALID_VALUE;
    RirEmuTensorMap map = {};
    map.im2col = 1;
    std::copy_n(lower, rank - 2, map.lower);
    std::copy_n(upper, rank - 2, map.upper);
    map.channels = channels;
    map.pixels = pixels;
    return encode(to, {type, rank, address, dims, strides, steps, interleave, swizzle, promotion, fill}, map);
}
