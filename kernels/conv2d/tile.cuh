// The matrix product that all tiled convolutions share: a block computes [TILE_ROWS x COLUMNS] sums over any depth.
//
//     sum[row][column] = sum over depth of rows[depth][row] * columns[depth][column]
//
// Per step a block loads TILE_DEPTH of the depth of both operands to registers, multiplies the step before it out of
// shared memory, and then stores what it loaded into the other of two stages: loads have a whole step of arithmetic to
// arrive, and one barrier a step is enough. Per depth a thread reads 8 + 8 numbers for its 64 multiply-adds.
//
// Shared memory of a stage, f32 whatever is stored (index.cuh tells where in its line an element lies):
//
//     rows     [TILE_DEPTH][TILE_ROWS]
//     columns  [TILE_DEPTH][COLUMNS]
//
// Invariants: whatever lies outside of an operand enters as 0; each sum's order is that of the depth.
#pragma once

#include "../rir.cuh"
#include "index.cuh"

namespace conv2d {

template <uint32_t COLUMNS>
struct alignas(16) Stage {
    float rows[TILE_DEPTH][TILE_ROWS];
    float columns[TILE_DEPTH][COLUMNS];
};

// Four neighbours in registers, as they are stored. In memory they are one vector, moved by one instruction.
template <typename T>
struct Quad {
    T v[QUAD];
};

__device__ __forceinline__ Quad<float> read_quad(const float* quad) {
    const float4 packed = *reinterpret_cast<const float4*>(quad);
    return {{packed.x, packed.y, packed.z, packed.w}};
}
__device__ __forceinline__ Quad<bf16> read_quad(const bf16* quad) {
    const ushort4 packed = *reinterpret_cast<const ushort4*>(quad);
    return {{__ushort_as_bfloat16(packed.x), __ushort_as_bfloat16(packed.y), __ushort_as_bfloat16(packed.z),
             __ushort_as_bfloat16(packed.w)}};
}
__device__ __forceinline__ void write_quad(float* to, const Quad<float>& quad) {
    *reinterpret_cast<float4*>(to) = make_float4(quad.v[0], quad.v[1], quad.v[2], quad.v[3]);
}
__device__ __forceinline__ void write_quad(bf16* to, const Quad<bf16>& quad) {
    *reinterpret_cast<ushort4*>(to) = make_ushort4(__bfloat16_as_ushort(quad.v[0]), __bfloat16_as_ushort(quad.v[1]),
                                                   __bfloat16_as_ushort(quad.v[2]), __bfloat16_as_ushort(quad.v[3]));
}

// Elements at .. at + 4 of a run that ends at `end`; 0 past the end, and where there is no run. `whole`: every quad of
// the run is aligned and complete, since extents and tensors begin and end on quads.
template <typename T>
__device__ __forceinline__ Quad<T> load_quad(const T* run, uint32_t at, uint32_t end, bool whole) {
    if (whole && run != nullptr && at < end) {
        return read_quad(run + at);
    }
    Quad<T> quad;
#pragma unroll
    for (uint32_t i = 0; i < QUAD; ++i) {
        quad.v[i] = run != nullptr && at + i < end ? run[at + i] : store<T>(0.0f);
    }
    return quad;
}

// The counterpart: stores what lies before `end`.
template <typename T>
__device__ __forceinline__ void store_quad(T* run, uint32_t at, uint32_t end, bool whole, const Quad<T>& quad) {
    if (whole && at < end) {
        write_quad(run + at, quad);
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < QUAD; ++i) {
        if (at + i < end) {
            run[at + i] = quad.v[i];
        }
    }
}

// Brings a tile whose depth is contiguous in global memory: each of its WIDTH lines has a run of depths.
//
// Four neighbouring threads load the 16 depths of a line, the next four the next line; turned over on the way into
// shared memory.
template <typename T, uint32_t WIDTH, uint32_t THREADS>
class AlongDepth {
    static constexpr uint32_t QUADS = WIDTH * DEPTH_QUADS;
    static constexpr uint32_t PASSES = ceil_div(QUADS, THREADS);
    static_assert(THREADS % DEPTH_QUADS == 0, "a thread's quads have one depth");

    const T* runs[PASSES];
    Quad<T> held[PASSES];

