// The index maths of convolution as named functions: which pixel a tap reads, how a flat index unpacks, which elements
// of a tile a thread owns, and where a tile's element lies in shared memory.
//
// All of it is integer arithmetic without memory, so it compiles for the host as well: tests/index.cpp proves it by
// brute force.
//
//     z[n, p, q, k] = sum over r, s, c of x[n, p*stride + r - pad, q*stride + s - pad, c] w[k, r, s, c]
//
//     x  N H W C    images, height, width, channels
//     w  K R S C    filters, filter height, filter width, channels
//     z  N P Q K    images, output height, output width, filters
//
// Rows and columns obey the same rule, so most functions treat one dimension: (H, R, P) or (W, S, Q).
#pragma once

#include <cstdint>

#include "../host.cuh"

namespace conv2d {

// Whether a computed position is one of `extent`: a negative one turns into a large unsigned number.
__host__ __device__ constexpr bool inside(int32_t at, uint32_t extent) { return uint32_t(at) < extent; }

// The input position that output position `p` reads through filter position `r`; in the padding it is not `inside`.
__host__ __device__ constexpr int32_t input_of(uint32_t p, uint32_t r, uint32_t stride, uint32_t pad) {
    return int32_t(p * stride + r) - int32_t(pad);
}

// The inverse: the output position that reads input position `h` through filter position `r`, or -1 where none of
// `outputs` does.
__host__ __device__ constexpr int32_t output_of(uint32_t h, uint32_t r, uint32_t stride, uint32_t pad,
                                                uint32_t outputs) {
    const uint32_t reach = h + pad;
    if (reach < r || (reach - r) % stride != 0 || (reach - r) / stride >= outputs) {
        return -1;
    }
    return int32_t((reach - r) / stride);
}

// Target positions of one dimension that share their taps, and the source position of each (position, tap).
//
// Forward, source = input, target = output: one line holds every position. Data gradient, source = output, target =
// input: `h` is reached through `r` only where stride divides h + pad - r, so each of the `stride` residues of h is a
// line with taps of its own, and no product is computed in vain.
struct Line {
    uint32_t positions;               // of the target in this line
    uint32_t first, step;             // position i is target first + i * step
    uint32_t taps;                    // that may hit
    uint32_t tap_first, tap_step;     // tap j is filter position tap_first + j * tap_step
    int32_t scale, shift, direction;  // position i reads source i * scale + shift + j * direction through tap j

