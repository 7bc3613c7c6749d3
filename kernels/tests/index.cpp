// Proves the index maths of convolution (conv2d/index.cuh) on the host, by brute force over small extents:
//
//     g++ -std=c++20 -I kernels kernels/tests/index.cpp -o index && ./index
//
// - every (input, output, tap) triple of a line, forward and transposed, is one of the definition's, and none is
// missing;
// - unpacking and packing undo each other, and neighbours in memory are neighbours in count;
// - every element of a tile has one thread, and every thread's are whole quads;
// - no warp's access to shared memory meets a bank twice, and the swizzle loses no element.
#include "conv2d/index.cuh"

#include <algorithm>
#include <set>
#include <tuple>
#include <vector>

#include "check.hpp"

using namespace conv2d;

// One dimension of a convolution.
struct Dimension {
    uint32_t input, filter, stride, pad, output;
};

static std::vector<Dimension> dimensions() {
    std::vector<Dimension> all;
    for (uint32_t input = 1; input <= 9; ++input) {
        for (uint32_t filter = 1; filter <= 5; ++filter) {
            for (uint32_t stride = 1; stride <= 4; ++stride) {
                for (uint32_t pad = 0; pad <= 4; ++pad) {
                    if (input + 2 * pad >= filter) {
                        all.push_back({input, filter, stride, pad, (input + 2 * pad - filter) / stride + 1});
                    }
                }
            }
        }
    }
    return all;
}

// (input position, output position, filter position)
using Triple = std::tuple<uint32_t, uint32_t, uint32_t>;
using Triples = std::multiset<Triple>;

// The definition: padded position p * stride + r is input position p * stride + r - pad.
static Triples defined(const Dimension& d) {
    Triples triples;
    for (uint32_t p = 0; p < d.output; ++p) {
        for (uint32_t r = 0; r < d.filter; ++r) {
            for (uint32_t h = 0; h < d.input; ++h) {
                if (p * d.stride + r == h + d.pad) {
                    triples.insert({h, p, r});
                }
            }
        }
    }
    return triples;
}

static void naive_triples_are_those_of_the_definition() {
    for (const Dimension& d : dimensions()) {
        Triples forward, backward;
        for (uint32_t r = 0; r < d.filter; ++r) {
            for (uint32_t p = 0; p < d.output; ++p) {
                const int32_t h = input_of(p, r, d.stride, d.pad);
                if (inside(h, d.input)) {
                    forward.insert({uint32_t(h), p, r});
                    CHECK(output_of(uint32_t(h), r, d.stride, d.pad, d.output) == int32_t(p));
                }
            }
            for (uint32_t h = 0; h < d.input; ++h) {
                const int32_t p = output_of(h, r, d.stride, d.pad, d.output);
                CHECK(p == -1 || inside(p, d.output));
                if (p >= 0) {
                    backward.insert({h, uint32_t(p), r});
                    CHECK(input_of(uint32_t(p), r, d.stride, d.pad) == int32_t(h));
                }
            }
        }
        CHECK(forward == defined(d));
        CHECK(backward == defined(d));
    }
}

static void lines_hold_every_triple_once() {
    for (const Dimension& d : dimensions()) {
        Triples forward, backward;
        const Line line = forward_line(d.output, d.filter, d.stride, d.pad);
        for (uint32_t i = 0; i < line.positions; ++i) {
            for (uint32_t j = 0; j < line.taps; ++j) {
                const int32_t h = line.source(line.origin(i), j);
                if (inside(h, d.input)) {
                    forward.insert({uint32_t(h), line.target(i), line.filter(j)});
                }
            }
        }
        CHECK(forward == defined(d));

        std::multiset<uint32_t> targets;
        for (uint32_t residue = 0; residue < d.stride; ++residue) {
            const Line line = gradient_line(residue, d.input, d.filter, d.stride, d.pad);
            for (uint32_t i = 0; i < line.positions; ++i) {
                targets.insert(line.target(i));
                for (uint32_t j = 0; j < line.taps; ++j) {
                    CHECK(line.filter(j) < d.filter);
                    const int32_t p = line.source(line.origin(i), j);
                    if (inside(p, d.output)) {
                        backward.insert({line.target(i), uint32_t(p), line.filter(j)});
                    }
                }
            }
            // The grid is made for the first class.
            CHECK(line.positions <= ceil_div(d.input, d.stride));
        }
        CHECK(backward == defined(d));
        CHECK(targets.size() == d.input && *targets.rbegin() == d.input - 1);
        CHECK(std::set<uint32_t>(targets.begin(), targets.end()).size() == d.input);
    }
}

