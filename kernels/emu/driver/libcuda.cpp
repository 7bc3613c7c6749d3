// A stand-in for NVIDIA's libcuda, so that what calls the driver is tested without a card: as much of the driver API as
// rir calls, with the kernels run by the emulator.
//
// It follows the manual where the manual leaves a choice, and takes the choice that is worst for the caller. Queued
// work is done as late as allowed: when somebody waits for it. An asynchronous copy from pageable memory is read that
// late too. What may not be done while a stream captures is refused. What was not given back when the context is
// released ends the process. An error that is sticky is the answer to every later call.
//
// Events tell this machine's time, of when their work was done. Launches run one after the other, those too that may
// overlap: the emulator holds such kernels to waiting for each other.
//
// Environment: RIR_STANDIN_DEVICES, _CAPABILITY (90), _DRIVER (13000), _MEMORY and _L2 (bytes), _MULTIPROCESSORS (132),
// _INIT and _BUSY (what cuInit and the making of a context answer), _FAIL=N:CODE (what the Nth kernel answers).
#include "libcuda.hpp"

#include <chrono>
#include <cstdio>
#include <cstring>

namespace {

constexpr int THREAD_LOCAL = 1;  // the capture that only its own thread's calls may end

struct Event {
    Stream* stream = nullptr;
    bool done = true;
    bool timed = true;
    bool recorded = false;
    std::chrono::steady_clock::time_point when;
};

bool initialised = false;
int retained = 0;
thread_local bool current = false;
size_t used = 0;

}  // namespace

Result ready() {
    if (!initialised) return NOT_INITIALIZED;
    if (sticky) return sticky;
    return current && retained > 0 ? SUCCESS : INVALID_CONTEXT;
}

Result unsafe_while_capturing() {
    if (Result r = ready()) return r;
    if (!capturing) return SUCCESS;
    capturing->invalidated = true;
    return CAPTURE_UNSUPPORTED;
}

Result push(Stream* stream, Work work) {
    Turn turn;
    if (Result r = ready()) return r;
    if (!handles.count(stream)) return INVALID_HANDLE;  // among them the legacy stream, which nothing here may use
    if (stream->capturing) {
        stream->capturing->work.push_back(std::move(work));
    } else {
        stream->queue.push_back(std::move(work));
    }
    return SUCCESS;
}

namespace {

// Works until `event` is done, or to the end.
Result drain(Stream* stream, const Event* event = nullptr) {
    while (!sticky && !stream->queue.empty() && !(event && event->done)) {
        Work work = std::move(stream->queue.front());
        stream->queue.pop_front();
        if (Result r = work()) sticky = r;
    }
    return sticky;
}

bool inside(const std::map<uint64_t, size_t>& blocks, uint64_t address, size_t bytes) {
    auto after = blocks.upper_bound(address);
    if (after == blocks.begin()) return false;
    auto [start, length] = *std::prev(after);
    return address - start <= length && bytes <= length - (address - start);
}

// Touching what is not the device's ends as it does there.
Result copy(void* to, const void* from, size_t bytes, uint64_t device) {
    if (!inside(memory, device, bytes)) return ILLEGAL_ADDRESS;
    std::memcpy(to, from, bytes);
    return SUCCESS;
}

}  // namespace

EXPORT cuInit(unsigned) {
    Turn turn;
    if (Result r = Result(setting("INIT", SUCCESS))) return r;
    if (setting("DEVICES", 1) == 0) return NO_DEVICE;
    initialised = true;
    return SUCCESS;
}
EXPORT cuDriverGetVersion(int* version) {
    *version = int(setting("DRIVER", 13000));
    return SUCCESS;
}
EXPORT cuGetErrorName(Result code, const char** name) {
    for (const auto& error : ERRORS) {
        if (error.code == code) return *name = error.name, SUCCESS;
    }
    return *name = nullptr, INVALID_VALUE;
}
EXPORT cuGetErrorString(Result code, const char** words) {
    for (const auto& error : ERRORS) {
        if (error.code == code) return *words = error.words, SUCCESS;
    }
    return *words = nullptr, INVALID_VALUE;
}

EXPORT cuDeviceGetCount(int* count) {
    if (!initialised) return NOT_INITIALIZED;
    *count = int(setting("DEVICES", 1));
    return SUCCESS;
}
EXPORT cuDeviceGet(int* device, int ordinal) {
    if (!initialised) return NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= setting("DEVICES", 1)) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}
