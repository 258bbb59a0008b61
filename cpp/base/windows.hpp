// The Windows headers without the macros that break C++.
#pragma once

#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

#include <cstdio>
#include <string>

namespace kvm {

// "what: error 5", for messages.
[[nodiscard]] inline std::string last_error(const char* what) {
  return std::string(what) + ": Windows error " + std::to_string(GetLastError());
}

// "0x887a0026", for messages.
[[nodiscard]] inline std::string hex(HRESULT answer) {
  char code[16];
  std::snprintf(code, sizeof code, "0x%08lx", static_cast<unsigned long>(answer));
  return code;
}

}  // namespace kvm
