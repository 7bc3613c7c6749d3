#include "atomics.hpp"

#include <algorithm>

#include "runtime.hpp"

using rir::emu::Access;

namespace {

// No other thread runs in between, so that a plain read and write will do.
template <typename T, typename F>
T update(T* address, F next, const void* site) {
    rir::emu::touch(address, sizeof(T), Access::Atomic, site);
    const T before = *address;
    *address = next(before);
    return before;
}

}  // namespace

#define RIR_ATOMIC(T, name, result)                                                                  \
    T name(T* address, T value) {                                                                    \
        return update(                                                                               \
            address, [=](T before) { return static_cast<T>(result); }, __builtin_return_address(0)); \
    }
#define RIR_ATOMICS_OF_INTEGER(T)                                                                                \
    RIR_ATOMIC(T, atomicAdd, (static_cast<unsigned long long>(before) + static_cast<unsigned long long>(value))) \
    RIR_ATOMIC(T, atomicSub, (static_cast<unsigned long long>(before) - static_cast<unsigned long long>(value))) \
    RIR_ATOMIC(T, atomicMin, std::min(before, value))                                                            \
    RIR_ATOMIC(T, atomicMax, std::max(before, value))                                                            \
    RIR_ATOMIC(T, atomicAnd, before& value)                                                                      \
    RIR_ATOMIC(T, atomicOr, before | value)                                                                      \
    RIR_ATOMIC(T, atomicXor, before ^ value)                                                                     \
    RIR_ATOMIC(T, atomicExch, (static_cast<void>(before), value))                                                \
    T atomicCAS(T* address, T compare, T value) {                                                                \
        return update(                                                                                           \
            address, [=](T before) { return before == compare ? value : before; }, __builtin_return_address(0)); \
    }

RIR_ATOMICS_OF_INTEGER(int)
RIR_ATOMICS_OF_INTEGER(unsigned)
RIR_ATOMICS_OF_INTEGER(unsigned long long)
RIR_ATOMIC(float, atomicAdd, before + value)
RIR_ATOMIC(float, atomicExch, (static_cast<void>(before), value))
RIR_ATOMIC(double, atomicAdd, before + value)