  public:
    // `run_of(line)` is where the depths of a line begin, or null: all 0.
    template <typename RunOf>
    __device__ __forceinline__ void aim(RunOf run_of) {
#pragma unroll
        for (uint32_t pass = 0; pass < PASSES; ++pass) {
            const uint32_t quad = threadIdx.x + pass * THREADS;
            runs[pass] = quad < QUADS ? run_of(quad / DEPTH_QUADS) : nullptr;
        }
    }
    // Depths first .. first + 16 of runs that end at `end`.
    __device__ __forceinline__ void fetch(uint32_t first, uint32_t end, bool whole) {
#pragma unroll
        for (uint32_t pass = 0; pass < PASSES; ++pass) {
            held[pass] = load_quad(runs[pass], first + threadIdx.x % DEPTH_QUADS * QUAD, end, whole);
        }
    }
    __device__ __forceinline__ void put(float (&tile)[TILE_DEPTH][WIDTH]) const {
#pragma unroll
        for (uint32_t pass = 0; pass < PASSES; ++pass) {
            const uint32_t quad = threadIdx.x + pass * THREADS;
            if (quad < QUADS) {
#pragma unroll
                for (uint32_t i = 0; i < QUAD; ++i) {
                    const uint32_t depth = threadIdx.x % DEPTH_QUADS * QUAD + i;
                    tile[depth][swizzled(depth, quad / DEPTH_QUADS)] = load(held[pass].v[i]);
                }
            }
        }
    }
};

// Brings a tile whose WIDTH is contiguous in global memory: neighbouring threads load neighbouring quads of one depth,
// and store them as they are.
template <typename T, uint32_t WIDTH, uint32_t THREADS>
class AcrossDepth {
    static constexpr uint32_t LINE = WIDTH / QUAD;
    static constexpr uint32_t QUADS = TILE_DEPTH * LINE;
    static constexpr uint32_t PASSES = ceil_div(QUADS, THREADS);

    Quad<T> held[PASSES];

  public:
    // `quad_of(depth, at)` is the quad of elements at .. at + 4 of a depth, or zeros.
    template <typename QuadOf>
    __device__ __forceinline__ void fetch(QuadOf quad_of) {
#pragma unroll
        for (uint32_t pass = 0; pass < PASSES; ++pass) {
            const uint32_t quad = threadIdx.x + pass * THREADS;
            if (quad < QUADS) {
                held[pass] = quad_of(quad / LINE, quad % LINE * QUAD);
            }
        }
    }
    __device__ __forceinline__ void put(float (&tile)[TILE_DEPTH][WIDTH]) const {
#pragma unroll
        for (uint32_t pass = 0; pass < PASSES; ++pass) {
            const uint32_t quad = threadIdx.x + pass * THREADS;
            if (quad < QUADS) {
                Quad<float> wide;
#pragma unroll
                for (uint32_t i = 0; i < QUAD; ++i) {
                    wide.v[i] = load(held[pass].v[i]);
                }
                const uint32_t depth = quad / LINE;
                write_quad(&tile[depth][swizzled(depth, quad % LINE * QUAD)], wide);
            }
        }
    }
};

// A thread's 64 sums; sum [i][j] is that of tile_row(thread, i) and tile_column(thread, j).
using Sums = float[THREAD_ROWS][THREAD_COLUMNS];

// Adds `value` up over the lanes that hold the same column.
__device__ __forceinline__ float add_lanes_of_rows(float value) {
#pragma unroll
    for (uint32_t bit = FIRST_LANE_ROW_BIT; bit <= LAST_LANE_ROW_BIT; bit *= 2) {
        value += __shfl_xor_sync(0xffffffff, value, int(bit));
    }
    return value;
}

// Adds a stage's products.
template <uint32_t COLUMNS>
__device__ __forceinline__ void multiply_stage(const Stage<COLUMNS>& stage, Sums& sums) {
#pragma unroll
    for (uint32_t depth = 0; depth < TILE_DEPTH; ++depth) {
        Quad<float> rows[THREAD_ROWS / QUAD];
        Quad<float> columns[THREAD_COLUMNS / QUAD];
#pragma unroll
        for (uint32_t i = 0; i < THREAD_ROWS / QUAD; ++i) {
            const uint32_t at = swizzled(depth, tile_row(threadIdx.x, i * QUAD));
            rows[i] = read_quad(&stage.rows[depth][at]);
        }
#pragma unroll
        for (uint32_t j = 0; j < THREAD_COLUMNS / QUAD; ++j) {
            const uint32_t at = swizzled(depth, tile_column(threadIdx.x, j * QUAD));
            columns[j] = read_quad(&stage.columns[depth][at]);
        }
#pragma unroll
        for (uint32_t i = 0; i < THREAD_ROWS; ++i) {
#pragma unroll
            for (uint32_t j = 0; j < THREAD_COLUMNS; ++j) {
                sums[i][j] += rows[i / QUAD].v[i % QUAD] * columns[j / QUAD].v[j % QUAD];
            }
        }
    }
}

// Adds a whole product. `operands.fetch()` loads the next step of both operands to registers, `operands.put(stage)`
// moves them to shared memory; they alternate, fetch first, `steps` times each.
template <uint32_t COLUMNS, typename Operands>
__device__ __forceinline__ void multiply(Stage<COLUMNS> (&stages)[2], Operands& operands, uint32_t steps, Sums& sums) {
    if (steps == 0) {
        return;  // the same for the whole block
    }
    operands.fetch();
    operands.put(stages[0]);
    __syncthreads();
    for (uint32_t step = 0; step < steps; ++step) {
        const bool more = step + 1 < steps;
        if (more) {
            operands.fetch();
        }
        multiply_stage(stages[step % 2], sums);
        if (more) {
            // Nobody reads the other stage any more: the barrier of the step before saw to that.
            operands.put(stages[(step + 1) % 2]);
        }
        __syncthreads();
    }
}

}  // namespace conv2d
