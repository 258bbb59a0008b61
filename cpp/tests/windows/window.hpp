// A window without a frame that shows known pixels.
#pragma once

#include <cstdint>
#include <future>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/windows.hpp"
#include "capture/gdi/handles.hpp"
#include "frame/geometry.hpp"

namespace kvm::test {

// 0xRRGGBB, different for neighbours.
[[nodiscard]] inline std::uint32_t pixel_at(int x, int y, unsigned seed) noexcept {
  std::uint32_t hash = static_cast<std::uint32_t>(x) * 0x9E3779B1U ^
                       static_cast<std::uint32_t>(y) * 0x85EBCA77U ^ seed * 0xC2B2AE3DU;
  hash ^= hash >> 15;
  return (hash * 0x2C1B3C6DU >> 7) & 0xffffffU;
}

// Lives on a thread of its own, which handles its messages.
class Window {
 public:
  Window(const Rect& at, unsigned seed) : at_(at), pixels_(pattern(at, seed)) {
    std::promise<HWND> made;
    auto result = made.get_future();
    thread_ = std::thread([this, promise = std::move(made)]() mutable { run(promise); });
    handle_ = result.get();
    if (handle_ == nullptr) {
      thread_.join();
      throw std::runtime_error(last_error("no window"));
    }
  }
  ~Window() {
    PostMessageW(handle_, WM_CLOSE, 0, 0);
    thread_.join();
  }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  // Wine knows the cursor of the window in front alone, Windows that of the window under the
  // pointer.
  void come_to_front() { SendMessageW(handle_, kComeToFront, 0, 0); }

  void move(int x, int y) {
    SetWindowPos(handle_, HWND_TOPMOST, x, y, 0, 0, SWP_NOSIZE | SWP_NOACTIVATE);
  }

 private:
  static constexpr UINT kComeToFront = WM_APP;

  static std::vector<std::uint32_t> pattern(const Rect& at, unsigned seed) {
    std::vector<std::uint32_t> pixels;
    for (int y = 0; y < at.height; ++y) {
      for (int x = 0; x < at.width; ++x) pixels.push_back(pixel_at(x, y, seed));
    }
    return pixels;
  }

  static LRESULT CALLBACK on_message(HWND window, UINT message, WPARAM wide, LPARAM low) {
    if (message == WM_PAINT) {
      reinterpret_cast<Window*>(GetWindowLongPtrW(window, GWLP_USERDATA))->paint(window);
      return 0;
    }
    if (message == kComeToFront) {  // both want the thread that owns the window
      SetForegroundWindow(window);
      SetCursor(LoadCursorW(nullptr, IDC_ARROW));
      return 0;
    }
    if (message == WM_DESTROY) PostQuitMessage(0);
    return DefWindowProcW(window, message, wide, low);
  }

  void paint(HWND window) const {
    PAINTSTRUCT paint{};
    const HDC dc = BeginPaint(window, &paint);
    const BITMAPINFO info = gdi::bgra_rows(at_.width, at_.height);
    SetDIBitsToDevice(dc, 0, 0, static_cast<DWORD>(at_.width), static_cast<DWORD>(at_.height), 0, 0,
                      0, static_cast<UINT>(at_.height), pixels_.data(), &info, DIB_RGB_COLORS);
    EndPaint(window, &paint);
  }

  void run(std::promise<HWND>& made) {
    WNDCLASSEXW type{};
    type.cbSize = sizeof type;
    type.lpfnWndProc = DefWindowProcW;  // until the window knows its object
    type.hInstance = GetModuleHandleW(nullptr);
    type.hCursor = LoadCursorW(nullptr, IDC_ARROW);
    type.lpszClassName = L"kvmstream test";
    RegisterClassExW(&type);  // fails when it is registered already
    const HWND window = CreateWindowExW(WS_EX_TOPMOST | WS_EX_TOOLWINDOW | WS_EX_NOACTIVATE,
                                        type.lpszClassName, L"", WS_POPUP, at_.x, at_.y, at_.width,
                                        at_.height, nullptr, nullptr, type.hInstance, nullptr);
    if (window != nullptr) {
      SetWindowLongPtrW(window, GWLP_USERDATA, reinterpret_cast<LONG_PTR>(this));
      SetWindowLongPtrW(window, GWLP_WNDPROC, reinterpret_cast<LONG_PTR>(&on_message));
      ShowWindow(window, SW_SHOWNOACTIVATE);
      UpdateWindow(window);
    }
    made.set_value(window);
    if (window == nullptr) return;
    MSG message{};
    while (GetMessageW(&message, nullptr, 0, 0) > 0) DispatchMessageW(&message);
  }

  Rect at_;
  std::vector<std::uint32_t> pixels_;
  HWND handle_ = nullptr;
  std::thread thread_;
};

}  // namespace kvm::test
