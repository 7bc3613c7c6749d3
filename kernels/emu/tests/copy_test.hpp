// A launch with tensor maps.
#pragma once

#include <vector>

#include <algorithm>

#include "maps.hpp"
#include "test.hpp"

struct CopyTest : Run {
    Tensor<uint32_t> x = Tensor<uint32_t>(64);
    Tensor<float> y = Tensor<float>(64);
    Tensor<unsigned> counts = Tensor<unsigned>(64);
    Tensor<int32_t> list = Tensor<int32_t>(8);
    // Their addresses are set when the launch is, to those of x or y.
    RirEmuTensorMap maps[2]{};
    bool of_y[2]{};
    CopyParams params{};

    explicit CopyTest(const std::string& kernel, uint32_t threads = 64, uint32_t blocks = 1)
        : Run(kernel, threads, blocks) {
        shared_limit = 227 << 10;
        dynamic_shared = 48 << 10;
    }
    CopyTest& run() {
        for (int i = 0; i < 2; ++i) {
            if (maps[i].rank == 0) continue;
            maps[i].address = of_y[i] ? reinterpret_cast<uint64_t>(y.data()) : reinterpret_cast<uint64_t>(x.data());
            char refused[256] = "";
            CHECK(rir_emu_encode_map(&maps[i], &params.maps[i], refused, sizeof refused) == 0, "%s: %s", kernel.c_str(),
                  refused);
        }
        params.x = x.data();
        params.y = y.data();
        params.counts = counts.data();
        params.list = list.data();
        const RirEmuTensor tensors[] = {listed(x, false), listed(y, true), listed(counts, true), listed(list, false)};
        launch(params, tensors, 4);
        return *this;
    }
    // One more copy.
    void add(std::initializer_list<int32_t> coordinates, Corner tap = {0, 0}) {
        list.resize(++params.items * 8);
        int32_t* at = &list[(params.items - 1) * 8];
        for (const int32_t coordinate : coordinates) *at++ = coordinate;
        list[params.items * 8 - 3] = tap.x;
        list[params.items * 8 - 2] = tap.y;
    }
};

// Where a byte of shared memory lies once it is swizzled: by the tables of PTX ISA, "Swizzling Modes". A row of them is
// a line of 128 bytes; place p of it has the 16 bytes of number TABLE[line][p].
constexpr uint8_t SWIZZLES[8][8] = {
    {0, 1, 2, 3, 4, 5, 6, 7}, {1, 0, 3, 2, 5, 4, 7, 6}, {2, 3, 0, 1, 6, 7, 4, 5}, {3, 2, 1, 0, 7, 6, 5, 4},
    {4, 5, 6, 7, 0, 1, 2, 3}, {5, 4, 7, 6, 1, 0, 3, 2}, {6, 7, 4, 5, 2, 3, 0, 1}, {7, 6, 5, 4, 3, 2, 1, 0},
};
// `swizzle` as in RirEmuTensorMap: the table of 32 bytes has 2 rows, of 64 bytes 4, of 128 bytes 8.
inline uint32_t swizzled_place(uint32_t byte, uint32_t swizzle) {
    const uint8_t(&row)[8] = SWIZZLES[byte / 128 % (1u << swizzle)];
    for (uint32_t place = 0; place < 8; ++place) {
        if (row[place] == byte / 16 % 8) return byte / 128 * 128 + place * 16 + byte % 16;
    }
    return 0;
}
