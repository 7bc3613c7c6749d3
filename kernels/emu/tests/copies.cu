// Bulk copies by tensor map, one after another as a list says.
#include "params.hpp"
#include "ptx_hopper.cuh"

struct alignas(1024) Landing {
    uint32_t words[12 << 10];
};
struct Gate {
    ptx::Barrier full;
};

constexpr uint32_t UNTOUCHED = 0xabababab;

enum class Copy { Line, Matrix, Three, Four, Five, Im2col };

template <Copy COPY>
__device__ __forceinline__ void load(void* to, const TensorMap& map, ptx::Barrier& full, const int32_t* at) {
    if constexpr (COPY == Copy::Matrix) ptx::load_box(to, map, full, at[0], at[1], 0);
    if constexpr (COPY == Copy::Three) ptx::load_box(to, map, full, at[0], at[1], at[2], 0);
    if constexpr (COPY == Copy::Four) ptx::load_box(to, map, full, at[0], at[1], at[2], at[3], 0);
    if constexpr (COPY == Copy::Im2col) {
        ptx::load_im2col(to, map, full, at[0], at[1], at[2], at[3], uint16_t(at[5]), uint16_t(at[6]), 0);
    }
#if !defined(__CUDACC__)
    // No kernel has use for a wrapper of these.
    int32_t coordinates[5];
    for (int d = 0; d < 5; ++d) coordinates[d] = at[d];
    if constexpr (COPY == Copy::Line) rir::emu::load_box(to, &map, &full, coordinates, 1, 0);
    if constexpr (COPY == Copy::Five) rir::emu::load_box(to, &map, &full, coordinates, 5, 0);
#endif
}

// Every copy lands in memory that was filled before, and all of that is given back.
template <Copy COPY>
__device__ void load_list(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Landing, landing);
    RIR_SHARED(Gate, gate);
    if (threadIdx.x == 0) {
        ptx::barrier_init(gate.full, 1);
        ptx::fence_barrier_init();
        ptx::prefetch_map(p.maps[0]);
    }
    for (uint32_t item = 0; item < p.items; ++item) {
        for (uint32_t i = threadIdx.x; i < p.words; i += blockDim.x) landing.words[i] = UNTOUCHED;
        ptx::fence_async_shared();
        __syncthreads();
        if (threadIdx.x == 0) {
            ptx::barrier_arrive_and_expect(gate.full, p.bytes);
            load<COPY>(landing.words + p.offset / 4, p.maps[0], gate.full, p.list + item * 8);
        }
        ptx::barrier_wait(gate.full, item % 2);
        for (uint32_t i = threadIdx.x; i < p.words; i += blockDim.x) p.counts[item * p.words + i] = landing.words[i];
        __syncthreads();
    }
}
RIR_KERNEL(test_load_line, CopyParams, 64, load_list<Copy::Line>)
RIR_KERNEL(test_load_matrix, CopyParams, 64, load_list<Copy::Matrix>)
RIR_KERNEL(test_load_three, CopyParams, 64, load_list<Copy::Three>)
RIR_KERNEL(test_load_four, CopyParams, 64, load_list<Copy::Four>)
RIR_KERNEL(test_load_five, CopyParams, 64, load_list<Copy::Five>)
RIR_KERNEL(test_load_im2col, CopyParams, 64, load_list<Copy::Im2col>)

// Each copy out takes the bytes `offset` behind those of the one before, of what all threads have put in shared memory.
template <Copy COPY, bool ADD>
__device__ void store_list(const CopyParams& p) {
    RIR_SHARED_DYNAMIC(Landing, landing);
    uint4* vectors = reinterpret_cast<uint4*>(landing.words);
    for (uint32_t i = threadIdx.x; i < p.items * p.offset / 16; i += blockDim.x)
        vectors[i] = static_cast<const uint4*>(p.x)[i];
    ptx::fence_async_shared();
    __syncthreads();
    if (threadIdx.x == 0) {
        for (uint32_t item = 0; item < p.items; ++item) {
            const int32_t* at = p.list + item * 8;
            const uint32_t* from = landing.words + item * p.offset / 4;
            if constexpr (ADD) {
                ptx::add_box(p.maps[0], from, at[0], at[1]);
            } else if constexpr (COPY == Copy::Matrix) {
                ptx::store_box(p.maps[0], from, at[0], at[1]);
            } else {
                ptx::store_box(p.maps[0], from, at[0], at[1], at[2], at[3]);
            }
            ptx::store_commit();
        }
        // The first may still be read from shared memory while the last one is; in the end all are out.
        ptx::store_wait_read<1>();
        ptx::store_wait<0>();
    }
}
RIR_KERNEL(test_store_matrix, CopyParams, 64, store_list<Copy::Matrix, false>)
RIR_KERNEL(test_store_four, CopyParams, 64, store_list<Copy::Four, false>)
RIR_KERNEL(test_add_matrix, CopyParams, 64, store_list<Copy::Matrix, true>)