EXPORT cuDeviceGetName(char* name, int bytes, int device) {
    std::snprintf(name, size_t(bytes), "Stand-in %d", device);
    return SUCCESS;
}
EXPORT cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = size_t(setting("MEMORY", 1 << 28));
    return SUCCESS;
}
EXPORT cuDeviceGetAttribute(int* value, int attribute, int) {
    const long capability = setting("CAPABILITY", 90);
    const std::map<int, long> known = {
        {13, 1980000},                          // clock in kHz
        {16, setting("MULTIPROCESSORS", 132)},  // on the card
        {36, 2619000},                          // clock of the memory in kHz
        {38, setting("L2", 50 << 20)},          // bytes of the L2 cache
        {75, capability / 10},                  // of "9.0", the 9
        {76, capability % 10},                  // and the 0
        {97, SHARED_LIMIT},                     // bytes of shared memory that a block may ask for
        {115, 0},                               // whether there are memory pools
    };
    auto found = known.find(attribute);
    if (found == known.end()) return INVALID_VALUE;
    *value = int(found->second);
    return SUCCESS;
}

EXPORT cuDevicePrimaryCtxRetain(void** context, int device) {
    Turn turn;
    if (!initialised) return NOT_INITIALIZED;
    if (Result r = Result(setting("BUSY", SUCCESS))) return r;
    retained++;
    *context = reinterpret_cast<void*>(intptr_t(device + 1));
    return SUCCESS;
}
EXPORT cuDevicePrimaryCtxRelease_v2(int) {
    Turn turn;
    if (--retained > 0 || sticky) return sticky;
    if (memory.empty() && pinned.empty() && handles.empty()) return SUCCESS;
    std::fprintf(stderr, "stand-in driver: not given back: %zu blocks of memory, %zu pinned, %zu handles\n",
                 memory.size(), pinned.size(), handles.size());
    std::_Exit(77);
}
EXPORT cuCtxGetCurrent(void** context) {
    *context = current ? reinterpret_cast<void*>(intptr_t(1)) : nullptr;
    return initialised ? SUCCESS : NOT_INITIALIZED;
}
EXPORT cuCtxSetCurrent(void* context) {
    current = context != nullptr;
    return initialised ? SUCCESS : NOT_INITIALIZED;
}

EXPORT cuMemGetInfo_v2(size_t* free, size_t* total) {
    Turn turn;
    if (Result r = ready()) return r;
    *total = size_t(setting("MEMORY", 1 << 28));
    *free = *total - used;
    return SUCCESS;
}
EXPORT cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    if (bytes == 0) return INVALID_VALUE;
    if (bytes > size_t(setting("MEMORY", 1 << 28)) - used) return OUT_OF_MEMORY;
    void* block = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!block) return OUT_OF_MEMORY;
    std::memset(block, 0xcd, bytes);
    *address = reinterpret_cast<uint64_t>(block);
    memory[*address] = bytes;
    used += bytes;
    return SUCCESS;
}
EXPORT cuMemFree_v2(uint64_t address) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    auto block = memory.find(address);
    if (block == memory.end()) return INVALID_VALUE;
    used -= block->second;
    std::free(reinterpret_cast<void*>(address));
    memory.erase(block);
    return SUCCESS;
}
EXPORT cuMemHostAlloc(void** address, size_t bytes, unsigned) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    *address = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*address) return OUT_OF_MEMORY;
    std::memset(*address, 0xcd, bytes);
    pinned[reinterpret_cast<uint64_t>(*address)] = bytes;
    return SUCCESS;
}
EXPORT cuMemFreeHost(void* address) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    if (!pinned.erase(reinterpret_cast<uint64_t>(address))) return INVALID_VALUE;
    std::free(address);
    return SUCCESS;
}
EXPORT cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, Stream* stream) {
    return push(stream, [=]() -> Result {
        if (!inside(memory, to, bytes)) return ILLEGAL_ADDRESS;
        std::memset(reinterpret_cast<void*>(to), value, bytes);
        return SUCCESS;
    });
}
EXPORT cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* stream) {
    return push(stream, [=] { return copy(reinterpret_cast<void*>(to), from, bytes, to); });
}
EXPORT cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, Stream* stream) {
    return push(stream, [=]() -> Result {
        if (!inside(memory, to, bytes)) return ILLEGAL_ADDRESS;
        return copy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes, from);
    });
}
EXPORT cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* stream) {
    return push(stream, [=] { return copy(to, reinterpret_cast<void*>(from), bytes, from); });
}

