// wgmma, by the rules of ptx.cuh: a warp group, four warps from a multiple of four on, multiplies [64 x 16] by [16 x
// N], both in shared memory, or the first in registers. All its threads execute the same instructions together; the
// products are done in the background.
#pragma once

#include "ptx_hopper.cuh"

namespace ptx {

// How an operand's 16-byte rows run: along the depth, or across it (along the rows of A, the columns of B).
enum class Major { Depth, Across };

// The bits of a swizzle of lines of so many bytes: 16-byte chunks of shared memory are exchanged, chunk ^= address /
// 128 % (bytes / 16).
enum class Swizzle : uint32_t { None = 0, Bytes128 = 1, Bytes64 = 2, Bytes32 = 3 };

// A matrix descriptor (PTX ISA, "Matrix descriptor"). Lines of a swizzle's width come in groups of eight.
//     Major::Depth: a line is a row, and `stride` the distance of groups of eight rows; `leading` means nothing.
//     Major::Across: a line is a depth, `stride` the distance of groups of eight depths, `leading` that from a
//         swizzle's width of rows to the next.
// A descriptor moves by what is added to its low bits, in 16 bytes.
__device__ __forceinline__ uint64_t matrix_descriptor(const void* at, Swizzle swizzle, uint32_t leading,
                                                      uint32_t stride) {
#if defined(__CUDACC__)
    const uint32_t address = shared_address(at);
#else
    const uint32_t address = rir::emu::shared_address(at);
#endif
    return uint64_t((address & 0x3ffff) >> 4) | uint64_t(leading >> 4) << 16 | uint64_t(stride >> 4) << 32 |
           uint64_t(swizzle) << 62;
}

// wgmma.fence: before the first wgmma, and wherever registers that one uses were touched by anything else.
__device__ __forceinline__ void warpgroup_fence() {
#if defined(__CUDACC__)
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    rir::emu::warpgroup_fence();
#endif
}

// wgmma.commit_group.
__device__ __forceinline__ void warpgroup_commit() {
#if defined(__CUDACC__)
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    rir::emu::warpgroup_commit();
#endif
}

// wgmma.wait_group: until at most GROUPS of the latest groups are under way.
template <int GROUPS>
__device__ __forceinline__ void warpgroup_wait() {
#if defined(__CUDACC__)
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(GROUPS) : "memory");
#else
    rir::emu::warpgroup_wait(GROUPS);
#endif
}

// Keeps the compiler from moving uses of sums across a wait.
template <unsigned COUNT>
__device__ __forceinline__ void warpgroup_keep(float (&sums)[COUNT]) {
#if defined(__CUDACC__)
#pragma unroll
    for (unsigned i = 0; i < COUNT; ++i) {
        asm volatile("" : "+f"(sums[i])::"memory");
    }
#else
    static_cast<void>(sums);
#endif
}

#if defined(__CUDACC__)
#define RIR_NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define RIR_NAMES_1 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define RIR_NAMES_2 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define RIR_NAMES_3 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define RIR_NAMES_4 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"
#define RIR_NAMES_5 ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define RIR_NAMES_6 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"
#define RIR_NAMES_7 ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define RIR_OPEN(...) __VA_ARGS__
#define RIR_SUM(i) "+f"(sums[i])
#define RIR_SUMS_4(i) RIR_SUM(i), RIR_SUM(i + 1), RIR_SUM(i + 2), RIR_SUM(i + 3)
#define RIR_SUMS_16(i) RIR_SUMS_4(i), RIR_SUMS_4(i + 4), RIR_SUMS_4(i + 8), RIR_SUMS_4(i + 12)
// A, B and whether to accumulate are the operands after the sums.
#define RIR_WGMMA(N, NAMES, SUMS, A, B, ACCUMULATE, A_ACROSS, B_ACROSS)                  \
    asm volatile(                                                                        \
        "{\n"                                                                            \
        ".reg .pred accumulate;\n"                                                       \
        "setp.ne.b32 accumulate, " ACCUMULATE                                            \
        ", 0;\n"                                                                         \
        "wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 {" NAMES "}, " A ", " B \
        ", accumulate, 1, 1, " A_ACROSS ", " B_ACROSS                                    \
        ";\n"                                                                            \
        "}"                                                                              \
        : RIR_OPEN SUMS                                                                  \
        : "l"(a), "l"(b), "r"(int(accumulate)), "n"(A_MAJOR == Major::Across), "n"(B_MAJOR == Major::Across))
#define RIR_WGMMA_REGISTERS(N, NAMES, SUMS, A, B, ACCUMULATE, B_ACROSS)                    \
    asm volatile(                                                                          \
        "{\n"                                                                              \
        ".reg .pred accumulate;\n"                                                         \
        "setp.ne.b32 accumulate, " ACCUMULATE                                              \
        ", 0;\n"                                                                           \
        "wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 {" NAMES "}, {" A "}, " B \
        ", accumulate, 1, 1, " B_ACROSS                                                    \
        ";\n"                                                                              \
        "}"                                                                                \
        : RIR_OPEN SUMS                                                                    \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int(accumulate)), "n"(B_MAJOR == Major::Across))
#endif

