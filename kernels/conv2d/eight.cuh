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

// Eight neighbouring numbers as they are stored, two a word.
struct Packed {
    uint32_t pairs[CHUNK / 2];

    __device__ __forceinline__ float operator[](uint32_t l) const {
        return l % 2 == 0 ? low_of_pair(pairs[l / 2]) : high_of_pair(pairs[l / 2]);
    }
};

// Elements at .. at + 8 of a run that ends at `end`; 0 past the end. `whole`: the run begins on 16 bytes. WHOLE: and
// ends on a multiple of eight elements.
template <bool WHOLE>
__device__ __forceinline__ Packed load_eight(const bf16* run, uint32_t at, uint32_t end, bool whole) {
    if (WHOLE || (whole && at + CHUNK <= end)) {
        const uint4 words = *reinterpret_cast<const uint4*>(run + at);
        return {words.x, words.y, words.z, words.w};
    }
    const auto bits = [&](uint32_t i) { return i < end ? uint32_t(__bfloat16_as_ushort(run[i])) : 0; };
    Packed eight;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; i += 2) {
        eight.pairs[i / 2] = bits(at + i) | bits(at + i + 1) << 16;
    }
    return eight;
}

// Rounds to bf16, in pairs, since a conversion by itself takes several cycles, and stores what lies before `end`: v as
// it is left, and returned.
template <bool WHOLE>
__device__ __forceinline__ Packed store_eight(bf16* run, uint32_t at, uint32_t end, bool whole, Eight& v) {
    Packed eight;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK; i += 2) {
        eight.pairs[i / 2] = ptx::round_pair(v[i], v[i + 1]);
        v[i] = eight[i];
        v[i + 1] = eight[i + 1];
    }
    if (WHOLE || (whole && at + CHUNK <= end)) {
        const uint32_t(&words)[CHUNK / 2] = eight.pairs;
        *reinterpret_cast<uint4*>(run + at) = make_uint4(words[0], words[1], words[2], words[3]);
    } else {
#pragma unroll
        for (uint32_t i = 0; i < CHUNK; ++i) {
            if (at + i < end) {
                run[at + i] = store<bf16>(v[i]);
            }
        }
    }
    return eight;
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

// Adds E x to the sums of output pixel m, finishes and stores them; they are left as stored, and returned.
template <bool WHOLE>
__device__ __forceinline__ Packed store_forward(const ForwardParams& p, const ForwardColumns& columns, uint32_t m,
                                                Eight& sums) {
    const Extents& e = p.e;
    const uint32_t k = columns.k;
    Packed identity = {}, outer = {};
    if (k < e.identity) {
        // At stride 1 both images have the same pixels.
        const uint32_t pixel = e.stride == 1 ? m : identity_input(unpack_pixel(m, e.p, e.q), e);
        const bf16* run = static_cast<const bf16*>(p.x) + uint64_t(pixel) * e.c;
        identity = load_eight<WHOLE>(run, k, e.identity, columns.whole_identity);
    }
    if (p.outer != nullptr) {
        outer = load_eight<WHOLE>(static_cast<const bf16*>(p.outer) + uint64_t(m) * e.k, k, e.k, columns.whole);
    }
#pragma unroll
    for (uint32_t l = 0; l < CHUNK; ++l) {
        sums[l] = finish_forward(p, sums[l] + identity[l], columns.scale[l], columns.shift[l], outer[l]);
    }
    return store_eight<WHOLE>(static_cast<bf16*>(p.z) + uint64_t(m) * e.k, k, e.k, columns.whole, sums);
}

// -- Data gradient. --

// A pixel of dx, and the pixel of dz that E joins with it, if it does: one off its grid gains nothing from it.
struct DataGradPixel {
    uint32_t x, z;
    bool joined;

    __device__ __forceinline__ DataGradPixel(uint32_t x, uint32_t z, bool joined) : x(x), z(z), joined(joined) {}
    __device__ __forceinline__ DataGradPixel(Pixel x, const Extents& e)
        : DataGradPixel(pack_pixel(x, e.h, e.w), identity_output(x, e), on_identity_grid(x, e)) {}
};

// What is added to eight sums, what lets them pass, and what they are multiplied by. All of it is asked for at once,
// before the first of it is used: each would take longer to come than all the arithmetic.
struct DataGradOperands {
    Packed identity, addend, z[MOST_BRANCHES];
    uint32_t added, passed;  // a bit each
};

// Those of the channels from c on of a pixel.
template <bool WHOLE>
__device__ __forceinline__ DataGradOperands load_data_grad(const DataGradParams& p, const DataGradPixel& pixel,
                                                           uint32_t c) {
    const Extents& e = p.e;
    const bool whole = e.c % CHUNK == 0;
    const uint32_t elements = min(CHUNK, e.c - c);
    const uint64_t at = uint64_t(pixel.x) * e.c;
    DataGradOperands o = {};
    if (c < e.identity && pixel.joined) {
        const bf16* run = static_cast<const bf16*>(p.dz) + uint64_t(pixel.z) * e.k;
        o.identity = load_eight<WHOLE>(run, c, e.identity, e.k % CHUNK == 0);
    }
    if (p.addend != nullptr) {
        o.addend = load_eight<WHOLE>(static_cast<const bf16*>(p.addend) + at, c, e.c, whole);
        o.added = p.mask != nullptr ? load_bits<WHOLE>(p.mask, at + c, elements, whole) : 0xff;
    }
    o.passed = p.relu != nullptr ? load_bits<WHOLE>(p.relu, at + c, elements, whole) : 0xff;
#pragma unroll
    for (uint32_t b = 0; b < MOST_BRANCHES; ++b) {
        if (p.z[b] != nullptr) {
            o.z[b] = load_eight<WHOLE>(static_cast<const bf16*>(p.z[b]) + at, c, e.c, whole);
        }
    }
    return o;
}

// A thread's sums of eight channels: of g, and of g (z - mean) of each branch.
struct ReluSums {
    Eight of[1 + MOST_BRANCHES];
};

// Adds to the sums, masks them by the ReLU, and stores them; what was stored joins the sums of its columns. `means[b]`
// are branch b's of those channels.
template <bool WHOLE>
__device__ __forceinline__ void store_data_grad(const DataGradParams& p, const DataGradPixel& pixel, uint32_t c,
                                                const DataGradOperands& o, const Eight (&means)[MOST_BRANCHES],
                                                Eight& sums, ReluSums& relu_sums) {
    const Extents& e = p.e;
#pragma unroll
    for (uint32_t l = 0; l < CHUNK; ++l) {
        const float dx = sums[l] + o.identity[l] + (o.added >> l & 1 ? o.addend[l] : 0);
        sums[l] = o.passed >> l & 1 ? dx : 0;
    }
    store_eight<WHOLE>(static_cast<bf16*>(p.dx) + uint64_t(pixel.x) * e.c, c, e.c, e.c % CHUNK == 0, sums);
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
#pragma unroll
            for (uint32_t l = 0; l < CHUNK; ++l) {
                relu_sums.of[1 + b][l] += sums[l] * (o.z[b][l] - means[b][l]);
            }
        }
    }
}

}  // namespace conv2d
