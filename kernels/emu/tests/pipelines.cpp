// Threads that wait for each other and for copies: programs that PTX ISA allows.
#include "copy_test.hpp"

namespace {

float line_of(uint32_t line, uint32_t i) { return float((line * 13 + i * 5) % 31); }

// A tensor of lines of 32 floats, each a copy.
CopyTest lines(const std::string& kernel, uint32_t count, uint32_t threads, uint32_t blocks = 1) {
    CopyTest test(kernel, threads, blocks);
    test.x.resize(count * 32);
    for (uint32_t i = 0; i < count * 32; ++i) {
        const float value = line_of(i / 32, i % 32);
        std::memcpy(&test.x[i], &value, sizeof value);
    }
    test.maps[0] = tiled(nullptr, 4, {32, count}, {32, 1});
    return test;
}

void mbarriers() {
    const auto make = [] {
        Test test("phases", 64);
        test.elements = 9;
        return test;
    };
    each_seed(make, [](const Test& test) {
        for (int t = 0; t < 64; ++t) CHECK(test.y[t] == 9.0f * float(63 - t) + 36.0f, "phases: %g", test.y[t]);
    });
    for (const uint32_t fence : {0u, 1u}) {
        const auto expecting = [&] {
            CopyTest test = lines("expectations", 1, 64);
            test.x.resize(64);
            for (uint32_t i = 0; i < 64; ++i) {
                const float value = float(i * 3);
                std::memcpy(&test.x[i], &value, sizeof value);
            }
            test.maps[0] = tiled(nullptr, 4, {64, 1}, {32, 1});
            test.params.offset = fence;
            return test;
        };
        each_seed(expecting, [](const CopyTest& test) {
            for (int t = 0; t < 64; ++t) CHECK(test.y[t] == float(t * 3), "expectations: %g", test.y[t]);
        });
    }
}

void rings() {
    for (const uint32_t steps : {1u, 3u, 20u}) {
        const auto make = [&] {
            CopyTest test = lines("ring", steps, 96);
            test.params.items = steps;
            return test;
        };
        each_seed(make, [&](const CopyTest& test) {
            for (uint32_t t = 0; t < 64; ++t) {
                float sum = 0;
                for (uint32_t step = 0; step < steps; ++step) sum += line_of(step, t < 32 ? t : 63 - t);
                CHECK(test.y[t] == sum, "ring of %u steps: thread %u: %g, not %g", steps, t, test.y[t], sum);
            }
        });
    }
    const auto in_place = [] {
        CopyTest test = lines("changed_in_place", 5, 32);
        test.params.items = 5;
        test.maps[1] = test.maps[0];
        test.of_y[1] = true;
        test.y.resize(5 * 32);
        return test;
    };
    each_seed(in_place, [](const CopyTest& test) {
        for (uint32_t i = 0; i < 5 * 32; ++i) {
            CHECK(test.y[i] == line_of(i / 32, i % 32) + float(i % 32), "changed in place: %u: %g", i, test.y[i]);
        }
    });
    for (const uint32_t blocks : {2u, 4u}) {
        const uint32_t steps = 11;
        const auto make = [&] {
            CopyTest test = lines("shared_ring_" + std::to_string(blocks), steps * blocks, 64, blocks * 2);
            test.y.resize(blocks * 2 * 32);
            test.params.items = steps;
            return test;
        };
        each_seed(make, [&](const CopyTest& test) {
            for (uint32_t i = 0; i < test.y.size(); ++i) {
                float sum = float(i / 32 % blocks);
                for (uint32_t line = 0; line < steps * blocks; ++line) {
                    sum += line_of(line, i % 32) * float(line % blocks + 1);
                }
                CHECK(test.y[i] == sum, "ring of %u blocks, block %u, lane %u: %g, not %g", blocks, i / 32, i % 32,
                      test.y[i], sum);
            }
            // What all blocks get is read once.
            CHECK(test.counters.bulk_read_bytes * blocks == test.counters.bulk_arrived_bytes, "%d bytes read",
                  int(test.counters.bulk_read_bytes));
        });
    }
    each_seed([] { return lines("taken_over", 2, 32, 2); },
              [](const CopyTest& test) {
                  for (uint32_t i = 0; i < 64; ++i) CHECK(test.y[i] == line_of(i / 32, i % 32), "%u: %g", i, test.y[i]);
              });
    const auto others = [] {
        CopyTest test = lines("others_copy", 1, 32, 8);
        test.y.assign(8 * 32, -1.0f);
        return test;
    };
    each_seed(others, [](const CopyTest& test) {
        for (uint32_t i = 0; i < 8 * 32; ++i) {
            CHECK(test.y[i] == (i / 32 % 4 == 1 ? -1.0f : line_of(0, i % 32)), "block %u: %g", i / 32, test.y[i]);
        }
    });
}

void barriers() {
    const auto remote = [] {
        Test test("remote_arrivals", 64, 4);
        test.y.resize(256);
        return test;
    };
    each_seed(remote, [](const Test& test) {
        for (int i = 0; i < 256; ++i) CHECK(test.y[i] == float(i / 64 % 2 * 100 + 3), "%g", test.y[i]);
    });
    const auto handover = [] {
        Test test("handover", 256);
        test.y.resize(128);
        test.elements = 5;
        return test;
    };
    each_seed(handover, [](const Test& test) {
        for (int i = 0; i < 128; ++i) {
            const int pair = i / 32, rounds = 5 + pair;
            const float sum = float(rounds * (31 - i % 32) + rounds * (rounds - 1) / 2);
            CHECK(test.y[i] == sum, "pair %d: %g, not %g", pair, test.y[i], sum);
        }
    });
    each_seed(
        [] { return Test("named_barrier_of_few", 64); },
        [](const Test& test) { CHECK(test.y[0] == 34.0f && test.y[39] == 9.0f, "%g and %g", test.y[0], test.y[39]); });
    const auto registers = [] {
        Test test("registers", 384);
        test.y.resize(384);
        return test;
    };
    each_seed(registers, [](const Test& test) { CHECK(test.y[383] == 2.0f, "registers: %g", test.y[383]); });
    const auto cluster = [] {
        Test test("cluster_barrier", 32, 4);
        test.y.resize(128);
        test.counts.resize(128);
        return test;
    };
    each_seed(cluster, [](const Test& test) {
        for (unsigned i = 0; i < 128; ++i) CHECK(test.counts[i] == i / 32 % 2, "block %u: %u", i / 32, test.counts[i]);
    });
    const auto dependent = [] {
        Test test("dependent_launch", 64);
        test.programmatic = true;
        return test;
    };
    each_seed(dependent, [](const Test& test) { CHECK(test.y[0] == 63.0f, "%g", test.y[0]); });
    const auto lone = [] {
        CopyTest test("lone_copy_out", 1024);
        test.maps[0] = tiled(nullptr, 4, {32, 3}, {32, 1});
        test.of_y[0] = true;
        test.y.resize(96);
        return test;
    };
    each_seed(
        lone,
        [](const CopyTest& test) {
            for (int i = 0; i < 96; ++i) CHECK(test.y[i] == float(i / 32 + i % 32), "%d: %g", i, test.y[i]);
        },
        10);
}

struct GemmTest : Run {
    static constexpr uint32_t ROWS = 256, COLUMNS = 128, DEPTH = 320;
    bool across;
    Tensor<uint16_t> rows = Tensor<uint16_t>(ROWS * DEPTH), columns = Tensor<uint16_t>(COLUMNS * DEPTH);
    Tensor<float> out = Tensor<float>(ROWS * COLUMNS);
    GemmParams params{};

