// Proves on the host how passes are shared out (pass_index.cuh), by brute force over small matrices and grids:
//
//     g++ -std=c++20 -I kernels kernels/tests/pass_index.cpp -o pass_index && ./pass_index
//
// - every vector of every row has one thread, in either direction;
// - descending is ascending, seen from the last vector;
// - a run is of neighbouring rows, and the first run has the first or the last of all.
#include "pass_index.cuh"

#include <algorithm>
#include <vector>

#include "check.hpp"

// Who takes each vector, rows x vectors: its thread, counted through all runs.
static std::vector<int> owners(uint32_t threads, uint32_t runs, uint32_t rows, uint32_t vectors, bool descending) {
    std::vector<int> taken(size_t(rows) * vectors, -1);
    for (uint32_t run = 0; run < runs; ++run) {
        for (uint32_t thread = 0; thread < threads; ++thread) {
            for (Pass p = pass_of(thread, threads, run, runs, rows, vectors, descending); p.left > 0; p.advance()) {
                CHECK(p.row < rows && p.vector < vectors);
                int& of = taken[size_t(p.row) * vectors + p.vector];
                CHECK(of == -1);
                of = int(run * threads + thread);
            }
        }
    }
    return taken;
}

static void prove(uint32_t threads, uint32_t runs, uint32_t rows, uint32_t vectors) {
    std::vector<int> up = owners(threads, runs, rows, vectors, false);
    CHECK(std::count(up.begin(), up.end(), -1) == 0);
    const auto earlier_run = [&](int a, int b) { return a / int(threads) < b / int(threads); };
    CHECK(std::is_sorted(up.begin(), up.end(), earlier_run));
    std::vector<int> down = owners(threads, runs, rows, vectors, true);
    std::reverse(down.begin(), down.end());
    CHECK(up == down);
}

int main() {
    for (uint32_t rows = 1; rows <= 40; ++rows) {
        for (uint32_t vectors = 1; vectors <= 7; ++vectors) {
            // As many threads as there are vectors, or a few more.
            for (uint32_t more = 0; more < 5; ++more) {
                prove(rows * vectors + more, 1, rows, vectors);
            }
            // Several rows a thread, several runs; more of them than rows, too.
            for (uint32_t at_once = 1; at_once <= 4; ++at_once) {
                for (uint32_t runs : {1u, 2u, 3u, 7u, 50u}) {
                    prove(at_once * vectors, runs, rows, vectors);
                }
            }
        }
    }
    std::printf(failures == 0 ? "pass_index: ok\n" : "pass_index: %d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
