// Modules, functions, and launches.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "emu/emu.h"
#include "libcuda.hpp"

namespace {

struct Module {};
struct Function {
    const RirEmuKernel kernel;
    uint32_t dynamic_shared = SHARED_DEFAULT;
};

std::map<std::string, std::unique_ptr<Function>> functions;
long launches = 0;
int marked = 0;  // launches that were asked for as programmatic

Result run(const RirEmuKernel& kernel, RirEmuLaunch launch, const std::vector<unsigned char>& params) {
    launches++;
    if (const char* fail = std::getenv("RIR_STANDIN_FAIL")) {
        char* colon = nullptr;
        if (std::strtol(fail, &colon, 10) == launches) return Result(std::strtol(colon + 1, nullptr, 10));
    }
    std::vector<RirEmuTensor> tensors;
    for (const auto* blocks : {&memory, &pinned}) {
        for (auto [address, bytes] : *blocks) tensors.push_back({address, bytes, 1, 0});
    }
    launch.kernel = kernel.name;
    launch.params = params.data();
    launch.params_bytes = params.size();
    launch.tensors = tensors.data();
    launch.tensor_count = tensors.size();
    launch.seed = uint64_t(launches);
    launch.shared_limit = SHARED_LIMIT;
    char message[1024] = "";
    uint64_t site = 0;
    RirEmuCounters counters = {};
    if (rir_emu_launch(&launch, &counters, message, sizeof message, &site) == 0) return SUCCESS;
    std::fprintf(stderr, "stand-in driver: %s\n", message);
    return ILLEGAL_ADDRESS;
}

}  // namespace

EXPORT cuModuleLoadData(Module** module, const void* image) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    const char* text = static_cast<const char*>(image);
    if (std::memcmp(text,
                    "\x7f"
                    "ELF",
                    4) != 0 &&
        !std::strstr(text, ".version"))
        return INVALID_IMAGE;
    *module = new Module;
    handles.insert(*module);
    return SUCCESS;
}
EXPORT cuModuleUnload(Module* module) { return destroy(module); }
EXPORT cuModuleGetFunction(Function** function, Module* module, const char* name) {
    Turn turn;
    if (Result r = ready()) return r;
    if (!handles.count(module)) return INVALID_HANDLE;
    for (size_t i = 0; const RirEmuKernel* kernel = rir_emu_kernel(i); i++) {
        if (std::strcmp(kernel->name, name) != 0) continue;
        auto& known = functions[name];
        if (!known) known.reset(new Function{*kernel});
        *function = known.get();
        return SUCCESS;
    }
    return NOT_FOUND;
}
EXPORT cuFuncGetParamInfo(Function* function, size_t index, size_t* offset, size_t* bytes) {
    Turn turn;
    if (Result r = ready()) return r;
    if (index != 0) return INVALID_VALUE;
    *offset = 0;
    *bytes = function->kernel.params_bytes;
    return SUCCESS;
}
EXPORT cuFuncSetAttribute(Function* function, int attribute, int value) {
    Turn turn;
    if (Result r = ready()) return r;
    if (attribute != 8 || value < 0 || uint32_t(value) > SHARED_LIMIT) return INVALID_VALUE;
    function->dynamic_shared = uint32_t(value);
    return SUCCESS;
}
// As cuda.h lays them out.
struct LaunchAttribute {
    unsigned id;
    char pad[4];
    union {
        char pad[64];
        int programmatic_stream_serialization_allowed;
    } value;
};
struct LaunchConfig {
    unsigned grid[3], block[3], shared;
    Stream* stream;
    LaunchAttribute* attributes;
    unsigned attribute_count;
};
static_assert(sizeof(LaunchAttribute) == 72 && sizeof(LaunchConfig) == 56);

namespace {

// What the attributes of a launch ask for.
Result read_attributes(const LaunchConfig& config, bool& programmatic) {
    constexpr unsigned IGNORE = 0, PROGRAMMATIC_STREAM_SERIALIZATION = 6;
    if (config.attribute_count > 0 && config.attributes == nullptr) return INVALID_VALUE;
    programmatic = false;
    bool seen = false;
    for (unsigned i = 0; i < config.attribute_count; ++i) {
        const LaunchAttribute& attribute = config.attributes[i];
        if (attribute.id == IGNORE) continue;
        if (attribute.id != PROGRAMMATIC_STREAM_SERIALIZATION || seen) return INVALID_VALUE;
        seen = true;
        programmatic = attribute.value.programmatic_stream_serialization_allowed != 0;
    }
    // The manual: from compute capability 9.0 on, and in graphs since release 12.3.
    if (programmatic && setting("CAPABILITY", 90) < 90) return NOT_SUPPORTED;
    if (programmatic && capturing == config.stream && setting("DRIVER", 13000) < 12030) {
        capturing->invalidated = true;
        return CAPTURE_UNSUPPORTED;
    }
    return SUCCESS;
}

}  // namespace

EXPORT cuLaunchKernelEx(const LaunchConfig* config, Function* function, void** params, void** extra) {
    Turn turn;
    if (Result r = ready()) return r;
    const auto [gx, gy, gz] = config->grid;
    const auto [bx, by, bz] = config->block;
    if (gx == 0 || gy == 0 || gz == 0 || gx > 0x7fffffff || gy > 65535 || gz > 65535) return INVALID_VALUE;
    uint64_t threads = uint64_t(bx) * by * bz;
    if (threads == 0 || threads > function->kernel.max_threads || bz > 64) return INVALID_VALUE;
    if (config->shared > function->dynamic_shared || extra != nullptr) return INVALID_VALUE;
    bool programmatic = false;
    if (Result r = read_attributes(*config, programmatic)) return r;
    const auto* first = static_cast<const unsigned char*>(params[0]);
    std::vector<unsigned char> copied(first, first + function->kernel.params_bytes);
    RirEmuLaunch launch = {};
    std::copy_n(config->grid, 3, launch.grid);
    std::copy_n(config->block, 3, launch.block);
    launch.dynamic_shared = config->shared;
    launch.programmatic = programmatic;
    marked += programmatic;
    return push(config->stream, [function, launch, copied] { return run(function->kernel, launch, copied); });
}

// For tests: launches so far that were allowed to begin before the one before had ended.
EXPORT standin_programmatic_launches() {
    Turn turn;
    return marked;
}