    static int row(uint32_t row, uint32_t d) { return int(row * 3 + d * 5 + row * d % 7) % 9 - 4; }
    static int column(uint32_t column, uint32_t d) { return int(column * 7 + d * 2 + column * d % 5) % 11 - 5; }

    GemmTest(bool across, uint32_t blocks) : Run(across ? "gemm_across" : "gemm", 384, blocks), across(across) {
        shared_limit = 227 << 10;
        dynamic_shared = 96 << 10;
        const auto bf16 = [](int value) {
            const float f = float(value);
            uint32_t bits;
            std::memcpy(&bits, &f, sizeof bits);
            return uint16_t(bits >> 16);
        };
        for (uint32_t d = 0; d < DEPTH; ++d) {
            for (uint32_t i = 0; i < ROWS; ++i) rows[i * DEPTH + d] = bf16(row(i, d));
            for (uint32_t i = 0; i < COLUMNS; ++i) {
                columns[across ? d * COLUMNS + i : i * DEPTH + d] = bf16(column(i, d));
            }
        }
        params.columns = COLUMNS;
        params.depth = DEPTH;
        params.tiles = ROWS / 128 * COLUMNS / 64;
    }
    void encode(const RirEmuTensorMap& map, TensorMap& to) {
        CHECK(rir_emu_encode_map(&map, &to, message, sizeof message) == 0, "%s", message);
    }
    GemmTest& run() {
        encode(tiled(rows.data(), 2, {DEPTH, ROWS}, {64, 128}, 3), params.rows_map);
        encode(across ? tiled(columns.data(), 2, {COLUMNS, DEPTH}, {64, 64}, 3)
                      : tiled(columns.data(), 2, {DEPTH, COLUMNS}, {64, 64}, 3),
               params.columns_map);
        encode(tiled(out.data(), 4, {COLUMNS, ROWS}, {32, 64}), params.out_map);
        const RirEmuTensor tensors[] = {listed(rows, false), listed(columns, false), listed(out, true)};
        launch(params, tensors, 3);
        return *this;
    }
};

void gemms() {
    std::vector<int> expected(GemmTest::ROWS * GemmTest::COLUMNS);
    for (uint32_t i = 0; i < expected.size(); ++i) {
        const uint32_t row = i / GemmTest::COLUMNS, column = i % GemmTest::COLUMNS;
        for (uint32_t d = 0; d < GemmTest::DEPTH; ++d)
            expected[i] += GemmTest::row(row, d) * GemmTest::column(column, d);
    }
    for (const bool across : {false, true}) {
        for (const uint32_t blocks : {1u, 3u}) {
            each_seed([&] { return GemmTest(across, blocks); },
                      [&](const GemmTest& test) {
                          for (uint32_t i = 0; i < expected.size(); ++i) {
                              CHECK(test.out[i] == float(expected[i]), "%s: row %u, column %u: %g, not %d",
                                    test.kernel.c_str(), i / GemmTest::COLUMNS, i % GemmTest::COLUMNS, test.out[i],
                                    expected[i]);
                          }
                      },
                      5);
        }
    }
}

}  // namespace

void pipelines() {
    mbarriers();
    rings();
    barriers();
    gemms();
}
