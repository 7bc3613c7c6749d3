// Proves the index maths of the convolutions on wgmma (conv2d/wgmma_index.cuh) on the host, by brute force:
//
//     g++ -std=c++20 -I kernels kernels/tests/wgmma_index.cpp -o index && ./index
//
// - an operand's elements have a place each, that to which a bulk copy with the swizzle brings them, and that from
// which
//   wgmma takes them by its descriptor;
// - eight lines that are read or written together meet all banks once;
// - whoever counts in place of dividing comes to the same;
// - the rows of a wgmma follow each other in a patch, and find the pixels of their taps there;
// - every sum of a warp group has one thread; on the way out none is lost, and no access meets a bank twice;
// - lanes that add their sums up by exchanges each end with columns of their own;
// - the matrices that a warp stores are its sums.
#include "conv2d/wgmma_index.cuh"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "check.hpp"

using namespace conv2d;

// Whether eight chunks of 16 bytes, by their byte addresses, meet all banks.
static bool fill_the_banks(const std::vector<uint32_t>& places) {
    std::set<uint32_t> chunks;
    for (uint32_t place : places) {
        chunks.insert(place / 16 % 8);
    }
    return places.size() == 8 && chunks.size() == 8;
}

// PTX ISA, "Swizzling modes": of an address, bits 4 and on are exchanged by those from bit 7 on: three where lines are
// of 128 bytes, two of 64.
static uint32_t swizzle(uint32_t address, uint32_t line_bytes) {
    const uint32_t mask = line_bytes == 128 ? 7 : 3;
    return address ^ ((address >> 7 & mask) << 4);
}

template <typename Operand>
static void operand_of() {
    constexpr bool ALONG = Operand::ALONG_DEPTH;
    std::set<uint32_t> places;
    for (uint32_t at = 0; at < Operand::WIDTH; ++at) {
        for (uint32_t depth = 0; depth < Operand::DEPTH; ++depth) {
            // As a bulk copy brings it: boxes of lines of SPAN elements.
            const uint32_t line = ALONG ? at : depth, along = ALONG ? depth : at;
            const uint32_t box = along / Operand::SPAN;
            const uint32_t copied =
                swizzle(box * Operand::BOX_BYTES + line * Operand::LINE_BYTES + along % Operand::SPAN * BF16_BYTES,
                        Operand::LINE_BYTES);
            CHECK(Operand::place(at, depth) == copied);
            places.insert(copied);
        }
    }
    CHECK(places.size() == Operand::WIDTH * Operand::DEPTH && *places.rbegin() == Operand::BYTES - BF16_BYTES);

    // As a descriptor names it: 64 rows, or all columns, and 16 depths from where it begins.
    for (uint32_t first = 0; first < Operand::WIDTH; first += WGMMA_ROWS) {
        for (uint32_t step = 0; step < Operand::DEPTH / WGMMA_STEP; ++step) {
            const uint32_t begin = Operand::offset(first, step);
            for (uint32_t at = 0; at < std::min(WGMMA_ROWS, Operand::WIDTH - first); ++at) {
                for (uint32_t depth = 0; depth < WGMMA_STEP; ++depth) {
                    const uint32_t named =
                        ALONG ? begin + at / 8 * Operand::STRIDE + at % 8 * Operand::LINE_BYTES + depth * BF16_BYTES
                              : begin + at / Operand::SPAN * Operand::LEADING + depth / 8 * Operand::STRIDE +
                                    depth % 8 * Operand::LINE_BYTES + at % Operand::SPAN * BF16_BYTES;
                    CHECK(swizzle(named, Operand::LINE_BYTES) == Operand::place(first + at, step * WGMMA_STEP + depth));
                }
            }
        }
    }

    // The same chunk of eight neighbouring lines, as wgmma reads it along the depth, and copies write it.
    for (uint32_t line = 0; line < Operand::LINES; line += 8) {
        for (uint32_t chunk = 0; chunk < Operand::SPAN / CHUNK; ++chunk) {
            std::vector<uint32_t> eight;
            for (uint32_t i = 0; i < 8; ++i) {
                eight.push_back(ALONG ? Operand::place(line + i, chunk * CHUNK)
                                      : Operand::place(chunk * CHUNK, line + i));
            }
            CHECK(fill_the_banks(eight));
        }
    }
}

// Those of a tile of so many columns, in each of the products.
template <uint32_t COLUMNS>
static void operands_of() {
    constexpr uint32_t ACROSS = COLUMNS % 64 == 0 ? 64 : 32;
    operand_of<WgmmaOperand<Chunks::AlongDepth, COLUMNS, 64, 64>>();
    operand_of<WgmmaOperand<Chunks::AlongDepth, COLUMNS, 96, 32>>();
    operand_of<WgmmaOperand<Chunks::AcrossDepth, COLUMNS, 64, ACROSS>>();
    operand_of<WgmmaOperand<Chunks::AcrossDepth, COLUMNS, 96, ACROSS>>();
}