EXPORT cuStreamCreate(Stream** stream, unsigned) {
    Turn turn;
    if (Result r = ready()) return r;
    *stream = new Stream;
    handles.insert(*stream);
    return SUCCESS;
}
EXPORT cuStreamDestroy_v2(Stream* stream) { return destroy(stream); }
EXPORT cuStreamSynchronize(Stream* stream) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    return drain(stream);
}
EXPORT cuStreamQuery(Stream* stream) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    return stream->queue.empty() ? SUCCESS : NOT_READY;
}
EXPORT cuStreamIsCapturing(Stream* stream, int* status) {
    Turn turn;
    *status = !stream->capturing ? 0 : stream->invalidated ? 2 : 1;
    return ready();
}
EXPORT cuStreamBeginCapture_v2(Stream* stream, int mode) {
    Turn turn;
    if (Result r = ready()) return r;
    if (!handles.count(stream)) return CAPTURE_UNSUPPORTED;
    if (capturing || mode != THREAD_LOCAL) return INVALID_VALUE;
    capturing = stream;
    stream->capturing = std::make_unique<Graph>();
    stream->invalidated = false;
    return SUCCESS;
}
EXPORT cuStreamEndCapture(Stream* stream, Graph** graph) {
    Turn turn;
    *graph = nullptr;
    if (Result r = ready()) return r;
    if (capturing != stream) return INVALID_VALUE;
    capturing = nullptr;
    auto captured = std::move(stream->capturing);
    if (stream->invalidated) return CAPTURE_INVALIDATED;
    *graph = captured.release();
    handles.insert(*graph);
    return SUCCESS;
}

EXPORT cuGraphInstantiateWithFlags(Graph** exec, Graph* graph, unsigned long long flags) {
    Turn turn;
    if (Result r = ready()) return r;
    if (!handles.count(graph)) return INVALID_HANDLE;
    if (flags != 0) return INVALID_VALUE;
    *exec = new Graph(*graph);
    handles.insert(*exec);
    return SUCCESS;
}
EXPORT cuGraphUpload(Graph* exec, Stream* stream) {
    Turn turn;
    if (Result r = ready()) return r;
    return handles.count(exec) && handles.count(stream) ? SUCCESS : INVALID_HANDLE;
}
EXPORT cuGraphLaunch(Graph* exec, Stream* stream) {
    Turn turn;
    if (!handles.count(exec)) return INVALID_HANDLE;
    return push(stream, [exec]() -> Result {
        if (!handles.count(exec)) return ILLEGAL_ADDRESS;  // destroyed while it was queued
        for (const Work& work : exec->work) {
            if (Result r = work()) return r;
        }
        return SUCCESS;
    });
}
EXPORT cuGraphExecDestroy(Graph* exec) { return destroy(exec); }
EXPORT cuGraphDestroy(Graph* graph) { return destroy(graph); }

EXPORT cuEventCreate(Event** event, unsigned flags) {
    Turn turn;
    if (Result r = ready()) return r;
    *event = new Event;
    (*event)->timed = (flags & 2) == 0;
    handles.insert(*event);
    return SUCCESS;
}
EXPORT cuEventDestroy_v2(Event* event) { return destroy(event); }
EXPORT cuEventRecord(Event* event, Stream* stream) {
    Turn turn;
    if (!handles.count(event)) return INVALID_HANDLE;
    event->stream = stream;
    event->done = false;
    event->recorded = true;
    return push(stream, [event]() -> Result {
        event->done = true;
        event->when = std::chrono::steady_clock::now();
        return SUCCESS;
    });
}
// A clock that ticks every half microsecond, as the manual says of a card's.
EXPORT cuEventElapsedTime_v2(float* milliseconds, Event* start, Event* end) {
    Turn turn;
    if (Result r = ready()) return r;
    if (!handles.count(start) || !handles.count(end)) return INVALID_HANDLE;
    if (!start->timed || !end->timed || !start->recorded || !end->recorded) return INVALID_HANDLE;
    if (!start->done || !end->done) return NOT_READY;
    using Tick = std::chrono::duration<long long, std::ratio<1, 2000000>>;
    *milliseconds = float(std::chrono::duration_cast<Tick>(end->when - start->when).count()) / 2000.0f;
    return SUCCESS;
}
EXPORT cuEventSynchronize(Event* event) {
    Turn turn;
    if (Result r = unsafe_while_capturing()) return r;
    if (!event->done) drain(event->stream, event);
    return sticky;
}
