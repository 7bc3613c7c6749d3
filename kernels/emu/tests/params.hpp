// What every test kernel takes; each uses what it needs.
#pragma once

#include <cstdint>

struct TestParams {
    const float* x;
    float* y;
    unsigned* counts;
    uint64_t elements;
};