static void counting_is_dividing() {
    for (uint32_t channels : {32u, 64u, 96u, 192u}) {
        for (uint32_t taps = 1; taps <= 5; ++taps) {
            TapSpan at = {0, 0, 0};
            for (uint32_t span = 0; span < 100; ++span, at.advance(32, channels, taps)) {
                const uint32_t spans = channels / 32, tap = span / spans;
                CHECK(at.channel == span % spans * 32 && at.row == tap / taps && at.column == tap % taps);
            }
        }
    }
    for (uint32_t height = 1; height < 20; ++height) {
        for (uint32_t width = 1; width < 20; ++width) {
            Pixel pixel = unpack_pixel(5, height, width);
            for (uint32_t m = 5; m < 1000; m += 64, advance_pixel(pixel, 64, height, width)) {
                const Pixel expected = unpack_pixel(m, height, width);
                CHECK(pixel.image == expected.image && pixel.y == expected.y && pixel.x == expected.x);
            }
        }
    }
    for (uint32_t steps = 0; steps < 30; ++steps) {
        RingPlace<4> counted, skipped;
        for (uint32_t round = 0; round < 10; ++round) {
            for (uint32_t step = 0; step < steps; ++step) {
                counted.advance();
            }
            skipped.skip(steps);
            CHECK(counted.slot == skipped.slot && counted.parity == skipped.parity);
        }
    }
}

// Images of height x width, in tiles of 128 rows.
static void patch_of(uint32_t height, uint32_t width, uint32_t lines) {
    constexpr uint32_t ROWS = 128;
    const Patch patch(ROWS, height, width);
    CHECK(patch.images * patch.rows * width == ROWS && height % patch.rows == 0 && patch.lines() == lines);
    for (uint32_t tile = 0; tile * ROWS < 4 * std::max(height * width, ROWS); ++tile) {
        const Pixel first = unpack_pixel(tile * ROWS, height, width);
        CHECK(first.x == 0);
        for (uint32_t row = 0; row < ROWS; ++row) {
            const Pixel pixel = unpack_pixel(tile * ROWS + row, height, width);
            // A wgmma's rows follow the first.
            CHECK(patch.line(row) == patch.line(row / WGMMA_ROWS * WGMMA_ROWS) + row % WGMMA_ROWS);
            for (uint32_t tap = 0; tap < HALO_TAPS; ++tap) {
                // The copy brings, image by image, rows from one above the tile's first to one below its last.
                const uint32_t line = patch.line(row) + tap * width;
                const Pixel brought = unpack_pixel(line, patch.rows + HALO_TAPS - 1, width);
                CHECK(line < patch.lines() && first.image + brought.image == pixel.image);
                CHECK(first.y + brought.y == pixel.y + tap && brought.x == pixel.x);
            }
        }
    }
    // What moves a descriptor is whole rounds of the swizzle.
    CHECK(width % 8 == 0 && patch.line(WGMMA_ROWS) % 8 == 0);
}

template <uint32_t COLUMNS>
static void sums_of() {
    std::set<std::pair<uint32_t, uint32_t>> sums;
    for (uint32_t thread = 0; thread < GROUP_THREADS; ++thread) {
        for (uint32_t sum = 0; sum < COLUMNS / 2; ++sum) {
            const uint32_t row = fragment_row(thread, sum / 2 % 2);
            const uint32_t column = fragment_column(thread, sum / 4) + sum % 2;
            CHECK(row < WGMMA_ROWS && column < COLUMNS);
            sums.insert({row, column});
        }
    }
    CHECK(sums.size() == WGMMA_ROWS * COLUMNS);
}

static void parts_go_out_whole() {
    std::set<uint32_t> written, read;
    const auto at = [](uint32_t row, uint32_t column) { return row * PART + staged_column(row, column); };
    for (uint32_t j = 0; j < PART / 8; ++j) {
        for (uint32_t half = 0; half < 2; ++half) {
            // Pairs of f32 go half a warp at a time: 16 lanes, 32 banks.
            for (uint32_t first = 0; first < GROUP_THREADS; first += 16) {
                std::set<uint32_t> banks;
                for (uint32_t thread = first; thread < first + 16; ++thread) {
                    const uint32_t place = at(fragment_row(thread, half), fragment_column(thread, j));
                    CHECK(written.insert(place).second && written.insert(place + 1).second);
                    banks.insert(place % 32);
                }
                CHECK(banks.size() == 16);
            }
        }
    }
    for (uint32_t round = 0; round < WGMMA_ROWS / PART_ROWS_AT_ONCE; ++round) {
        for (uint32_t first = 0; first < GROUP_THREADS; first += 8) {
            // Two vectors a thread, of which every other four lanes take the second first.
            std::vector<uint32_t> vectors;
            for (uint32_t thread = first; thread < first + 8; ++thread) {
                const uint32_t place = at(part_row(thread, round), part_column(thread));
                CHECK(part_row(thread, round) < WGMMA_ROWS && part_column(thread) < PART);
                for (uint32_t i = 0; i < CHUNK; ++i) {
                    CHECK(read.insert(place + i).second);
                }
                vectors.push_back((place + thread / 4 % 2 * 4) * 4);
            }
            CHECK(fill_the_banks(vectors));
        }
    }
    CHECK(written.size() == WGMMA_ROWS * PART && read == written);
}

