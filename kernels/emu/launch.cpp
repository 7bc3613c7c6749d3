// The border with Rust, and the kernels of this build.
#include <deque>
#include <exception>
#include <string_view>

#include "machine.hpp"

namespace rir::emu {
namespace {

// A function's variable, since registrations run before main in no order.
std::deque<Kernel>& kernels() {
    static std::deque<Kernel> all;
    return all;
}

const Kernel* find(std::string_view name) {
    for (const Kernel& kernel : kernels()) {
        if (kernel.name == name) return &kernel;
    }
    return nullptr;
}

}  // namespace

Registration::Registration(const Kernel& kernel) { kernels().push_back(kernel); }

}  // namespace rir::emu

using namespace rir::emu;

extern "C" const RirEmuKernel* rir_emu_kernel(size_t index) {
    static const std::deque<RirEmuKernel> all = [] {
        std::deque<RirEmuKernel> all;
        for (const Kernel& kernel : kernels()) all.push_back({kernel.name, kernel.params_bytes, kernel.max_threads});
        return all;
    }();
    return index < all.size() ? &all[index] : nullptr;
}

extern "C" int rir_emu_launch(const RirEmuLaunch* launch, RirEmuCounters* counters, char* message, size_t message_bytes,
                              uint64_t* site) {
    try {
        return Machine::here().run(*launch, find(launch->kernel), counters, message, message_bytes, site);
    } catch (const std::exception& error) {
        if (message && message_bytes > 0) {
            std::snprintf(message, message_bytes, "kernel %s: the emulator failed: %s", launch->kernel, error.what());
        }
        if (site) *site = 0;
        return 1;
    }
}
