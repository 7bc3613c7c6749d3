// The rules of cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col (CUDA Driver API, "Tensor Map Object Management").
#include "tensor_map.hpp"

#include <cstdarg>
#include <cstring>
#include <initializer_list>
#include <limits>

#include "emu.h"
#include "text.hpp"

namespace rir::emu {
namespace {

constexpr uint64_t MOST_STRIDE = uint64_t(1) << 40;
constexpr uint32_t MOST_BOX = 256, MOST_STEP = 8, MOST_CHANNELS = 256, MOST_PIXELS = 1024, CHUNK = 16;

// Writes a sentence, and says that there is one.
bool refuse(Text& text, const char* format, ...) __attribute__((format(printf, 2, 3)));
bool refuse(Text& text, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text.add_list(format, arguments);
    va_end(arguments);
    return true;
}

bool refuse_tensor(const RirEmuTensorMap& map, Text& text) {
    const uint32_t least = map.im2col ? 3 : 1;
    if (map.rank < least || map.rank > 5) {
        return refuse(text, "%u dimensions, where there are %u to 5", map.rank, least);
    }
    if (map.element_bytes != 2 && map.element_bytes != 4)
        return refuse(text, "elements of %u bytes", map.element_bytes);
    if (map.address % CHUNK != 0) return refuse(text, "a tensor that is not aligned to 16 bytes");
    if (map.swizzle > 3) return refuse(text, "a swizzle of number %u", map.swizzle);
    for (uint32_t d = 0; d < map.rank; ++d) {
        // The driver takes 2^32 as well, which nobody needs.
        if (map.dims[d] == 0 || map.dims[d] > std::numeric_limits<uint32_t>::max()) {
            return refuse(text, "%llu elements of dimension %u", static_cast<unsigned long long>(map.dims[d]), d);
        }
        if (map.element_strides[d] == 0 || map.element_strides[d] > MOST_STEP) {
            return refuse(text, "an element stride of %u in dimension %u, where there are 1 to %u",
                          map.element_strides[d], d, MOST_STEP);
        }
    }
    uint64_t before = map.dims[0] * map.element_bytes;
    for (uint32_t d = 0; d + 1 < map.rank; ++d) {
        const uint64_t stride = map.strides[d];
        if (stride % CHUNK != 0 || stride >= MOST_STRIDE) {
            return refuse(text, "a stride of %llu bytes, where there are multiples of 16 below 2^40",
                          static_cast<unsigned long long>(stride));
        }
        if (stride < before || (d > 0 && stride % map.strides[d - 1] != 0)) {
            return refuse(text, "stride %u of %llu bytes, which is no multiple of the one before, or overlaps", d,
                          static_cast<unsigned long long>(stride));
        }
        before = map.dims[d + 1] * stride;
    }
    return false;
}

// Bytes of what is innermost in shared memory: whole chunks, and no wider than the swizzle.
bool refuse_line(const RirEmuTensorMap& map, uint32_t elements, Text& text) {
    const uint32_t bytes = elements * map.element_bytes, widest = CHUNK << map.swizzle;
    if (bytes % CHUNK != 0) return refuse(text, "a box that is %u bytes wide, which is no multiple of 16", bytes);
    if (map.swizzle > 0 && bytes > widest) {
        return refuse(text, "a box that is %u bytes wide, where the swizzle is of %u", bytes, widest);
    }
    return false;
}

bool refuse_tiled(const RirEmuTensorMap& map, Text& text) {
    for (uint32_t d = 0; d < map.rank; ++d) {
        if (map.box[d] == 0 || map.box[d] > MOST_BOX) {
            return refuse(text, "a box of %u elements in dimension %u, where there are 1 to %u", map.box[d], d,
                          MOST_BOX);
        }
    }
    return refuse_line(map, map.box[0], text);
}

bool refuse_im2col(const RirEmuTensorMap& map, Text& text) {
    // By the number of spatial dimensions: 16, 8 and 5 bits.
    static constexpr int32_t LIMITS[] = {1 << 15, 1 << 7, 1 << 4};
    const uint32_t spatial = map.rank - 2;
    const int32_t limit = LIMITS[spatial - 1];
    for (uint32_t d = 0; d < spatial; ++d) {
        for (const int32_t corner : {map.lower[d], map.upper[d]}) {
            if (corner < -limit || corner >= limit) {
                return refuse(text, "a corner of the bounding box at %d, where there are %d to %d", corner, -limit,
                              limit - 1);
            }
        }
        if (int64_t(map.dims[d + 1]) - 1 + map.upper[d] < map.lower[d]) {
            return refuse(text, "a bounding box from %d to %lld of dimension %u", map.lower[d],
                          static_cast<long long>(map.dims[d + 1]) - 1 + map.upper[d], d + 1);
        }
    }
    if (map.channels == 0 || map.channels > MOST_CHANNELS || map.pixels == 0 || map.pixels > MOST_PIXELS) {
        return refuse(text, "%u channels of %u pixels, where there are 1 to %u of 1 to %u", map.channels, map.pixels,
                      MOST_CHANNELS, MOST_PIXELS);
    }
    return refuse_line(map, map.channels, text);
}

}  // namespace
}  // namespace rir::emu

using namespace rir::emu;

extern "C" int rir_emu_encode_map(const RirEmuTensorMap* asked, void* map, char* message, size_t message_bytes) {
    Text text(message, message_bytes);
    if (uintptr_t(map) % 64 != 0) return refuse(text, "a map at a place that is not aligned to 64 bytes");
    if (refuse_tensor(*asked, text)) return 1;
    if (asked->im2col ? refuse_im2col(*asked, text) : refuse_tiled(*asked, text)) return 1;
    EncodedMap encoded{};
    encoded.magic = EncodedMap::MAGIC;
    encoded.rank = uint8_t(asked->rank);
    encoded.element_bytes = uint8_t(asked->element_bytes);
    encoded.swizzle = uint8_t(asked->swizzle);
    encoded.im2col = asked->im2col != 0;
    encoded.address = asked->address;
    for (uint32_t d = 0; d < asked->rank; ++d) {
        encoded.dims[d] = uint32_t(asked->dims[d]);
        encoded.steps[d] = uint8_t(asked->element_strides[d]);
        encoded.box[d] = uint16_t(asked->box[d]);
        if (d + 1 < asked->rank) encoded.strides[d] = asked->strides[d];
    }
    for (uint32_t d = 0; d < 3; ++d) {
        encoded.lower[d] = int16_t(asked->lower[d]);
        encoded.upper[d] = int16_t(asked->upper[d]);
    }
    // Along the innermost dimension every element is taken (PTX ISA, "Traversal-Stride"); of images, every image.
    encoded.steps[0] = 1;
    if (encoded.im2col) encoded.steps[asked->rank - 1] = 1;
    encoded.channels = uint16_t(asked->channels);
    encoded.pixels = uint16_t(asked->pixels);
    std::memset(map, 0, 128);
    std::memcpy(map, &encoded, sizeof encoded);
    return 0;
}
