// What the stand-in's files share.
#pragma once

#include "errors.hpp"

#define EXPORT extern "C" __attribute__((visibility("default"))) Result

// What every call that needs the context asks first.
Result ready();
