// What another program finds of a GPU under Wine, for as long as this lives. Windows heeds none of
// it.
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "base/windows.hpp"

namespace kvm::test {

class WineGpu {
 public:
  // None at all, which is quick: without it each DXGI factory costs Wine a context of OpenGL, and
  // QuickSync's dispatcher makes more than a hundred.
  [[nodiscard]] static WineGpu none(const wchar_t* program) {
    WineGpu gpu(program);
    constexpr wchar_t kNone[] = L"no3d";
    gpu.set(L"renderer", REG_SZ, kNone, sizeof kNone);
    return gpu;
  }
  // That of a PCI device which Wine knows.
  [[nodiscard]] static WineGpu of(const wchar_t* program, DWORD vendor, DWORD device) {
    WineGpu gpu(program);
    gpu.set(L"VideoPciVendorID", REG_DWORD, &vendor, sizeof vendor);
    gpu.set(L"VideoPciDeviceID", REG_DWORD, &device, sizeof device);
    return gpu;
  }
  WineGpu(WineGpu&& other) noexcept : key_(std::move(other.key_)) { other.key_.clear(); }
  WineGpu& operator=(WineGpu&&) = delete;
  ~WineGpu() {
    if (!key_.empty()) RegDeleteTreeW(HKEY_CURRENT_USER, key_.c_str());
  }

 private:
  explicit WineGpu(const wchar_t* program)
      : key_(std::wstring(L"Software\\Wine\\AppDefaults\\") + program) {}
  void set(const wchar_t* name, DWORD type, const void* value, DWORD size) {
    REQUIRE(RegSetKeyValueW(HKEY_CURRENT_USER, (key_ + L"\\Direct3D").c_str(), name, type, value,
                            size) == ERROR_SUCCESS);
  }
  std::wstring key_;
};

}  // namespace kvm::test
