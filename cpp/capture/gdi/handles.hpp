// GDI's objects with ownership, and the shape of pictures.
#pragma once

#include <memory>
#include <type_traits>

#include "base/windows.hpp"

namespace kvm::gdi {

struct ScreenDcDeleter {
  void operator()(HDC dc) const noexcept { ReleaseDC(nullptr, dc); }
};
struct MemoryDcDeleter {
  void operator()(HDC dc) const noexcept { DeleteDC(dc); }
};
struct BitmapDeleter {
  void operator()(HBITMAP bitmap) const noexcept { DeleteObject(bitmap); }
};
using ScreenDc = std::unique_ptr<std::remove_pointer_t<HDC>, ScreenDcDeleter>;
using MemoryDc = std::unique_ptr<std::remove_pointer_t<HDC>, MemoryDcDeleter>;
using Bitmap = std::unique_ptr<std::remove_pointer_t<HBITMAP>, BitmapDeleter>;

// 32 bits a pixel, top row first.
[[nodiscard]] inline BITMAPINFO bgra_rows(int width, int height) noexcept {
  BITMAPINFO info{};
  info.bmiHeader.biSize = sizeof info.bmiHeader;
  info.bmiHeader.biWidth = width;
  info.bmiHeader.biHeight = -height;  // negative: top row first
  info.bmiHeader.biPlanes = 1;
  info.bmiHeader.biBitCount = 32;
  info.bmiHeader.biCompression = BI_RGB;
  return info;
}

// Physical pixels of each monitor on this thread while it lives, whatever the process was declared
// for. One ends before another on the same thread begins, or inside of it.
class DpiAware {
 public:
  using SetContext = DPI_AWARENESS_CONTEXT(WINAPI*)(DPI_AWARENESS_CONTEXT);

  explicit DpiAware(SetContext set = SetThreadDpiAwarenessContext) noexcept : set_(set) {
    before_ = set_(DPI_AWARENESS_CONTEXT_PER_MONITOR_AWARE_V2);
    // Windows 10 before 1703.
    if (before_ == nullptr) before_ = set_(DPI_AWARENESS_CONTEXT_PER_MONITOR_AWARE);
  }
  ~DpiAware() {
    if (before_ != nullptr) set_(before_);
  }
  DpiAware(const DpiAware&) = delete;
  DpiAware& operator=(const DpiAware&) = delete;

 private:
  SetContext set_;
  DPI_AWARENESS_CONTEXT before_;
};

}  // namespace kvm::gdi
