// The end of a convolution on tensor cores, for eight neighbouring channels of a pixel, which a thread finishes in f32
// and stores as 16 bytes. Whoever calls brings their sums together, through shared memory.
#pragma once

#include "../vector.cuh"
#include "epilogue.cuh"
#include "gather.cuh"
#include "mma_index.cuh"

namespace conv2d {

// Eight numbers of a thread.
using Eight = float[CHUNK];

// Eight neighbouring numbers as two vectors. Of shared memory, every other four lanes take the second first, so that
// eight lanes, of 32 bytes each, meet all banks once.
__device__ __forceinline__ void read_eight(const float* from, Eight& v) {
    const uint32_t second = threadIdx.x / 4 % 2;
    const float4 a = reinterpret_cast<const float4*>(from)[second];
    const float4 b = reinterpret_cast<const float4*>(from)[1 - second];
    const bool turned = second != 0;
    v[0] = turned ? b.x : a.x;
    v[1] = turned ? b.y : a.y;
    v[2] = turned ? b.z : a.z;
    v[3] = turned ? b.w : a.w;
    v[4] = turned ? a.x : b.x;
    v[5] = turned ? a.y : b.y;
    v[6] = turned ? a.z : b.z;
    v[7] = turned ? a.w : b.w;
}
__device__ __forceinline__ void write_eight(float* to, const Eight& v) {
    const uint32_t second = threadIdx.x / 4 % 2;
    const bool turned = second != 0;
    reinterpret_cast<float4*>(to)[second] =
        make_float4(turned ? v[4] : v[0], turned ? v[5] : v[1], turned ? v[6] : v[2], turned ? v[7] : v[3]);
    reinterpret_cast<float4*>(to)[1 - second] =
        make_float4(turned ? v[0] : v[4], turned ? v[1] : v[5], turned ? v[2] : v[6], turned ? v[3] : v[7]);
}

// Elements at .. at + 8 of a run that ends at `end`; 0 past the end. `whole`: the run begins on 16 bytes. WHOLE: and
// ends on a multiple of eight elements.
template <bool WHOLE>
__device__ __forceinline__ void load_eight(const bf16* run, uint32_t at, uint32_t end, bool whole, Eight& v) {
    if constexpr (WHOLE) {
        ::load_eight(run + at, v);
    } else if (whole && at + CHUNK <= end) {
        ::load_eight(run + at, v);
    } else {
#pragma unroll
        for (uint32_t i = 0; i < CHUNK; ++i) {
            v[i] = at + i < end ? load(run[at + i]) : 0;
        }
    }
}

// Rounds to bf16, in pairs, since a conversion by itself takes several cycles, and stores what lies before `end`; v is
// left as it was stored.
template <bool WHOLE>
__device__ __forceinline__ void store_eight(bf16* run, uint32_t at, uint32_t end, bool whole, Eight& v) {
    uint32_t pairs[CHUNK / 2];
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; i += 2) {
        pairs[i / 2] = ptx::round_pair(v[i], v[i + 1]);
        v[i] = low_of_pair(pairs[i / 2]);
        v[i + 1] = high_of_pair(pairs[i / 2]);
    }
    if (WHOLE || (whole && at + CHUNK <= end)) {
        *reinterpret_cast<uint4*>(run + at) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    } else {
#pragma unroll
        for (uint32_t i = 0; i < CHUNK; ++i) {
            if (at + i < end) {
                run[at + i] = store<bf16>(v[i]);
            }
        }
    }
}

// The mask's bits of `count` elements, at most 8, from `at` on. `whole`: they are one byte.
template <bool WHOLE>
__device__ __forceinline__ uint32_t load_bits(const uint8_t* mask, uint64_t at, uint32_t count, bool whole) {
    if (WHOLE || whole) {
        return passing<CHUNK>(mask, at);
    }
    uint32_t bits = 0;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; ++i) {
        bits |= uint32_t(i < count && mask_bit(mask, at + i)) << i;
    }
    return bits;
}

// In what follows, WHOLE says that channels, filters and E's channels come in multiples of eight.

// -- Forward. --

// Eight neighbouring filters, from k on.
struct ForwardColumns {
    uint32_t k;
    bool whole, whole_identity;  // runs of filters, of channels, begin on 16 bytes
    Eight scale, shift;

