// A tensor map as the emulator encodes it, in the 128 bytes that a card's driver writes something else to.
#pragma once

#include <cstdint>

namespace rir::emu {

struct EncodedMap {
    static constexpr uint32_t MAGIC = 0x70616d72;

    uint32_t magic;
    uint8_t rank, element_bytes, swizzle, im2col;
    uint64_t address;
    uint64_t strides[4];  // bytes
    uint32_t dims[5];
    uint16_t box[5];  // tiled
    int16_t lower[3], upper[3];
    uint16_t channels, pixels;  // im2col
    uint8_t steps[5];
    uint8_t padding[7];
};
static_assert(sizeof(EncodedMap) <= 128);

// Where 16-byte chunks of shared memory are exchanged: of lines of 32, 64 or 128 bytes, by the bits of the address
// above a line of 128. `swizzle` as in RirEmuTensorMap.
constexpr uintptr_t swizzled(uintptr_t address, uint32_t swizzle) {
    return address ^ (address >> 7 & ((1u << swizzle) - 1)) << 4;
}

}  // namespace rir::emu