// The lanes of a warp keep and give halves of COUNT columns as add_lanes does, lanes with equal ones of which there are
// eight; `column` is the n-th of a lane's.
template <uint32_t COUNT, typename Column>
static void lanes_share_columns(const Column& column) {
    using Sum = std::pair<uint32_t, std::set<uint32_t>>;  // a column, and the lanes whose sums of it were added
    std::vector<std::vector<Sum>> sums(32);
    for (uint32_t lane = 0; lane < 32; ++lane) {
        for (uint32_t n = 0; n < COUNT; ++n) {
            sums[lane].push_back({column(lane, n), {lane}});
        }
    }
    for (uint32_t bit = LAST_PART_ROW_BIT; bit >= FIRST_PART_ROW_BIT; bit /= 2) {
        const auto before = sums;
        for (uint32_t lane = 0; lane < 32; ++lane) {
            const uint32_t half = uint32_t(before[lane].size()) / 2, kept = (lane & bit) != 0 ? half : 0;
            sums[lane].assign(before[lane].begin() + kept, before[lane].begin() + kept + half);
            for (uint32_t i = 0; i < half; ++i) {
                const Sum& given = before[lane ^ bit][kept + i];
                CHECK(given.first == sums[lane][i].first);
                sums[lane][i].second.insert(given.second.begin(), given.second.end());
            }
        }
    }
    std::set<uint32_t> columns;
    for (uint32_t lane = 0; lane < 32; ++lane) {
        CHECK(sums[lane].size() == COUNT / 8);
        for (uint32_t n = 0; n < COUNT / 8; ++n) {
            CHECK(sums[lane][n].first == column(lane, first_summed<COUNT>(lane) + n));
            CHECK(sums[lane][n].second.size() == 8);
            columns.insert(sums[lane][n].first);
        }
    }
    CHECK(columns.size() == 32 * COUNT / 8);
}

// A warp's sums of 16 rows by COLUMNS, as ldmatrix and stmatrix name them.
template <uint32_t COLUMNS>
static void matrices_are_sums() {
    constexpr uint32_t HELD = COLUMNS / 4;
    lanes_share_columns<HELD>(held_column);
    using Operand = WgmmaOperand<Chunks::AlongDepth, WGMMA_ROWS, COLUMNS, COLUMNS % 64 == 0 ? 64 : 32>;
    operand_of<Operand>();
    for (uint32_t part = 0; part < COLUMNS / 16; ++part) {
        for (uint32_t thread = 0; thread < GROUP_THREADS; ++thread) {
            for (uint32_t matrix = 0; matrix < 4; ++matrix) {
                // Row `group` of a matrix is named by that lane of eight, and lane 4 group + i holds its columns 2 i.
                const uint32_t namer = thread / 32 * 32 + matrix * 8 + thread % 32 / 4;
                const uint32_t sum = part * 8 + matrix * 2;
                CHECK(matrix_row(namer) == fragment_row(thread, sum / 2 % 2));
                CHECK(part * 16 + matrix_column(namer) + thread % 4 * 2 == fragment_column(thread, sum / 4));
                // The two of them are the ones that the statistics count as n and n + 1.
                const uint32_t n = part * 4 + matrix / 2 * 2;
                CHECK(held_column(thread % 32, n) == fragment_column(thread, sum / 4));
                CHECK(n / 4 == part && n / 2 % 2 * 2 + matrix % 2 == matrix);
            }
        }
        // Eight rows of a matrix meet all banks.
        for (uint32_t first = 0; first < GROUP_THREADS; first += 8) {
            std::vector<uint32_t> eight;
            for (uint32_t thread = first; thread < first + 8; ++thread) {
                eight.push_back(Operand::place(matrix_row(thread), part * 16 + matrix_column(thread)));
            }
            CHECK(fill_the_banks(eight));
        }
    }
}

int main() {
    operands_of<64>();
    operands_of<96>();
    operands_of<128>();
    operands_of<192>();
    operand_of<WgmmaOperand<Chunks::AcrossDepth, 128, 64, 32>>();
    sums_of<64>();
    sums_of<96>();
    sums_of<128>();
    sums_of<192>();
    counting_is_dividing();
    patch_of(32, 32, 192);
    patch_of(16, 16, 160);
    patch_of(8, 8, 160);
    patch_of(4, 16, 192);
    patch_of(16, 8, 144);
    patch_of(64, 16, 160);
    parts_go_out_whole();
    lanes_share_columns<CHUNK>([](uint32_t lane, uint32_t n) { return part_column(lane) + n; });
    for (uint32_t lane = 0; lane < 32; ++lane) {
        CHECK(summed_column(lane) == part_column(lane) + first_summed<CHUNK>(lane));
    }
    matrices_are_sums<64>();
    matrices_are_sums<96>();
    matrices_are_sums<128>();
    matrices_are_sums<192>();
    std::printf(failures == 0 ? "index: ok\n" : "index: %d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
