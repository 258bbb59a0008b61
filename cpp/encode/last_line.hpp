// What a child process said last.
#pragma once

#include <string>

namespace kvm {

// Without its end, of whatever system.
[[nodiscard]] inline std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  const std::size_t newline = text.rfind('\n');
  return newline == std::string::npos ? text : text.substr(newline + 1);
}

}  // namespace kvm
