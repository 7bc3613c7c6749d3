// Convolution and its gradients, to be read first: one thread an output element, no shared memory.
//
//     z [n, p, q, k] = sum over r, s, c of x[n, p*stride + r - pad, q*stride + s - pad, c] w[k, r, s, c]  (+ E x)
//     dx[n, h, w, c] = sum over r, s, k of dz[n, p, q, k] w[k, r, s, c] for the (p, q) that read (h, w)   (+ E^T dz)
//                      (+ the same of a projection's dzp and wp)
//     dw[k, r, s, c] = sum over n, p, q of dz[n, p, q, k] x[n, p*stride + r - pad, q*stride + s - pad, c]
//
// E is the identity of ResNet Init: its 1s lie where channel k = c < `identity` meets itself at (p*stride, q*stride).
//
// Grid: blocks of 256 threads over the flat index of the output, innermost extent first, so that a warp's neighbours
// write neighbours. Invariants: every sum runs in the order of its formula, in f32; a tap in the padding is skipped.
#include "../rir.cuh"
#include "epilogue.cuh"
#include "index.cuh"
#include "params.cuh"

namespace conv2d {

constexpr int NAIVE_THREADS = 256;

template <typename T>
__device__ void naive_forward(const ForwardParams& p) {
    const Extents& e = p.e;
    const T* x = static_cast<const T*>(p.x);
    const T* w = static_cast<const T*>(p.w);
    const uint64_t at = grid_thread();
    if (at >= uint64_t(e.n) * e.p * e.q * e.k) {
        return;
    }
    const uint32_t k = uint32_t(at % e.k);
    const uint32_t row = uint32_t(at / e.k);
    const Pixel pixel = unpack_pixel(row, e.p, e.q);
    float sum = 0;
    for (uint32_t r = 0; r < e.r; ++r) {
        const int32_t y = input_of(pixel.y, r, e.stride, e.pad);
        for (uint32_t s = 0; s < e.s; ++s) {
            const int32_t column = input_of(pixel.x, s, e.stride, e.pad);
            if (!inside(y, e.h) || !inside(column, e.w)) {
                continue;
            }
            const uint32_t source = pack_pixel({pixel.image, uint32_t(y), uint32_t(column)}, e.h, e.w);
            const T* x_run = x + uint64_t(source) * e.c;
            const T* w_run = w + ((uint64_t(k) * e.r + r) * e.s + s) * e.c;
            for (uint32_t c = 0; c < e.c; ++c) {
                sum += load(x_run[c]) * load(w_run[c]);
            }
        }
    }
    if (k < e.identity) {
        sum += load(x[uint64_t(identity_input(pixel, e)) * e.c + k]);
    }
    const float scale = p.scale_shift != nullptr ? p.scale_shift[k] : 1;
    const float shift = p.scale_shift != nullptr ? p.scale_shift[e.k + k] : 0;
    const float outer = p.outer != nullptr ? load(static_cast<const T*>(p.outer)[at]) : 0;
    static_cast<T*>(p.z)[at] = store<T>(finish_forward(p, sum, scale, shift, outer));
}

template <typename T>
__device__ void naive_data_grad(const DataGradParams& p) {
    const Extents& e = p.e;
    const uint64_t at = grid_thread();
    if (at >= uint64_t(e.n) * e.h * e.w * e.c) {
        return;
    }
    const uint32_t c = uint32_t(at % e.c);
    const Pixel pixel = unpack_pixel(uint32_t(at / e.c), e.h, e.w);
    float sum = 0;
    for (uint32_t i = 0; i < convolutions(p); ++i) {
        const T* dz = static_cast<const T*>(convolution(p, i).dz);
        const T* w = static_cast<const T*>(convolution(p, i).w);
        for (uint32_t r = 0; r < e.r; ++r) {
            const int32_t y = output_of(pixel.y, r, e.stride, e.pad, e.p);
            for (uint32_t s = 0; s < e.s; ++s) {
                const int32_t column = output_of(pixel.x, s, e.stride, e.pad, e.q);
                if (y < 0 || column < 0) {
                    continue;
                }
                const uint32_t source = pack_pixel({pixel.image, uint32_t(y), uint32_t(column)}, e.p, e.q);
                for (uint32_t k = 0; k < e.k; ++k) {
                    const float d = load(dz[uint64_t(source) * e.k + k]);
                    sum += d * load(w[((uint64_t(k) * e.r + r) * e.s + s) * e.c + c]);
                }
            }
        }
    }
    if (c < e.identity && on_identity_grid(pixel, e)) {
        sum += load(static_cast<const T*>(p.dz)[uint64_t(identity_output(pixel, e)) * e.k + c]);
    }
    if (adds(p, at)) {
        sum += load(static_cast<const T*>(p.addend)[at]);
    }
    static_cast<T*>(p.dx)[at] = store<T>(passes(p, at) ? sum : 0.0f);
}

template <typename T>
__device__ void naive_weight_grad(const WeightGradParams& p) {
    const Extents& e = p.e;
    const T* x = static_cast<const T*>(p.x);
    const T* dz = static_cast<const T*>(p.dz);
    const uint64_t at = grid_thread();
    const uint32_t columns = e.r * e.s * e.c;
    if (at >= uint64_t(e.k) * columns) {
        return;
    }
    const uint32_t k = uint32_t(at / columns);
    const Tap tap = unpack_tap(uint32_t(at % columns), e.s, e.c);
    float sum = 0;
    for (uint32_t image = 0; image < e.n; ++image) {
        for (uint32_t row = 0; row < e.p; ++row) {
            const int32_t y = input_of(row, tap.r, e.stride, e.pad);
            for (uint32_t column = 0; column < e.q; ++column) {
                const int32_t from = input_of(column, tap.s, e.stride, e.pad);
                if (!inside(y, e.h) || !inside(from, e.w)) {
                    continue;
                }
                const uint32_t source = pack_pixel({image, uint32_t(y), uint32_t(from)}, e.h, e.w);
                const uint32_t target = pack_pixel({image, row, column}, e.p, e.q);
                sum += load(dz[uint64_t(target) * e.k + k]) * load(x[uint64_t(source) * e.c + tap.c]);
            }
        }
    }
    p.dw[at] = sum;
}

RIR_KERNEL(conv2d_naive_f32, ForwardParams, NAIVE_THREADS, naive_forward<float>)
RIR_KERNEL(conv2d_naive_bf16, ForwardParams, NAIVE_THREADS, naive_forward<bf16>)
RIR_KERNEL(conv2d_data_grad_naive_f32, DataGradParams, NAIVE_THREADS, naive_data_grad<float>)
RIR_KERNEL(conv2d_data_grad_naive_bf16, DataGradParams, NAIVE_THREADS, naive_data_grad<bf16>)
RIR_KERNEL(conv2d_weight_grad_naive_f32, WeightGradParams, NAIVE_THREADS, naive_weight_grad<float>)
RIR_KERNEL(conv2d_weight_grad_naive_bf16, WeightGradParams, NAIVE_THREADS, naive_weight_grad<bf16>)

}  // namespace conv2d
