// The shortcut without parameters: subsampled where strided, zero-padded in channels; and its transpose.
//
//     y[n, p, q, to + i] = x[n, p * stride, q * stride, from + i]   for i < copied, else 0
//     dx[n, p * stride, q * stride, from + i] = dy[n, p, q, to + i] for i < copied, else 0
//
// Tiles: none; one thread takes every grid_threads()-th element of what is written. Shared memory: none.
// Index maths: place_of and element_at of layout.cuh.
// Invariant: every element of the output is written once, zeros included.

#include "layout.cuh"

constexpr uint32_t THREADS = 256;

struct ShortcutParams {
    const void* read;       // forward: x [N H W C]; backward: dy [N P Q K]
    void* written;          // forward: y [N P Q K]; backward: dx [N H W C]
    uint64_t elements;      // of what is written
    uint32_t height;        // H
    uint32_t width;         // W
    uint32_t channels;      // C
    uint32_t out_height;    // P = ceil(H / stride)
    uint32_t out_width;     // Q = ceil(W / stride)
    uint32_t out_channels;  // K
    uint32_t stride;
    uint32_t copied;  // channels that are copied
    uint32_t from;    // the first of them in x
    uint32_t to;      // the first of them in y
};

template <typename T>
__device__ void shortcut(const ShortcutParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        Place at = place_of(i, p.out_height, p.out_width, p.out_channels);
        T value = store<T>(0.0f);
        if (at.channel >= p.to && at.channel < p.to + p.copied) {
            at = {at.image, at.row * p.stride, at.column * p.stride, at.channel - p.to + p.from};
            value = static_cast<const T*>(p.read)[element_at(at, p.height, p.width, p.channels)];
        }
        static_cast<T*>(p.written)[i] = value;
    }
}
RIR_KERNEL(shortcut_f32, ShortcutParams, THREADS, shortcut<float>)
RIR_KERNEL(shortcut_bf16, ShortcutParams, THREADS, shortcut<bf16>)

template <typename T>
__device__ void shortcut_backward(const ShortcutParams& p) {
    for (uint64_t i = grid_thread(); i < p.elements; i += grid_threads()) {
        Place at = place_of(i, p.height, p.width, p.channels);
        T value = store<T>(0.0f);
        const bool is_copied = at.channel >= p.from && at.channel < p.from + p.copied;
        if (is_copied && at.row % p.stride == 0 && at.column % p.stride == 0) {
            at = {at.image, at.row / p.stride, at.column / p.stride, at.channel - p.from + p.to};
            value = static_cast<const T*>(p.read)[element_at(at, p.out_height, p.out_width, p.out_channels)];
        }
        static_cast<T*>(p.written)[i] = value;
    }
}
RIR_KERNEL(shortcut_backward_f32, ShortcutParams, THREADS, shortcut_backward<float>)
RIR_KERNEL(shortcut_backward_bf16, ShortcutParams, THREADS, shortcut_backward<bf16>)