// Under stride 2 a 3x3 filter with padding 1 falls into 4, 2, 2 and 1 taps, and a 1x1 filter into 1, 0, 0 and 0.
static void strided_classes_share_out_the_taps() {
    const auto taps = [](uint32_t residue, uint32_t filter, uint32_t pad) {
        return gradient_line(residue, 8, filter, 2, pad).taps;
    };
    CHECK(taps(0, 3, 1) == 1 && taps(1, 3, 1) == 2);
    CHECK(taps(0, 1, 0) == 1 && taps(1, 1, 0) == 0);
}

static void unpacking_undoes_packing() {
    const uint32_t images = 3, height = 4, width = 5;
    uint32_t index = 0;
    for (uint32_t image = 0; image < images; ++image) {
        for (uint32_t y = 0; y < height; ++y) {
            for (uint32_t x = 0; x < width; ++x, ++index) {
                const Pixel pixel = unpack_pixel(index, height, width);
                CHECK(pixel.image == image && pixel.y == y && pixel.x == x);
                CHECK(pack_pixel(pixel, height, width) == index);
            }
        }
    }
    const uint32_t filter_height = 3, filter_width = 2, channels = 7;
    index = 0;
    for (uint32_t r = 0; r < filter_height; ++r) {
        for (uint32_t s = 0; s < filter_width; ++s) {
            for (uint32_t c = 0; c < channels; ++c, ++index) {
                const Tap tap = unpack_tap(index, filter_width, channels);
                CHECK(tap.r == r && tap.s == s && tap.c == c);
                CHECK(pack_tap(tap, filter_width, channels) == index);
            }
        }
    }
}

constexpr uint32_t WIDTHS[] = {32, 64, 96};

static void every_sum_has_one_thread() {
    for (uint32_t columns : WIDTHS) {
        std::set<std::pair<uint32_t, uint32_t>> owned;
        for (uint32_t thread = 0; thread < tile_threads(columns); ++thread) {
            for (uint32_t i = 0; i < THREAD_ROWS; ++i) {
                CHECK(tile_row(thread, i) == tile_row(thread, i / QUAD * QUAD) + i % QUAD);
                CHECK(tile_row(thread, i / QUAD * QUAD) % QUAD == 0);
                for (uint32_t j = 0; j < THREAD_COLUMNS; ++j) {
                    CHECK(tile_column(thread, j) == tile_column(thread, j / QUAD * QUAD) + j % QUAD);
                    CHECK(tile_column(thread, j / QUAD * QUAD) % QUAD == 0);
                    CHECK(tile_row(thread, i) < TILE_ROWS && tile_column(thread, j) < columns);
                    CHECK(owned.insert({tile_row(thread, i), tile_column(thread, j)}).second);
                }
            }
        }
        CHECK(owned.size() == TILE_ROWS * columns);
    }
}

// The lanes that a sum over the tile's rows visits, by flipping bits of the lane, are those of one column.
static void lanes_of_a_column_differ_in_the_row_bits() {
    for (uint32_t lane = 0; lane < 32; ++lane) {
        std::set<uint32_t> visited = {lane};
        for (uint32_t bit = FIRST_LANE_ROW_BIT; bit <= LAST_LANE_ROW_BIT; bit *= 2) {
            std::set<uint32_t> next = visited;
            for (uint32_t other : visited) {
                next.insert(other ^ bit);
            }
            visited = next;
        }
        std::set<uint32_t> rows;
        for (uint32_t other : visited) {
            CHECK(lane_column(other) == lane_column(lane));
            rows.insert(lane_row(other));
        }
        CHECK(rows.size() == WARP_ROWS / THREAD_ROWS);
    }
}

