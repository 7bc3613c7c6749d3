// Runs the emulator on the kernels beside, and checks what it computes, reports and counts.
#include <bit>
#include <thread>
#include <tuple>

#include "test.hpp"

namespace {

void reductions() {
    for (const char* kernel : {"block_sum", "tree_sum"}) {
        const auto make = [&] {
            Test test(kernel, 256, 4);
            test.x.assign(1024, 1.0f);
            test.elements = 1024;
            return test;
        };
        each_seed(make, [](const Test& test) {
            for (int b = 0; b < 4; ++b)
                CHECK(test.y[b] == 256.0f, "%s: block %d: %g", test.kernel.c_str(), b, test.y[b]);
        });
    }
}

void transposes() {
    const auto make = [] {
        Test test("transpose", 32);
        test.block[1] = 4;
        test.grid[0] = test.grid[1] = 2;
        test.elements = 64;
        test.x.resize(64 * 64);
        test.y.resize(64 * 64);
        for (size_t i = 0; i < test.x.size(); ++i) test.x[i] = float(i);
        return test;
    };
    each_seed(make, [](const Test& test) {
        bool right = true;
        for (size_t i = 0; i < 64; ++i) {
            for (size_t j = 0; j < 64; ++j) right &= test.y[j * 64 + i] == test.x[i * 64 + j];
        }
        CHECK(right, "transpose");
        if (!SEES_ACCESSES) return;
        const RirEmuCounters& c = test.counters;
        CHECK(c.shared_cycles == c.shared_least_cycles, "a padded tile has no conflicts: %d", int(c.shared_cycles));
        CHECK(c.global_read_sectors == 64 * 64 * 4 / 32, "%d sectors read", int(c.global_read_sectors));
        CHECK(c.global_written_bytes == 64 * 64 * 4, "%d bytes written", int(c.global_written_bytes));
        CHECK(c.barriers == 4, "%d barriers", int(c.barriers));
    });
}

void histograms() {
    const auto make = [] {
        Test test("histogram", 128, 3);
        test.x.resize(1000);
        for (size_t i = 0; i < test.x.size(); ++i) test.x[i] = float(i);
        test.elements = 1000;
        return test;
    };
    each_seed(make, [](const Test& test) {
        for (unsigned bin = 0; bin < 16; ++bin) {
            CHECK(test.counts[bin] == (bin < 8 ? 63u : 62u), "bin %u: %u", bin, test.counts[bin]);
        }
    });
}

void warps() {
    each_seed([] { return Test("warp_broadcast"); },
              [](const Test& test) { CHECK(test.y[31] == 28.0f, "warp_broadcast: %g", test.y[31]); });
    each_seed([] { return Test("half_warps", 64); },
              [](const Test& test) {
                  CHECK(test.y[2] == 3.0f && test.y[20] == 16.0f && test.y[40] == 35.0f && test.y[63] == 48.0f,
                        "half_warps");
              });
    each_seed(
        [] {
            Test test("warp_primitives");
            test.counts.resize(320);
            return test;
        },
        [](const Test& test) {
            for (unsigned lane = 0; lane < 32; ++lane) {
                const unsigned expected[10] = {
                    lane / 8 * 8 + 5,
                    lane % 16 < 3 ? lane : lane - 3,
                    lane % 16 > 12 ? lane : lane + 3,
                    lane ^ 9,
                    // Segments below may be read, segments above not.
                    lane & 8 ? lane ^ 8 : lane,
                    0x49249249u,
                    2,
                    2,
                    31 - lane,
                    1,
                };
                for (unsigned i = 0; i < 10; ++i) {
                    const unsigned got = test.counts[lane * 10 + i];
                    CHECK(got == expected[i], "primitive %u, lane %u: %u, not %u", i, lane, got, expected[i]);
                }
            }
        });
    each_seed(
        [] {
            Test test("barrier_votes", 96);
            test.counts.resize(96);
            return test;
        },
        [](const Test& test) { CHECK(test.counts[17] == 48101, "barrier_votes: %u", test.counts[17]); });
    each_seed(
        [] {
            Test test("early_exit", 128);
            test.elements = 50;
            return test;
        },
        [](const Test& test) { CHECK(test.y[0] == 49.0f && test.y[49] == 0.0f, "early_exit"); });
}

void accesses() {
    each_seed([] { return Test("narrow_neighbours", 32, 2); },
              [](const Test& test) {
                  const auto* bytes = reinterpret_cast<const unsigned char*>(test.counts.data());
                  CHECK(bytes[63] == 63, "narrow_neighbours: %d", bytes[63]);
                  const auto* halves = reinterpret_cast<const uint16_t*>(test.y.data());
                  CHECK(halves[2] == 0x4000, "2 as bf16: %04x", halves[2]);
              });
    each_seed([] { return Test("strong_accesses", 64); },
              [](const Test& test) { CHECK(test.y[63] == 1.0f, "strong_accesses: %g", test.y[63]); });
    each_seed([] { return Test("copy_vectors", 16); },
              [](const Test& test) { CHECK(test.y == test.x, "copy_vectors"); });
    each_seed(
        [] {
            Test test("double_buffer", 64);
            test.x.assign(256 * 5, 1.0f);
            test.elements = test.x.size();
            test.dynamic_shared = 2 * 64 * 16;
            return test;
        },
        [](const Test& test) { CHECK(test.y[5] == 20.0f, "double_buffer: %g", test.y[5]); });
}

// 4 matrices of 16-bit elements of which element `at`, counted through all, is `at` + 1000.
Test matrices(const char* kernel) {
    Test test(kernel);
    test.x.resize(128);
    test.counts.resize(192);
    auto* elements = reinterpret_cast<uint16_t*>(test.x.data());
    for (unsigned at = 0; at < 256; ++at) elements[at] = uint16_t(at + 1000);
    return test;
}

// By the tables of PTX ISA, lane by lane and register by register.
void moved_matrices() {
    for (const bool transposed : {false, true}) {
        for (const unsigned count : {1u, 2u, 4u}) {
            const std::string kernel = "load_matrices_" + std::to_string(count) + (transposed ? "_transposed" : "");
            each_seed([&] { return matrices(kernel.c_str()); },
                      [&](const Test& test) {
                          for (unsigned at = 0; at < 32 * count; ++at) {
                              const unsigned lane = at / count, row = lane >> 2, column = (lane & 3) << 1;
                              const unsigned first =
                                  1000 + at % count * 64 + (transposed ? column * 8 + row : lane * 2);
                              const unsigned second = first + (transposed ? 8 : 1);
                              CHECK(test.counts[at] == (second << 16 | first), "%s: lane %u, register %u: %08x",
                                    test.kernel.c_str(), lane, at % count, test.counts[at]);
                          }
                      });
        }
    }
    for (const unsigned count : {1u, 2u, 4u}) {
        each_seed([&] { return matrices(("store_matrices_" + std::to_string(count)).c_str()); },
                  [&](const Test& test) {
                      // Pair `column` of row `row` is of lane 4 row + column.
                      for (unsigned at = 0; at < 32 * count; ++at) {
                          CHECK(test.counts[at] == at % 32 * 100 + at / 32, "store %u: pair %u is %u", count, at,
                                test.counts[at]);
                      }
                  });
    }
}

// A [16][16] and B [16][8] of small integers, whose products f32 adds exactly in any order.
void multiplied_matrices() {
    const auto a = [](unsigned row, unsigned depth) { return float(int(row * 7 + depth * 3) % 11 - 5); };
    const auto b = [](unsigned depth, unsigned column) { return float(int(depth * 5 + column * 2) % 13 - 6); };
    const auto c = [](unsigned row, unsigned column) { return float(row * 100 + column); };
    const auto pair = [](float first, float second) {
        return std::bit_cast<uint32_t>(first) >> 16 | (std::bit_cast<uint32_t>(second) & 0xffff0000u);
    };
    each_seed(
        [&] {
            Test test = matrices("multiply_matrices");
            test.y.resize(128);
            for (unsigned lane = 0; lane < 32; ++lane) {
                const unsigned group = lane >> 2, in_group = lane % 4;
                unsigned* fragments = &test.counts[lane * 6];
                for (unsigned i = 0; i < 8; i += 2) {
                    const unsigned row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
                    const unsigned depth = in_group * 2 + (i >= 4 ? 8 : 0);
                    fragments[i / 2] = pair(a(row, depth), a(row, depth + 1));
                }
                for (unsigned i = 0; i < 4; i += 2) {
                    const unsigned depth = in_group * 2 + (i >= 2 ? 8 : 0);
                    fragments[4 + i / 2] = pair(b(depth, group), b(depth + 1, group));
                }
                for (unsigned i = 0; i < 4; ++i) {
                    test.y[lane * 4 + i] = c(i < 2 ? group : group + 8, in_group * 2 + (i & 1));
                }
            }
            return test;
        },
        [&](const Test& test) {
            for (unsigned at = 0; at < 128; ++at) {
                const unsigned lane = at / 4, i = at % 4;
                const unsigned row = (lane >> 2) + (i < 2 ? 0 : 8), column = lane % 4 * 2 + (i & 1);
                float sum = c(row, column);
                for (unsigned depth = 0; depth < 16; ++depth) sum += a(row, depth) * b(depth, column);
                CHECK(test.y[at] == sum, "mma: lane %u, sum %u: %g, not %g", lane, i, test.y[at], sum);
            }
            CHECK(test.counters.matrix_instructions == 1, "%s", test.kernel.c_str());
        });
}

void misused_primitives() {
    expect_fault([] { return Test("divergent_barrier", 64); },
                 {"divergent barrier", "__syncthreads", "misuse.cu", "thread (", "block (0,0,0)"});
    expect_fault([] { return Test("barrier_for_some", 32); },
                 {"deadlock", "16 threads in __syncthreads", "such as (0,0,0)", "16 threads in __shfl_xor_sync",
                  "such as (16,0,0)"},
                 false);
    expect_fault([] { return Test("other_mask"); }, {"mask 0x0000ffff", "mask 0xffffffff", "__syncwarp"});
    expect_fault([] { return Test("mask_without_self"); }, {"mask 0x0000ffff", "does not name its own lane"});
    expect_fault([] { return Test("shuffle_from_absent"); },
                 {"thread (15,0,0)", "__shfl_down_sync", "lane 16, which takes no part"});
    expect_fault([] { return Test("failed_assertion"); },
                 {"thread (5,0,0)", "assertion failed: threadIdx.x != 5 && p.elements > 0"});
    expect_fault([] { return Test("lane_missing"); }, {"mma.sync", "without lane 5", "all 32"});
    expect_fault([] { return matrices("other_instruction"); }, {"calls ldmatrix", "ptx.cuh", ".trans"});
    expect_fault([] { return matrices("row_in_global"); }, {"ldmatrix of a row that is not in shared memory"});
    expect_fault([] { return Test("too_large", 1); }, {"more static shared memory than the 48 KiB"});
    expect_fault([] { return Test("no_such_kernel"); }, {"no_such_kernel", "no kernel of this name"}, false);
    expect_fault([] { return Test("warp_broadcast", 64); }, {"64 x 1 x 1 threads", "1 to 32"}, false);
    expect_fault(
        [] {
            Test test("double_buffer", 64);
            test.dynamic_shared = 100 << 10;
            return test;
        },
        {"102400 bytes of dynamic shared memory"}, false);
}

void misused_memory() {
    expect_fault([] { return Test("write_past_end", 65); },
                 {"thread (64,0,0)", "writes 4 bytes 0 bytes past the end of tensor 1 of 256 bytes"});
    expect_fault([] { return Test("read_before", 1); }, {"reads 4 bytes 4 bytes before tensor 0"});
    expect_fault(
        [] {
            Test test("read_null", 1);
            test.no_counts = true;
            return test;
        },
        {"reads 4 bytes at address 0, through a null pointer"});
    expect_fault([] { return Test("misaligned", 1); }, {"reads 4 bytes at byte 2 of tensor 0", "not a multiple of 4"});
    expect_fault([] { return Test("misaligned_vector", 1); },
                 {"reads 16 bytes at byte 8 of tensor 0", "not a multiple of 16"});
    expect_fault(
        [] {
            Test test("vector_past_end", 1);
            test.elements = 62;
            return test;
        },
        {"reads 16 bytes at byte 248 of tensor 0 of 256 bytes, so past its end"});
    expect_fault([] { return Test("write_read_only"); },
                 {"writes 4 bytes at byte", "tensor 0", "which the launch only reads"});
    expect_fault([] { return Test("shared_past_end", 65); },
                 {"thread (64,0,0)", "0 bytes past the end of static shared memory of 256 bytes"});
    expect_fault(
        [] {
            Test test("dynamic_past_end", 64);
            test.dynamic_shared = 252;
            return test;
        },
        {"thread (63,0,0)", "0 bytes past the end of dynamic shared memory of 252 bytes"});
    expect_fault(
        [] { return Test("uninitialised", 64); },
        {"thread (7,0,0)", "reads 4 bytes at byte 28 of static shared memory", "no thread of this block ever wrote"});
    expect_fault([] { return matrices("misaligned_row"); },
                 {"thread (3,0,0)", "reads 16 bytes at byte 56 of static shared memory", "not a multiple of 16"});
    expect_fault([] { return matrices("row_past_end"); },
                 {"thread (31,0,0)", "writes 16 bytes 0 bytes past the end of static shared memory of 512 bytes"});
    expect_fault([] { return matrices("unwritten_row"); }, {"thread (9,0,0)", "no thread of this block ever wrote"});
    expect_fault([] { return Test("stack_overflow", 1); }, {"stack overflow"});
}

void races() {
    // Unless thread 0 runs before the others, when it reads what nobody wrote.
    expect_fault([] { return Test("missing_barrier", 64); }, {"shared memory", "block (0,0,0), thread ("});
    expect_fault([] { return Test("missing_second_barrier", 64); }, {"race: ", "of static shared memory", "thread ("});
    expect_fault([] { return Test("all_write_one", 64); },
                 {"race: writes 4 bytes at byte 0 of tensor 1", "wrote (code at 0x", "nothing orders the two"});
    expect_fault([] { return Test("forgotten_reader", 3); }, {"race: ", "thread (2,0,0)", "thread (0,0,0)"});
    expect_fault([] { return Test("missing_syncwarp"); }, {"shared memory"});
    expect_fault([] { return Test("syncwarp_across_warps", 64); }, {"shared memory"});
    expect_fault([] { return Test("shuffle_as_barrier"); }, {"race: reads 4 bytes", "wrote"});
    expect_fault([] { return Test("blocks_write_one", 32, 3); }, {"race: writes", "of block (", "wrote"});
    expect_fault([] { return Test("blocks_read_others", 32, 2); }, {"race: ", "of block ("});
    expect_fault([] { return Test("atomic_and_plain"); }, {"race: ", "(atomic)"});
    expect_fault([] { return matrices("load_without_barrier"); }, {"race: reads 16 bytes", "wrote"});
    expect_fault([] { return matrices("store_without_barrier"); }, {"race: writes 16 bytes", "read"});
    expect_fault([] { return Test("copy_not_waited_for"); }, {"race: reads", "cp.async not yet waited for"});
    expect_fault([] { return Test("copy_without_barrier"); }, {"shared memory"});
    expect_fault([] { return Test("copy_barrier_first"); }, {"race: reads", "thread ("});
}

void counts() {
    const auto counters = [](const char* kernel, uint32_t threads) {
        Test test(kernel, threads);
        test.x.resize(256 * 32);
        test.run();
        CHECK(test.status == 0, "%s", test.message);
        return test.counters;
    };
    const struct {
        const char* kernel;
        uint64_t sectors;  // a warp
    } reads[] = {
        {"read_stride_0", 1}, {"read_stride_1", 4}, {"read_stride_2", 8}, {"read_stride_32", 32}, {"read_vectors", 16}};
    for (const auto& [kernel, sectors] : reads) {
        const RirEmuCounters c = counters(kernel, 64);
        CHECK(c.global_accesses == 2, "%s: %d accesses", kernel, int(c.global_accesses));
        CHECK(c.global_read_sectors == 2 * sectors, "%s: %d sectors", kernel, int(c.global_read_sectors));
    }
    const struct {
        const char* kernel;
        uint64_t cycles, least;
    } shared[] = {{"write_shared_1", 1, 1},      {"write_shared_2", 2, 1},
                  {"write_shared_32", 32, 1},    {"write_shared_33", 1, 1},
                  {"broadcast", 2, 2},           {"write_shared_float2", 2, 2},
                  {"write_shared_float4", 4, 4}, {"write_shared_float4_2", 8, 4}};
    for (const auto& [kernel, cycles, least] : shared) {
        const RirEmuCounters c = counters(kernel, 32);
        CHECK(c.shared_cycles == cycles, "%s: %d cycles", kernel, int(c.shared_cycles));
        CHECK(c.shared_least_cycles == least, "%s: %d at least", kernel, int(c.shared_least_cycles));
    }
    // 32 rows are written in 4 passes, and read 8 a pass; 32 bytes apart both take twice as many.
    for (const auto& [kernel, cycles, bytes] : {std::tuple("load_matrices_4", 8, 512), {"rows_apart", 12, 256}}) {
        const RirEmuCounters c = matrices(kernel).run().counters;
        CHECK(c.shared_cycles == uint64_t(cycles), "%s: %d cycles", kernel, int(c.shared_cycles));
        CHECK(c.shared_read_bytes == uint64_t(bytes), "%s: %d bytes read", kernel, int(c.shared_read_bytes));
    }
}

void host_threads() {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(reductions);
    for (std::thread& thread : threads) thread.join();
}

void registry() {
    size_t kernels = 0;
    bool found = false;
    while (const RirEmuKernel* kernel = rir_emu_kernel(kernels)) {
        ++kernels;
        if (std::strcmp(kernel->name, "test_tree_sum") != 0) continue;
        found = kernel->params_bytes == sizeof(TestParams) && kernel->max_threads == 256;
    }
    CHECK(found, "test_tree_sum is not among the %zu kernels", kernels);
}

}  // namespace

int main() {
    registry();
    reductions();
    transposes();
    histograms();
    warps();
    accesses();
    moved_matrices();
    multiplied_matrices();
    host_threads();
    tensor_maps();
    bulk_copies();
    products();
    pipelines();
    misused_primitives();
    misused_hopper();
    if (SEES_ACCESSES) {
        misused_memory();
        races();
        counts();
    }
    std::printf(failures == 0 ? "all passed\n" : "%d checks failed\n", failures.load());
    return failures != 0;
}
