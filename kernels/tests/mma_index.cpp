// Proves the index maths of the tensor-core convolutions (conv2d/mma_index.cuh) on the host, by brute force:
//
//     g++ -std=c++20 -I kernels kernels/tests/mma_index.cpp -o index && ./index
//
// - the swizzle loses no chunk, and neither what ldmatrix reads nor what threads write meets a bank twice;
// - every chunk of a tile has one thread that fills it;
// - the bits of the padding are those of the definition;
// - every sum of a tile has one thread, and what ldmatrix brings is each element of a part once;
// - on the way out no sum is lost, and no access meets a bank twice.
#include "conv2d/mma_index.cuh"

#include <set>
#include <utility>
#include <vector>

#include "check.hpp"

using namespace conv2d;

// The 128 bytes of all banks hold eight chunks of 16 bytes: whether eight of them are in eight places.
static bool fill_the_banks(const std::vector<uint32_t>& chunks) {
    std::set<uint32_t> places;
    for (uint32_t chunk : chunks) {
        places.insert(chunk % 8);
    }
    return places.size() == 8;
}

template <uint32_t CHUNKS>
static void swizzle_of(uint32_t lines) {
    std::set<uint32_t> all;
    for (uint32_t line = 0; line < lines; ++line) {
        for (uint32_t chunk = 0; chunk < CHUNKS; ++chunk) {
            all.insert(swizzled_chunk<CHUNKS>(line, chunk));
        }
    }
    CHECK(all.size() == lines * CHUNKS && *all.rbegin() == lines * CHUNKS - 1);
    for (uint32_t chunk = 0; chunk < CHUNKS; ++chunk) {
        for (uint32_t line = 0; line < lines; line += 8) {
            std::vector<uint32_t> matrix;
            for (uint32_t row = 0; row < 8; ++row) {
                matrix.push_back(swizzled_chunk<CHUNKS>(line + row, chunk));
            }
            CHECK(fill_the_banks(matrix));
        }
    }
}

// Every chunk is filled by one thread, where the swizzle says, and each eight threads meet all banks.
template <uint32_t LINES, uint32_t CHUNKS, uint32_t THREADS>
static void filling_of() {
    using F = Filling<LINES, CHUNKS, THREADS>;
    std::set<uint32_t> all;
    for (uint32_t i = 0; i < F::LINE_ROUNDS; ++i) {
        for (uint32_t j = 0; j < F::CHUNK_ROUNDS; ++j) {
            std::vector<uint32_t> eight;
            for (uint32_t thread = 0; thread < THREADS; ++thread) {
                const uint32_t place = F::place(thread, i, j);
                CHECK(F::line(thread, i) < LINES && F::chunk(thread, j) < CHUNKS);
                CHECK(place == swizzled_chunk<CHUNKS>(F::line(thread, i), F::chunk(thread, j)));
                CHECK(all.insert(place).second);
                eight.push_back(place);
                if (eight.size() == 8) {
                    CHECK(fill_the_banks(eight));
                    eight.clear();
                }
            }
        }
    }
    CHECK(all.size() == LINES * CHUNKS);
    swizzle_of<CHUNKS>(LINES);
}

// The bits of a line's taps, against the definition.
static void bits_of(const Line& line, uint32_t extent) {
    for (uint32_t i = 0; i < line.positions; ++i) {
        const int32_t origin = line.origin(i);
        uint32_t outside = 0;
        for (uint32_t j = 0; j < line.taps; ++j) {
            outside |= uint32_t(!inside(line.source(origin, j), extent)) << j;
        }
        CHECK(taps_outside(line, origin, extent) == outside);
    }
}

static void taps_know_the_padding() {
    for (uint32_t filter = 1; filter <= MOST_TAPS; ++filter) {
        for (uint32_t stride = 1; stride <= 3; ++stride) {
            for (uint32_t pad = 0; pad <= filter; ++pad) {
                for (uint32_t inputs = 1; inputs + 2 * pad >= filter && inputs < 20; ++inputs) {
                    const uint32_t outputs = (inputs + 2 * pad - filter) / stride + 1;
                    bits_of(forward_line(outputs, filter, stride, pad), inputs);
                    for (uint32_t residue = 0; residue < stride; ++residue) {
                        bits_of(gradient_line(residue, inputs, filter, stride, pad), outputs);
                    }
                }
            }
        }
    }
    // Rows and columns keep apart.
    const Line line = forward_line(8, 3, 1, 1);
    CHECK(taps_outside(line, line, -1, 7, 8, 8) == (1u | 6u << MOST_TAPS));
    CHECK((taps_outside(line, line, -1, 7, 8, 8) & tap_bits(1, 0)) == 0);
    CHECK((taps_outside(line, line, -1, 7, 8, 8) & tap_bits(0, 0)) != 0);
    CHECK((taps_outside(line, line, -1, 7, 8, 8) & tap_bits(1, 1)) != 0);
}