// wgmma.mma_async.m64nNk16: sums (+)= a b, of bf16 in f32; without `accumulate` what they held does not count. Warp i
// of the group has rows 16 i to 16 i + 15; its sums 4 j to 4 j + 3 are those of an mma.m16n8k16 (ptx.cuh) of columns 8
// j on.
template <Major A_MAJOR, Major B_MAJOR, unsigned SUMS>
__device__ __forceinline__ void multiply_warpgroup(float (&sums)[SUMS], uint64_t a, uint64_t b, bool accumulate) {
    constexpr unsigned N = 2 * SUMS;
#if defined(__CUDACC__)
    static_assert(N == 32 || N == 64 || N == 96 || N == 128 || N == 192 || N == 256, "add its operands below");
    if constexpr (N == 32) {
        RIR_WGMMA("32", RIR_NAMES_0, (RIR_SUMS_16(0)), "%16", "%17", "%18", "%19", "%20");
    } else if constexpr (N == 64) {
        RIR_WGMMA("64", RIR_NAMES_0 RIR_NAMES_1, (RIR_SUMS_16(0), RIR_SUMS_16(16)), "%32", "%33", "%34", "%35", "%36");
    } else if constexpr (N == 96) {
        RIR_WGMMA("96", RIR_NAMES_0 RIR_NAMES_1 RIR_NAMES_2, (RIR_SUMS_16(0), RIR_SUMS_16(16), RIR_SUMS_16(32)), "%48",
                  "%49", "%50", "%51", "%52");
    } else if constexpr (N == 128) {
        RIR_WGMMA("128", RIR_NAMES_0 RIR_NAMES_1 RIR_NAMES_2 RIR_NAMES_3,
                  (RIR_SUMS_16(0), RIR_SUMS_16(16), RIR_SUMS_16(32), RIR_SUMS_16(48)), "%64", "%65", "%66", "%67",
                  "%68");
    } else if constexpr (N == 192) {
        RIR_WGMMA("192", RIR_NAMES_0 RIR_NAMES_1 RIR_NAMES_2 RIR_NAMES_3 RIR_NAMES_4 RIR_NAMES_5,
                  (RIR_SUMS_16(0), RIR_SUMS_16(16), RIR_SUMS_16(32), RIR_SUMS_16(48), RIR_SUMS_16(64), RIR_SUMS_16(80)),
                  "%96", "%97", "%98", "%99", "%100");
    } else if constexpr (N == 256) {
        RIR_WGMMA("256",
                  RIR_NAMES_0 RIR_NAMES_1 RIR_NAMES_2 RIR_NAMES_3 RIR_NAMES_4 RIR_NAMES_5 RIR_NAMES_6 RIR_NAMES_7,
                  (RIR_SUMS_16(0), RIR_SUMS_16(16), RIR_SUMS_16(32), RIR_SUMS_16(48), RIR_SUMS_16(64), RIR_SUMS_16(80),
                   RIR_SUMS_16(96), RIR_SUMS_16(112)),
                  "%128", "%129", "%130", "%131", "%132");
    }
#else
    rir::emu::multiply_warpgroup(sums, N, a, A_MAJOR == Major::Across, b, B_MAJOR == Major::Across, accumulate);
#endif
}

// The same with A in registers, which nobody may touch until a wait: warp i has its rows 16 i to 16 i + 15, as those of
// an mma.m16n8k16's a.
template <Major B_MAJOR, unsigned SUMS>
__device__ __forceinline__ void multiply_warpgroup_registers(float (&sums)[SUMS], const uint32_t (&a)[4], uint64_t b,
                                                             bool accumulate) {
    constexpr unsigned N = 2 * SUMS;
#if defined(__CUDACC__)
    static_assert(N == 64 || N == 96 || N == 192, "add its operands below");
    if constexpr (N == 64) {
        RIR_WGMMA_REGISTERS("64", RIR_NAMES_0 RIR_NAMES_1, (RIR_SUMS_16(0), RIR_SUMS_16(16)), "%32, %33, %34, %35",
                            "%36", "%37", "%38");
    } else if constexpr (N == 96) {
        RIR_WGMMA_REGISTERS("96", RIR_NAMES_0 RIR_NAMES_1 RIR_NAMES_2,
                            (RIR_SUMS_16(0), RIR_SUMS_16(16), RIR_SUMS_16(32)), "%48, %49, %50, %51", "%52", "%53",
                            "%54");
    } else if constexpr (N == 192) {
        RIR_WGMMA_REGISTERS(
            "192", RIR_NAMES_0 RIR_NAMES_1 RIR_NAMES_2 RIR_NAMES_3 RIR_NAMES_4 RIR_NAMES_5,
            (RIR_SUMS_16(0), RIR_SUMS_16(16), RIR_SUMS_16(32), RIR_SUMS_16(48), RIR_SUMS_16(64), RIR_SUMS_16(80)),
            "%96, %97, %98, %99", "%100", "%101", "%102");
    }
#else
    rir::emu::multiply_warpgroup_registers(sums, N, a, b, B_MAJOR == Major::Across, accumulate);
#endif
}

#if defined(__CUDACC__)
#undef RIR_WGMMA_REGISTERS
#undef RIR_WGMMA
#undef RIR_SUMS_16
#undef RIR_SUMS_4
#undef RIR_SUM
#undef RIR_OPEN
#undef RIR_NAMES_0
#undef RIR_NAMES_1
#undef RIR_NAMES_2
#undef RIR_NAMES_3
#undef RIR_NAMES_4
#undef RIR_NAMES_5
#undef RIR_NAMES_6
#undef RIR_NAMES_7
#endif

}  // namespace ptx
