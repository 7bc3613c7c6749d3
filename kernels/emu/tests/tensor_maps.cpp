// The rules of cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col, one by one, as the CUDA Driver API lists them.
#include <functional>

#include "maps.hpp"
#include "test.hpp"

namespace {

// Of a tensor that nobody reads.
const void* const TENSOR = reinterpret_cast<const void*>(uintptr_t(1) << 20);

struct alignas(128) Encoded {
    unsigned char bytes[128];
};

void accept(const RirEmuTensorMap& map, const char* what) {
    Encoded encoded;
    char message[256];
    const int refused = rir_emu_encode_map(&map, &encoded, message, sizeof message);
    CHECK(refused == 0, "%s is refused: %s", what, message);
}

void refuse(const RirEmuTensorMap& map, const char* words) {
    Encoded encoded;
    char message[256] = "";
    const int refused = rir_emu_encode_map(&map, &encoded, message, sizeof message);
    CHECK(refused == 1, "a map that should say '%s' is accepted", words);
    CHECK(says(message, words), "no '%s' in '%s'", words, message);
}

// A legal map with one thing changed.
void refuse_tiled(const char* words, const std::function<void(RirEmuTensorMap&)>& change) {
    RirEmuTensorMap map = tiled(TENSOR, 2, {64, 9, 7, 5, 3}, {32, 8, 4, 2, 1}, 2);
    change(map);
    refuse(map, words);
}
void refuse_im2col(const char* words, const std::function<void(RirEmuTensorMap&)>& change) {
    RirEmuTensorMap map = im2col(TENSOR, 2, {64, 9, 7, 5}, {-1, -1}, {-1, -1}, 32, 64, 1, 2);
    change(map);
    refuse(map, words);
}

void accepted_tiles() {
    accept(tiled(TENSOR, 2, {64}, {64}), "1 dimension");
    accept(tiled(TENSOR, 2, {64, 9}, {64, 9}), "2 dimensions");
    accept(tiled(TENSOR, 4, {32, 9, 7}, {32, 9, 7}), "3 dimensions");
    accept(tiled(TENSOR, 2, {64, 9, 7, 5}, {8, 1, 1, 1}), "4 dimensions");
    accept(tiled(TENSOR, 2, {64, 9, 7, 5, 3}, {256, 256, 256, 256, 256}), "5 dimensions, the largest box");
    accept(tiled(TENSOR, 2, {3}, {8}), "one line whose bytes are no multiple of 16");
    accept(tiled(TENSOR, 2, {64, 9}, {16, 9}, 1), "a swizzle of 32 bytes, full");
    accept(tiled(TENSOR, 2, {64, 9}, {32, 9}, 2), "a swizzle of 64 bytes, full");
    accept(tiled(TENSOR, 4, {64, 9}, {32, 9}, 3), "a swizzle of 128 bytes, full");
    accept(tiled(TENSOR, 2, {64, 9}, {8, 9}, 3), "a swizzle wider than the box");
    accept(tiled(TENSOR, 2, {(uint64_t(1) << 32) - 1}, {64}), "the most elements");
    RirEmuTensorMap map = tiled(TENSOR, 2, {20, 9, 7}, {8, 9, 7});
    map.strides[0] = 48;
    map.strides[1] = 48 * 10;
    for (uint32_t d = 0; d < 3; ++d) map.element_strides[d] = 8;
    accept(map, "padding in two dimensions, and the longest steps");
    map = tiled(TENSOR, 2, {8, 2}, {8, 2});
    map.strides[0] = (uint64_t(1) << 40) - 16;
    accept(map, "the longest stride");
}

void refused_tiles() {
    refuse_tiled("dimensions", [](auto& map) { map.rank = 0; });
    refuse_tiled("6 dimensions", [](auto& map) { map.rank = 6; });
    refuse_tiled("aligned to 16", [](auto& map) { map.address += 8; });
    refuse_tiled("0 elements of dimension 3", [](auto& map) { map.dims[3] = 0; });
    refuse_tiled("elements of dimension 4", [](auto& map) { map.dims[4] = (uint64_t(1) << 32) + 1; });
    refuse_tiled("elements of 3 bytes", [](auto& map) { map.element_bytes = 3; });
    refuse_tiled("multiples of 16", [](auto& map) { map.strides[0] += 8; });
    refuse_tiled("below 2^40", [](auto& map) { map.strides[3] = uint64_t(1) << 40; });
    refuse_tiled("overlaps", [](auto& map) { map.strides[0] = 112; });
    refuse_tiled("multiple of the one before", [](auto& map) { map.strides[1] += 16; });
    for (uint32_t d = 0; d < 5; ++d) {
        refuse_tiled("a box of 0 elements", [&](auto& map) { map.box[d] = 0; });
        refuse_tiled("a box of 257 elements", [&](auto& map) { map.box[d] = 257; });
    }
    for (uint32_t d = 1; d < 5; ++d) {
        refuse_tiled("an element stride of 0", [&](auto& map) { map.element_strides[d] = 0; });
        refuse_tiled("an element stride of 9", [&](auto& map) { map.element_strides[d] = 9; });
    }
    refuse_tiled("no multiple of 16", [](auto& map) { map.box[0] = 12; });
    refuse_tiled("no multiple of 16", [](auto& map) { map.box[0] = 10, map.swizzle = 0; });
    refuse_tiled("48 bytes wide, where the swizzle is of 32", [](auto& map) { map.box[0] = 24, map.swizzle = 1; });
    refuse_tiled("80 bytes wide, where the swizzle is of 64", [](auto& map) { map.box[0] = 40; });
    refuse_tiled("144 bytes wide, where the swizzle is of 128", [](auto& map) { map.box[0] = 72, map.swizzle = 3; });
    refuse_tiled("a swizzle of number 4", [](auto& map) { map.swizzle = 4; });
}

void im2col_maps() {
    accept(im2col(TENSOR, 2, {64, 9, 7, 5}, {-1, -1}, {-1, -1}, 32, 64, 1, 2), "4 dimensions");
    accept(im2col(TENSOR, 2, {64, 9, 7, 5}, {-128, -128}, {127, 127}, 256, 1024, 8), "the farthest corners");
    accept(im2col(TENSOR, 2, {64, 9, 7, 5}, {8, 6}, {0, 0}, 8, 1), "a box of one pixel");
    RirEmuTensorMap map = map_of_tensor(TENSOR, 2, {64, 9, 7});
    map.im2col = 1;
    map.channels = 64;
    map.pixels = 5;
    map.lower[0] = -32768;
    map.upper[0] = 32767;
    accept(map, "3 dimensions");
    map = map_of_tensor(TENSOR, 2, {64, 9, 8, 7, 5});
    map.im2col = 1;
    map.channels = 64;
    map.pixels = 5;
    for (uint32_t d = 0; d < 3; ++d) map.lower[d] = -16, map.upper[d] = 15;
    accept(map, "5 dimensions");
    for (uint32_t d = 0; d < 3; ++d) {
        map.lower[d] = -17;
        refuse(map, "at -17, where there are -16 to 15");
        map.lower[d] = -16;
        map.upper[d] = 16;
        refuse(map, "at 16, where there are -16 to 15");
        map.upper[d] = 15;
    }
    refuse_im2col("2 dimensions", [](auto& map) { map.rank = 2; });
    refuse_im2col("6 dimensions", [](auto& map) { map.rank = 6; });
    refuse_im2col("aligned to 16", [](auto& map) { map.address += 4; });
    refuse_im2col("elements of dimension 0", [](auto& map) { map.dims[0] = 0; });
    refuse_im2col("multiples of 16", [](auto& map) { map.strides[0] += 8; });
    for (uint32_t d = 0; d < 2; ++d) {
        refuse_im2col("at -129, where there are -128 to 127", [&](auto& map) { map.lower[d] = -129; });
        refuse_im2col("at 128, where there are -128 to 127", [&](auto& map) { map.upper[d] = 128; });
        refuse_im2col("a bounding box from 9 to", [&](auto& map) { map.lower[d] = 9; });
        refuse_im2col("an element stride of 9", [&](auto& map) { map.element_strides[d + 1] = 9; });
        refuse_im2col("an element stride of 0", [&](auto& map) { map.element_strides[d + 1] = 0; });
    }
    // One line of pixels too few: an empty box.
    refuse_im2col("a bounding box from -1 to -2 of dimension 2", [](auto& map) { map.upper[1] = -8; });
    refuse_im2col("0 channels", [](auto& map) { map.channels = 0; });
    refuse_im2col("257 channels|264 channels", [](auto& map) { map.channels = 264, map.swizzle = 0; });
    refuse_im2col("of 0 pixels", [](auto& map) { map.pixels = 0; });
    refuse_im2col("of 1025 pixels", [](auto& map) { map.pixels = 1025; });
    refuse_im2col("no multiple of 16", [](auto& map) { map.channels = 12; });
    refuse_im2col("80 bytes wide, where the swizzle is of 64", [](auto& map) { map.channels = 40; });
    refuse_im2col("a swizzle of number 7", [](auto& map) { map.swizzle = 7; });
}

// "tensorMap address must be aligned to 64 bytes."
void places_of_maps() {
    const RirEmuTensorMap map = tiled(TENSOR, 2, {64}, {64});
    struct alignas(128) {
        unsigned char bytes[256];
    } place;
    char message[256] = "";
    CHECK(rir_emu_encode_map(&map, place.bytes + 64, message, sizeof message) == 0, "%s", message);
    CHECK(rir_emu_encode_map(&map, place.bytes + 32, message, sizeof message) == 1, "a map at 32 bytes is accepted");
    CHECK(says(message, "aligned to 64"), "%s", message);
}

}  // namespace

void tensor_maps() {
    accepted_tiles();
    refused_tiles();
    im2col_maps();
    places_of_maps();
}