template <uint32_t COLUMNS>
static void tile_of() {
    using Tile = MmaTile<COLUMNS>;
    std::set<std::pair<uint32_t, uint32_t>> sums;
    const uint32_t pass = pass_columns(COLUMNS);
    for (uint32_t thread = 0; thread < Tile::THREADS; ++thread) {
        for (uint32_t i = 0; i < Tile::WARP_ROWS / 16; ++i) {
            for (uint32_t j = 0; j < Tile::WARP_COLUMNS / 8; ++j) {
                for (uint32_t l = 0; l < 4; ++l) {
                    const uint32_t row = Tile::warp_row(thread) + i * 16 + sum_row(thread % 32, l);
                    const uint32_t column = Tile::warp_column(thread) + j * 8 + sum_column(thread % 32, l);
                    CHECK(row < TILE_ROWS && column < COLUMNS);
                    CHECK(column / pass == Tile::warp_column(thread) / pass);
                    sums.insert({row, column});
                }
            }
        }
    }
    CHECK(sums.size() == TILE_ROWS * COLUMNS);
    filling_of<TILE_ROWS, MMA_DEPTH / CHUNK, Tile::THREADS>();
    filling_of<COLUMNS, MMA_DEPTH / CHUNK, Tile::THREADS>();
    filling_of<MMA_DEPTH, TILE_ROWS / CHUNK, Tile::THREADS>();
    filling_of<MMA_DEPTH, COLUMNS / CHUNK, Tile::THREADS>();
    CHECK(Tile::THREADS * (Tile::WARP_ROWS / 16) * (Tile::WARP_COLUMNS / 8) * 4 == TILE_ROWS * COLUMNS);

    // Pairs of f32 go out half a warp at a time: 16 lanes, 32 banks.
    for (uint32_t first : {0u, 16u}) {
        std::set<uint32_t> banks;
        for (uint32_t lane = first; lane < first + 16; ++lane) {
            const uint32_t row = sum_row(lane, 0);
            banks.insert((row * pass + staged_column(row, sum_column(lane, 0))) % 32);
        }
        CHECK(banks.size() == 16);
    }
    // Eight of them come back a thread, in two vectors of which every other four lanes take the second first.
    const uint32_t groups = pass / CHUNK;
    for (uint32_t first = 0; first + 8 <= Tile::THREADS / groups * groups; first += 8) {
        std::vector<uint32_t> vectors;
        for (uint32_t thread = first; thread < first + 8; ++thread) {
            const uint32_t row = thread / groups;
            const uint32_t at = row * pass + staged_column(row, thread % groups * CHUNK);
            vectors.push_back(at / 4 + thread / 4 % 2);
        }
        CHECK(fill_the_banks(vectors));
    }
}

static void parts_are_whole() {
    for (bool row_operand : {false, true}) {
        std::set<std::pair<uint32_t, uint32_t>> matrices;
        for (uint32_t lane = 0; lane < 32; lane += 8) {
            matrices.insert({part_at(lane, row_operand), part_depth(lane, row_operand)});
        }
        CHECK((matrices == std::set<std::pair<uint32_t, uint32_t>>{{0, 0}, {0, 8}, {8, 0}, {8, 8}}));
    }
    // mma takes its row operand's second matrix from row 8, and its column operand's from depth 8.
    CHECK(part_at(8, true) == 8 && part_depth(8, true) == 0);
    CHECK(part_at(8, false) == 0 && part_depth(8, false) == 8);
}

int main() {
    // That the count is not blind: without the swizzle, eight lines of four chunks meet two places.
    CHECK(!fill_the_banks({0, 4, 8, 12, 16, 20, 24, 28}));
    tile_of<32>();
    tile_of<64>();
    tile_of<96>();
    tile_of<128>();
    tile_of<192>();
    parts_are_whole();
    taps_know_the_padding();
    std::printf(failures == 0 ? "index: ok\n" : "index: %d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
