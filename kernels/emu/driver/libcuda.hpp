// What the stand-in's files share.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "errors.hpp"

#define EXPORT extern "C" __attribute__((visibility("default"))) Result

constexpr uint32_t SHARED_LIMIT = 227 * 1024, SHARED_DEFAULT = 48 * 1024;

// RIR_STANDIN_<name>.
inline long setting(const char* name, long otherwise) {
    const char* text = std::getenv((std::string("RIR_STANDIN_") + name).c_str());
    return text ? std::strtol(text, nullptr, 10) : otherwise;
}

using Work = std::function<Result()>;

struct Graph {
    std::vector<Work> work;
};
struct Stream {
    std::deque<Work> queue;
    std::unique_ptr<Graph> capturing;
    bool invalidated = false;
};

inline Result sticky = SUCCESS;  // the first error that no later call survives
inline thread_local Stream* capturing = nullptr;
inline std::map<uint64_t, size_t> memory, pinned;
inline std::set<void*> handles;  // streams, events, modules, graphs and executable graphs that live

// A call's turn: threads share the card, one call at a time.
struct Turn {
    static inline std::recursive_mutex one;
    std::lock_guard<std::recursive_mutex> lock{one};
};

// What every call that needs the context asks first.
Result ready();
// What calls ask that may wait for a stream, or change what captured work may use. Asked in vain, they end the capture.
Result unsafe_while_capturing();
// Puts work into a stream, or into the graph that it captures.
Result push(Stream* stream, Work work);

template <typename T>
Result destroy(T* handle) {
    Turn turn;
    if (!handles.erase(handle)) return INVALID_HANDLE;
    delete handle;
    return sticky;
}
