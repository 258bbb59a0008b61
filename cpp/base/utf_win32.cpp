#include "base/utf_win32.hpp"

#include <algorithm>
#include <cstddef>

#include "base/windows.hpp"

namespace kvm {

std::wstring to_utf16(std::string_view utf8) {
  const int bytes = static_cast<int>(utf8.size());
  const int size = MultiByteToWideChar(CP_UTF8, 0, utf8.data(), bytes, nullptr, 0);
  std::wstring out(static_cast<std::size_t>(std::max(size, 0)), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, utf8.data(), bytes, out.data(), size);
  return out;
}

std::string to_utf8(std::wstring_view utf16) {
  const int units = static_cast<int>(utf16.size());
  const int size =
      WideCharToMultiByte(CP_UTF8, 0, utf16.data(), units, nullptr, 0, nullptr, nullptr);
  std::string out(static_cast<std::size_t>(std::max(size, 0)), '\0');
  WideCharToMultiByte(CP_UTF8, 0, utf16.data(), units, out.data(), size, nullptr, nullptr);
  return out;
}

}  // namespace kvm