    __device__ __forceinline__ ForwardColumns(const ForwardParams& p, uint32_t k)
        : k(k), whole(p.e.k % CHUNK == 0), whole_identity(p.e.c % CHUNK == 0) {
#pragma unroll
        for (uint32_t l = 0; l < CHUNK; ++l) {
            const bool given = p.scale_shift != nullptr && k + l < p.e.k;
            scale[l] = given ? p.scale_shift[k + l] : 1;
            shift[l] = given ? p.scale_shift[p.e.k + k + l] : 0;
        }
    }
};

// Adds E x to the sums of output pixel m, finishes and stores them; they are left as stored.
template <bool WHOLE>
__device__ __forceinline__ void store_forward(const ForwardParams& p, const ForwardColumns& columns, uint32_t m,
                                              Eight& sums) {
    const Extents& e = p.e;
    const uint32_t k = columns.k;
    Eight identity = {}, outer = {};
    if (k < e.identity) {
        const uint64_t from = uint64_t(identity_input(unpack_pixel(m, e.p, e.q), e)) * e.c;
        load_eight<WHOLE>(static_cast<const bf16*>(p.x) + from, k, e.identity, columns.whole_identity, identity);
    }
    if (p.outer != nullptr) {
        load_eight<WHOLE>(static_cast<const bf16*>(p.outer) + uint64_t(m) * e.k, k, e.k, columns.whole, outer);
    }
#pragma unroll
    for (uint32_t l = 0; l < CHUNK; ++l) {
        sums[l] = finish_forward(p, sums[l] + identity[l], columns.scale[l], columns.shift[l], outer[l]);
    }
    store_eight<WHOLE>(static_cast<bf16*>(p.z) + uint64_t(m) * e.k, k, e.k, columns.whole, sums);
}

// -- Data gradient. --

// A thread's sums of eight channels: of g, and of g (z - mean) of each branch.
struct ReluSums {
    Eight of[1 + MOST_BRANCHES];
};

// Adds E^T dz and the addend to the sums of channels from c on of an input pixel, masks them by the ReLU, and stores
// them; what was stored joins the sums of its columns. `means[b]` are branch b's of those channels.
template <bool WHOLE>
__device__ __forceinline__ void store_data_grad(const DataGradParams& p, Pixel pixel, uint32_t c,
                                                const float* const (&means)[MOST_BRANCHES], Eight& sums,
                                                ReluSums& relu_sums) {
    const Extents& e = p.e;
    const bool whole = e.c % CHUNK == 0;
    const bool whole_identity = e.k % CHUNK == 0;
    const uint32_t elements = min(CHUNK, e.c - c);
    const uint64_t at = uint64_t(pack_pixel(pixel, e.h, e.w)) * e.c;
    Eight identity = {}, addend = {};
    // A pixel off the identity's grid gains nothing from it.
    if (c < e.identity && on_identity_grid(pixel, e)) {
        const bf16* run = static_cast<const bf16*>(p.dz) + uint64_t(identity_output(pixel, e)) * e.k;
        load_eight<WHOLE>(run, c, e.identity, whole_identity, identity);
    }
    uint32_t added = 0;
    if (p.addend != nullptr) {
        load_eight<WHOLE>(static_cast<const bf16*>(p.addend) + at, c, e.c, whole, addend);
        added = p.mask != nullptr ? load_bits<WHOLE>(p.mask, at + c, elements, whole) : 0xff;
    }
    const uint32_t passed = p.relu != nullptr ? load_bits<WHOLE>(p.relu, at + c, elements, whole) : 0xff;
#pragma unroll
    for (uint32_t l = 0; l < CHUNK; ++l) {
        const float dx = sums[l] + identity[l] + (added >> l & 1 ? addend[l] : 0);
        sums[l] = passed >> l & 1 ? dx : 0;
    }
    store_eight<WHOLE>(static_cast<bf16*>(p.dx) + at, c, e.c, whole, sums);
    if (p.relu == nullptr) {
        return;
    }
#pragma unroll
    for (uint32_t l = 0; l < CHUNK; ++l) {
        relu_sums.of[0][l] += sums[l];
    }
#pragma unroll
    for (uint32_t b = 0; b < MOST_BRANCHES; ++b) {
        if (p.z[b] != nullptr) {
            Eight z, mean;
            load_eight<WHOLE>(static_cast<const bf16*>(p.z[b]) + at, c, e.c, whole, z);
            read_eight(means[b], mean);
#pragma unroll
            for (uint32_t l = 0; l < CHUNK; ++l) {
                relu_sums.of[1 + b][l] += sums[l] * (z[l] - mean[l]);
            }
        }
    }
}

}  // namespace conv2d
