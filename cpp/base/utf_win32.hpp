// Between the UTF-8 of this project and the UTF-16 of Windows.
#pragma once

#include <string>
#include <string_view>

namespace kvm {

// What is no valid text becomes U+FFFD.
[[nodiscard]] std::wstring to_utf16(std::string_view utf8);
[[nodiscard]] std::string to_utf8(std::wstring_view utf16);

}  // namespace kvm
