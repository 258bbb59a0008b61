// Paths come as UTF-8, which Windows would take for the user's code page.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kvm {

[[nodiscard]] inline std::filesystem::path utf8_path(std::string_view text) {
  return {std::u8string(text.begin(), text.end())};
}

}  // namespace kvm
