// What all parts of the tests share: checks, launches under many orders of threads, and what faults say.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <new>
#include <string>
#include <vector>

#include "emu/emu.h"
#include "params.hpp"

// Sanitizers take the place of the compiler's hooks, so that the emulator sees no plain accesses.
#if defined(RIR_EMU_TEST_SANITIZED)
constexpr bool SEES_ACCESSES = false;
#else
constexpr bool SEES_ACCESSES = true;
#endif

inline std::atomic<int> failures = 0;

// Of many failures, the first few are printed.
#define CHECK(condition, ...)                                           \
    do {                                                                \
        if (!(condition) && ++failures <= 20) {                         \
            std::printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            std::printf(__VA_ARGS__);                                   \
            std::printf("\n");                                          \
        }                                                               \
    } while (false)

// Aligned as a card's allocations are.
template <typename T>
struct Aligned {
    using value_type = T;
    T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(256))); }
    void deallocate(T* memory, size_t) { ::operator delete(memory, std::align_val_t(256)); }
    bool operator==(const Aligned&) const { return true; }
};
template <typename T>
using Tensor = std::vector<T, Aligned<T>>;

template <typename T>
RirEmuTensor listed(const Tensor<T>& tensor, bool writable) {
    return {reinterpret_cast<uint64_t>(tensor.data()), tensor.size() * sizeof(T), writable, 0};
}

// A launch, and how it ended.
struct Run {
    std::string kernel;
    uint32_t grid[3] = {1, 1, 1}, block[3] = {32, 1, 1};
    uint32_t dynamic_shared = 0, shared_limit = 99 << 10;
    uint64_t seed = 1;
    bool programmatic = false;

    int status = 0;
    char message[1024] = "";
    uint64_t site = 0;
    RirEmuCounters counters{};

    explicit Run(const std::string& name, uint32_t threads, uint32_t blocks) : kernel("test_" + name) {
        block[0] = threads;
        grid[0] = blocks;
    }
    template <typename Params>
    void launch(const Params& params, const RirEmuTensor* tensors, size_t count) {
        RirEmuLaunch launch{};
        launch.kernel = kernel.c_str();
        std::memcpy(launch.grid, grid, sizeof grid);
        std::memcpy(launch.block, block, sizeof block);
        launch.dynamic_shared = dynamic_shared;
        launch.shared_limit = shared_limit;
        launch.params = &params;
        launch.params_bytes = sizeof params;
        launch.tensors = tensors;
        launch.tensor_count = count;
        launch.seed = seed;
        launch.counters = 1;
        launch.programmatic = programmatic;
        status = rir_emu_launch(&launch, &counters, message, sizeof message, &site);
    }
};

// A launch and its tensors: x is read; y and counts may be written.
struct Test : Run {
    Tensor<float> x = Tensor<float>(64), y = Tensor<float>(64);
    Tensor<unsigned> counts = Tensor<unsigned>(64);
    uint64_t elements = 64;
    bool no_counts = false;

    explicit Test(const std::string& kernel, uint32_t threads = 32, uint32_t blocks = 1)
        : Run(kernel, threads, blocks) {
        for (size_t i = 0; i < x.size(); ++i) x[i] = float(i);
    }
    Test& run() {
        const TestParams params{x.data(), y.data(), no_counts ? nullptr : counts.data(), elements};
        const RirEmuTensor tensors[] = {listed(x, false), listed(y, true), listed(counts, true)};
        launch(params, tensors, no_counts ? 2 : 3);
        return *this;
    }
};

constexpr uint64_t SEEDS = 50;

// Runs under many orders of threads; `check` looks at the outcome.
template <typename Make, typename Check>
void each_seed(const Make& make, const Check& check, uint64_t seeds = SEEDS) {
    for (uint64_t seed = 0; seed < seeds; ++seed) {
        auto test = make();
        test.seed = seed;
        test.run();
        CHECK(test.status == 0, "seed %d: %s", int(seed), test.message);
        check(test);
    }
}

// Whether a message has one of the words that '|' divides.
inline bool says(const char* message, const std::string& words) {
    for (size_t begin = 0; begin <= words.size();) {
        const size_t end = std::min(words.find('|', begin), words.size());
        if (std::strstr(message, words.substr(begin, end - begin).c_str())) return true;
        begin = end + 1;
    }
    return false;
}

// Every word is part of the message, whatever the order of threads.
template <typename Make>
void expect_fault(const Make& make, std::initializer_list<const char*> words, bool has_site = true) {
    for (uint64_t seed = 0; seed < SEEDS; ++seed) {
        auto test = make();
        test.seed = seed;
        test.run();
        CHECK(test.status == 1, "%s, seed %d: no fault", test.kernel.c_str(), int(seed));
        CHECK((test.site != 0) == has_site, "%s: site %zx: %s", test.kernel.c_str(), size_t(test.site), test.message);
        for (const char* word : words) {
            CHECK(says(test.message, word), "%s: no '%s' in '%s'", test.kernel.c_str(), word, test.message);
        }
        if (seed == 0) std::printf("  %s\n", test.message);
    }
}

// The parts, each in its file.
void tensor_maps();
void bulk_copies();
void pipelines();
void products();
void misused_hopper();
