// A matrix product as Hopper's libraries do it: one warp group copies, two multiply, by a ring of stages; blocks go on
// from tile to tile, and sums go out by bulk copies.
#include "params.hpp"
#include "ptx_wgmma.cuh"

constexpr uint32_t TILE_ROWS = 128, TILE_COLUMNS = 64, STAGE_DEPTH = 64, GEMM_STAGES = 3, OUT_SPAN = 32;

struct alignas(1024) GemmStage {
    unsigned char rows[TILE_ROWS * STAGE_DEPTH * 2];
    unsigned char columns[TILE_COLUMNS * STAGE_DEPTH * 2];
};
struct alignas(1024) Gemm {
    GemmStage stages[GEMM_STAGES];
    float out[2][64][OUT_SPAN];
    ptx::Barrier full[GEMM_STAGES], empty[GEMM_STAGES];
};
static_assert(sizeof(GemmStage) == 24 << 10);

// Columns lie [column][depth], or [depth][column] if ACROSS.
template <bool ACROSS>
__device__ void gemm(const GemmParams& p) {
    RIR_SHARED_DYNAMIC(Gemm, shared);
    const uint32_t group = threadIdx.x / 128, thread = threadIdx.x % 128;
    if (threadIdx.x == 0) {
        for (uint32_t slot = 0; slot < GEMM_STAGES; ++slot) {
            ptx::barrier_init(shared.full[slot], 1);
            ptx::barrier_init(shared.empty[slot], 2);
        }
        ptx::fence_barrier_init();
    }
    __syncthreads();
    const uint32_t steps = p.depth / STAGE_DEPTH, tiles_across = p.columns / TILE_COLUMNS;
    uint32_t slot = 0, parity = 0;
    const auto advance = [&] {
        if (++slot == GEMM_STAGES) slot = 0, parity ^= 1;
    };
    if (group == 0) {
        ptx::registers_decrease<40>();
        if (thread != 0) return;
        for (uint32_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
            const int32_t row = int32_t(tile / tiles_across * TILE_ROWS);
            const int32_t column = int32_t(tile % tiles_across * TILE_COLUMNS);
            for (uint32_t step = 0; step < steps; ++step) {
                GemmStage& stage = shared.stages[slot];
                const int32_t depth = int32_t(step * STAGE_DEPTH);
                ptx::barrier_wait(shared.empty[slot], parity ^ 1);
                ptx::barrier_arrive_and_expect(shared.full[slot], sizeof(GemmStage));
                ptx::load_box(stage.rows, p.rows_map, shared.full[slot], depth, row, 0);
                if (ACROSS) {
                    ptx::load_box(stage.columns, p.columns_map, shared.full[slot], column, depth, 0);
                } else {
                    ptx::load_box(stage.columns, p.columns_map, shared.full[slot], depth, column, 0);
                }
                advance();
            }
        }
        return;
    }
    ptx::registers_increase<232>();
    const uint32_t half = group - 1;
    for (uint32_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        float sums[TILE_COLUMNS / 2];
        uint32_t used = 0;
        for (uint32_t step = 0; step < steps; ++step) {
            const GemmStage& stage = shared.stages[slot];
            ptx::barrier_wait(shared.full[slot], parity);
            const uint64_t a = ptx::matrix_descriptor(stage.rows + half * 64 * 128, ptx::Swizzle::Bytes128, 0, 1024);
            const uint64_t b = ptx::matrix_descriptor(stage.columns, ptx::Swizzle::Bytes128, 0, 1024);
            ptx::warpgroup_fence();
            for (uint32_t k = 0; k < STAGE_DEPTH / 16; ++k) {
                constexpr ptx::Major COLUMNS = ACROSS ? ptx::Major::Across : ptx::Major::Depth;
                ptx::multiply_warpgroup<ptx::Major::Depth, COLUMNS>(sums, a + k * 2, b + k * (ACROSS ? 128 : 2),
                                                                    step > 0 || k > 0);
            }
            ptx::warpgroup_commit();
            // A stage is given back once the products after it have begun; by one thread of the group.
            ptx::warpgroup_wait<1>();
            if (step > 0 && thread == 0) ptx::barrier_arrive(shared.empty[used]);
            used = slot;
            advance();
        }
        ptx::warpgroup_wait<0>();
        if (thread == 0) ptx::barrier_arrive(shared.empty[used]);
        ptx::warpgroup_keep(sums);
        for (uint32_t part = 0; part < TILE_COLUMNS / OUT_SPAN; ++part) {
            // The copy out before has read what is written anew.
            if (thread == 0) ptx::store_wait_read<0>();
            ptx::named_barrier_sync(1 + half, 128);
            for (uint32_t i = 0; i < OUT_SPAN / 2; ++i) {
                const uint32_t row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
                shared.out[half][row][i / 4 * 8 + thread % 4 * 2 + i % 2] = sums[part * OUT_SPAN / 2 + i];
            }
            ptx::fence_async_shared();
            ptx::named_barrier_sync(1 + half, 128);
            if (thread == 0) {
                ptx::store_box(p.out_map, shared.out[half],
                               int32_t(tile % tiles_across * TILE_COLUMNS + part * OUT_SPAN),
                               int32_t(tile / tiles_across * TILE_ROWS + half * 64));
                ptx::store_commit();
            }
        }
    }
    if (thread == 0) ptx::store_wait<0>();
}
RIR_KERNEL_ALONE(test_gemm, GemmParams, 384, gemm<false>)
RIR_KERNEL_ALONE(test_gemm_across, GemmParams, 384, gemm<true>)
