// The Windows headers without the macros that break C++.
#pragma once

#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include <string>

namespace kvm {

// "what: error 5", for messages.
[[nodiscard]] inline std::string last_error(const char* what) {
  return std::string(what) + ": Windows error " + std::to_string(GetLastError());
}

}  // namespace kvm
