// CUDA C++ for the host's compiler: what kernels include in place of nvcc's language. README.md says what is emulated.
#pragma once

#include <type_traits>

#include "atomics.hpp"
#include "bf16.hpp"
#include "builtins.hpp"
#include "runtime.hpp"
#include "vectors.hpp"
#include "warp.hpp"

// nvcc makes a function of the exported name, so that no other C function may have it, nor the kernel's own function;
// its declaration here, and an entry of C linkage, make the same errors of both.
#define RIR_EXPORT(begin, name, Params, max_threads, cluster, ...) \
    extern "C" void name(Params);                                  \
    extern "C" void rir_kernel_##name(const void* params) {        \
        begin;                                                     \
        __VA_ARGS__(*static_cast<const Params*>(params));          \
    }                                                              \
    static const ::rir::emu::Registration rir_registration_##name( \
        {#name, sizeof(Params), max_threads, cluster, ::rir::emu::INSTRUMENTED, rir_kernel_##name});
#define RIR_KERNEL(name, Params, max_threads, ...) \
    RIR_EXPORT(::ptx::begin_launch(), name, Params, max_threads, 1, __VA_ARGS__)
#define RIR_KERNEL_ALONE RIR_KERNEL
#define RIR_KERNEL_CLUSTER(name, Params, max_threads, cluster, ...) \
    RIR_EXPORT(::ptx::let_next_launch_begin(), name, Params, max_threads, cluster, __VA_ARGS__)
#define RIR_KERNEL_RING(name, Params, max_threads, ...) RIR_KERNEL_CLUSTER(name, Params, max_threads, 1, __VA_ARGS__)
// For tests alone: a kernel that waits for the launches before it by itself, or not.
#define RIR_KERNEL_BARE(name, Params, max_threads, ...) RIR_EXPORT(, name, Params, max_threads, 1, __VA_ARGS__)

// The tag is one variable for each expansion (and each instance of a template around it).
#define RIR_SHARED(Storage, name)      \
    static char rir_shared_tag_##name; \
    Storage& name =                    \
        *static_cast<Storage*>(::rir::emu::static_shared(&rir_shared_tag_##name, sizeof(Storage), alignof(Storage)))
#define RIR_SHARED_DYNAMIC(Storage, name) Storage& name = *static_cast<Storage*>(::rir::emu::dynamic_shared())

// A linker takes from a static library only the files that something refers to; a file whose kernels register
// themselves is referred to by its anchor.
#if defined(RIR_FAMILY)
#define RIR_ANCHOR_NAME(family) rir_family_##family
#define RIR_ANCHOR(family) \
    extern "C" void RIR_ANCHOR_NAME(family)() {}
RIR_ANCHOR(RIR_FAMILY)
#endif