static void the_swizzle_is_a_bijection_of_quads() {
    for (uint32_t width : {32u, 64u, 96u, 128u}) {
        for (uint32_t depth = 0; depth < TILE_DEPTH; ++depth) {
            std::set<uint32_t> places;
            for (uint32_t at = 0; at < width; ++at) {
                CHECK(swizzled(depth, at) < width);
                CHECK(swizzled(depth, at) == swizzled(depth, at / QUAD * QUAD) + at % QUAD);
                places.insert(swizzled(depth, at));
            }
            CHECK(places.size() == width);
        }
    }
}

// Passes over the 32 banks of 4 bytes that one access takes: the most different words that lie in one bank. An access
// of 16 bytes a lane goes by eight lanes at a time.
static uint32_t passes(const std::vector<uint32_t>& first_words, uint32_t words) {
    const uint32_t group = 32 / words;
    uint32_t total = 0;
    for (uint32_t begin = 0; begin < first_words.size(); begin += group) {
        std::set<uint32_t> banks[32];
        for (uint32_t lane = begin; lane < std::min<uint32_t>(begin + group, first_words.size()); ++lane) {
            for (uint32_t word = 0; word < words; ++word) {
                banks[(first_words[lane] + word) % 32].insert(first_words[lane] + word);
            }
        }
        size_t most = 0;
        for (const std::set<uint32_t>& bank : banks) {
            most = std::max(most, bank.size());
        }
        total += uint32_t(most);
    }
    return total;
}

static void shared_memory_is_free_of_bank_conflicts() {
    const auto word = [](uint32_t width, uint32_t depth, uint32_t at) { return depth * width + swizzled(depth, at); };
    for (uint32_t columns : WIDTHS) {
        const uint32_t threads = tile_threads(columns);
        for (uint32_t warp = 0; warp < threads; warp += 32) {
            const auto access = [&](uint32_t words, auto word_of_thread) {
                std::vector<uint32_t> first_words;
                for (uint32_t lane = 0; lane < 32; ++lane) {
                    first_words.push_back(word_of_thread(warp + lane));
                }
                return passes(first_words, words);
            };
            // What multiply_stage reads: 16 bytes a lane.
            for (uint32_t depth = 0; depth < TILE_DEPTH; ++depth) {
                for (uint32_t i = 0; i < THREAD_ROWS; i += QUAD) {
                    CHECK(access(QUAD, [&](uint32_t t) { return word(TILE_ROWS, depth, tile_row(t, i)); }) == 4);
                    CHECK(access(QUAD, [&](uint32_t t) { return word(columns, depth, tile_column(t, i)); }) == 4);
                }
            }
            // What AlongDepth writes, 4 bytes a lane, and AcrossDepth, 16 bytes a lane.
            for (uint32_t width : {TILE_ROWS, columns}) {
                for (uint32_t pass = 0; (pass + 1) * threads <= width * DEPTH_QUADS; ++pass) {
                    for (uint32_t i = 0; i < QUAD; ++i) {
                        CHECK(access(1, [&](uint32_t t) {
                                  const uint32_t quad = t + pass * threads;
                                  return word(width, t % DEPTH_QUADS * QUAD + i, quad / DEPTH_QUADS);
                              }) == 1);
                    }
                    CHECK(access(QUAD, [&](uint32_t t) {
                              const uint32_t quad = t + pass * threads;
                              return word(width, quad / (width / QUAD), quad % (width / QUAD) * QUAD);
                          }) == 4);
                }
            }
        }
    }
    // That the count is not blind: without the swizzle, the turned-over writes meet each bank four times.
    std::vector<uint32_t> unswizzled;
    for (uint32_t lane = 0; lane < 32; ++lane) {
        unswizzled.push_back(lane % DEPTH_QUADS * QUAD * TILE_ROWS + lane / DEPTH_QUADS);
    }
    CHECK(passes(unswizzled, 1) == 4);
}

int main() {
    naive_triples_are_those_of_the_definition();
    lines_hold_every_triple_once();
    strided_classes_share_out_the_taps();
    unpacking_undoes_packing();
    every_sum_has_one_thread();
    lanes_of_a_column_differ_in_the_row_bits();
    the_swizzle_is_a_bijection_of_quads();
    shared_memory_is_free_of_bank_conflicts();
    std::printf(failures == 0 ? "index: ok\n" : "index: %d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