    __host__ __device__ constexpr uint32_t target(uint32_t i) const { return first + i * step; }
    __host__ __device__ constexpr uint32_t filter(uint32_t j) const { return tap_first + j * tap_step; }
    // Where the taps of position i begin ...
    __host__ __device__ constexpr int32_t origin(uint32_t i) const { return int32_t(i) * scale + shift; }
    // ... and what tap j reads from there.
    __host__ __device__ constexpr int32_t source(int32_t origin, uint32_t j) const {
        return origin + int32_t(j) * direction;
    }
};

__host__ __device__ constexpr uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

__host__ __device__ constexpr Line forward_line(uint32_t outputs, uint32_t filter, uint32_t stride, uint32_t pad) {
    return {outputs, 0, 1, filter, 0, 1, int32_t(stride), -int32_t(pad), 1};
}

// The line of the inputs `residue, residue + stride, ...`. With h = residue + i * stride and r = tap_first + j *
// stride, where tap_first = (residue + pad) % stride: p = (h + pad - r) / stride = i + (residue + pad) / stride - j.
__host__ __device__ constexpr Line gradient_line(uint32_t residue, uint32_t inputs, uint32_t filter, uint32_t stride,
                                                 uint32_t pad) {
    const uint32_t reach = residue + pad;
    const uint32_t tap_first = reach % stride;
    return {residue < inputs ? ceil_div(inputs - residue, stride) : 0,
            residue,
            stride,
            tap_first < filter ? ceil_div(filter - tap_first, stride) : 0,
            tap_first,
            stride,
            1,
            int32_t(reach / stride),
            -1};
}

// A pixel of a batch of images.
struct Pixel {
    uint32_t image, y, x;
};

// Row `index` of the matrix whose rows are the pixels of all images, in memory order; and its inverse.
__host__ __device__ constexpr Pixel unpack_pixel(uint32_t index, uint32_t height, uint32_t width) {
    const uint32_t row = index / width;
    return {row / height, row % height, index % width};
}
__host__ __device__ constexpr uint32_t pack_pixel(Pixel pixel, uint32_t height, uint32_t width) {
    return (pixel.image * height + pixel.y) * width + pixel.x;
}

// Moves `count` pixels on, one row of the image at a time.
__host__ __device__ constexpr void advance_pixel(Pixel& pixel, uint32_t count, uint32_t height, uint32_t width) {
    pixel.x += count;
    while (pixel.x >= width) {
        pixel.x -= width;
        if (++pixel.y == height) {
            pixel.y = 0;
            ++pixel.image;
        }
    }
}

// An element of a filter.
struct Tap {
    uint32_t r, s, c;
};

// Column `index` of the matrix whose columns are a filter's elements, in memory order R S C; and its inverse.
__host__ __device__ constexpr Tap unpack_tap(uint32_t index, uint32_t filter_width, uint32_t channels) {
    const uint32_t position = index / channels;
    return {position / filter_width, position % filter_width, index % channels};
}
__host__ __device__ constexpr uint32_t pack_tap(Tap tap, uint32_t filter_width, uint32_t channels) {
    return (tap.r * filter_width + tap.s) * channels + tap.c;
}

// -- Tiles: a block multiplies [TILE_ROWS x depth] by [depth x COLUMNS], TILE_DEPTH of the depth at a time. --

constexpr uint32_t TILE_ROWS = 128;
constexpr uint32_t TILE_DEPTH = 16;
// Neighbours that move together: 16 bytes of f32, 8 of bf16.
constexpr uint32_t QUAD = 4;
constexpr uint32_t DEPTH_QUADS = TILE_DEPTH / QUAD;

// A warp owns 64 x 32 sums, a thread 8 x 8 of them: two quads of rows, 32 apart, times two quads of columns, 16 apart.
constexpr uint32_t WARP_ROWS = 64;
constexpr uint32_t WARP_COLUMNS = 32;
constexpr uint32_t THREAD_ROWS = 8;
constexpr uint32_t THREAD_COLUMNS = 8;
constexpr uint32_t WARPS_OF_ROWS = TILE_ROWS / WARP_ROWS;
static_assert(WARP_ROWS * WARP_COLUMNS == 32 * THREAD_ROWS * THREAD_COLUMNS, "every sum of a warp has one thread");

__host__ __device__ constexpr uint32_t tile_threads(uint32_t columns) {
    return WARPS_OF_ROWS * (columns / WARP_COLUMNS) * 32;
}

// A warp's lanes as 8 x 4. Bit 0 of the lane counts columns and bits 1 to 3 rows, so that among any eight neighbours
// each row quad is read twice and each column quad four times: such reads are merged.
__host__ __device__ constexpr uint32_t lane_row(uint32_t lane) { return lane / 2 % 8; }
__host__ __device__ constexpr uint32_t lane_column(uint32_t lane) { return lane % 2 + lane / 16 * 2; }
// Lanes of equal columns differ in the bits from the first to the last of these alone.
constexpr uint32_t FIRST_LANE_ROW_BIT = 2;
constexpr uint32_t LAST_LANE_ROW_BIT = 8;

// The tile's row of the thread's sum i of 8, and the tile's column of its sum j of 8.
__host__ __device__ constexpr uint32_t tile_row(uint32_t thread, uint32_t i) {
    return thread / 32 % WARPS_OF_ROWS * WARP_ROWS + i / QUAD * (WARP_ROWS / 2) + lane_row(thread % 32) * QUAD +
           i % QUAD;
}
__host__ __device__ constexpr uint32_t tile_column(uint32_t thread, uint32_t j) {
    return thread / 32 / WARPS_OF_ROWS * WARP_COLUMNS + j / QUAD * (WARP_COLUMNS / 2) +
           lane_column(thread % 32) * QUAD + j % QUAD;
}

// Where element `at` of depth `depth` lies in its line of shared memory.
//
// A tile lies depth by depth, since the sums read quads of rows (or columns) of one depth. Where the depth is what is
// contiguous in global memory, four neighbouring lanes load 16 depths of one row and the next lanes the next rows: a
// warp then writes depths d, d + 4, d + 8, d + 12 of eight rows, which would be the same 8 banks four times. Moving
// each quad of depths by 8 banks makes them 32. Groups of 8 elements stay together, so quads stay quads.
__host__ __device__ constexpr uint32_t swizzled(uint32_t depth, uint32_t at) {
    return at ^ (depth / QUAD % DEPTH_QUADS * 8);
}

}  // namespace conv2d
