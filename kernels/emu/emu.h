// The emulator's border with Rust: plain C.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A tensor that a launch may touch. Any access outside of the launch's tensors, or a write to one that is only read, is
// a fault.
struct RirEmuTensor {
    uint64_t address;
    uint64_t bytes;
    uint32_t writable;
    uint32_t padding;
};

struct RirEmuLaunch {
    const char* kernel;
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t dynamic_shared;
    uint32_t shared_limit;  // bytes of shared memory that a block may have, static and dynamic together
    const void* params;
    size_t params_bytes;
    const struct RirEmuTensor* tensors;
    size_t tensor_count;
    uint64_t seed;          // of the order of blocks and threads
    uint32_t counters;      // nonzero: count traffic, which is slower
    uint32_t programmatic;  // nonzero: the launch before may still be under way when this one begins
};

// What a launch moved; bank conflicts and coalescing by warp-wide access.
struct RirEmuCounters {
    uint64_t global_read_bytes, global_written_bytes;      // asked for by threads
    uint64_t global_read_sectors, global_written_sectors;  // 32-byte sectors moved, after coalescing in a warp
    uint64_t global_accesses;                              // warp-wide accesses
    uint64_t shared_read_bytes, shared_written_bytes;
    uint64_t shared_accesses;  // warp-wide accesses
    uint64_t shared_cycles;    // 4-byte-bank passes they take; equal to the accesses' least where nothing conflicts
    uint64_t shared_least_cycles;
    uint64_t barriers;
    uint64_t matrix_instructions;   // warp-wide mma
    uint64_t bulk_read_bytes;       // that bulk copies read from global memory, once for all blocks that they go to
    uint64_t bulk_arrived_bytes;    // that they brought to shared memory, zeros outside of tensors included
    uint64_t bulk_written_bytes;    // that bulk stores wrote to global memory
    uint64_t warpgroup_products;    // wgmma
    uint64_t warpgroup_read_bytes;  // of shared memory, by them
    uint64_t warpgroup_flops;       // two for every product of two numbers
};

// Runs a launch to its end on the calling thread. Returns 0, or 1 with a sentence in `message` (cut to `message_bytes`,
// always terminated) that names kernel, block, thread and what it did; `site`, where not 0, is the address of the code
// that did it, for the caller to resolve to a source line. Different threads may run launches at the same time.
int rir_emu_launch(const struct RirEmuLaunch* launch, struct RirEmuCounters* counters, char* message,
                   size_t message_bytes, uint64_t* site);

// The kernels of this build, by index: name, bytes of parameters, and most threads of a block. Null past the end.
struct RirEmuKernel {
    const char* name;
    size_t params_bytes;
    uint32_t max_threads;
};
const struct RirEmuKernel* rir_emu_kernel(size_t index);

// A tensor map as cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col are asked for it; dimensions innermost first.
struct RirEmuTensorMap {
    uint64_t address;
    uint64_t dims[5];     // elements
    uint64_t strides[4];  // bytes, of the dimensions after the innermost
    uint32_t rank;
    uint32_t element_bytes;       // 2: bf16, 4: f32
    uint32_t element_strides[5];  // traversal strides
    uint32_t swizzle;             // 0: none, 1: 32 bytes, 2: 64, 3: 128
    uint32_t im2col;              // nonzero: of the second kind
    uint32_t box[5];              // tiled: elements
    int32_t lower[3], upper[3];   // im2col: corners of the bounding box, of the spatial dimensions, innermost first
    uint32_t channels, pixels;    // im2col: channels a pixel, pixels a column
};
// Writes the emulator's 128 bytes of such a map. Returns 0, or 1 with a sentence on which rule of the two functions is
// broken.
int rir_emu_encode_map(const struct RirEmuTensorMap* asked, void* map, char* message, size_t message_bytes);

#ifdef __cplusplus
}
#endif
