// A window in front that remembers what input it got.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/windows.hpp"
#include "capture/gdi/handles.hpp"
#include "frame/geometry.hpp"

namespace kvm::test {

struct Message {
  UINT kind;
  WPARAM wide;
  LPARAM low;

  [[nodiscard]] unsigned scan() const noexcept { return low >> 16 & 0xff; }
  [[nodiscard]] bool extended() const noexcept { return (low & 1 << 24) != 0; }
  [[nodiscard]] bool was_down() const noexcept { return (low & 1 << 30) != 0; }
  [[nodiscard]] int x() const noexcept { return static_cast<short>(LOWORD(low)); }
  [[nodiscard]] int y() const noexcept { return static_cast<short>(HIWORD(low)); }
  [[nodiscard]] bool goes_down() const noexcept {
    return kind == WM_KEYDOWN || kind == WM_SYSKEYDOWN;
  }
  [[nodiscard]] bool goes_up() const noexcept { return kind == WM_KEYUP || kind == WM_SYSKEYUP; }
};

// Lives on a thread of its own, which handles its messages.
class Recorder {
 public:
  explicit Recorder(const Rect& at) : at_(at) {
    std::promise<HWND> made;
    auto result = made.get_future();
    thread_ = std::thread([this, promise = std::move(made)]() mutable { run(promise); });
    handle_ = result.get();
    if (handle_ == nullptr) {
      thread_.join();
      throw std::runtime_error(last_error("no window"));
    }
    // The X server gives it the keyboard in its own time.
    for (int i = 0; i < 200 && GetForegroundWindow() != handle_; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (GetForegroundWindow() != handle_) {
      PostMessageW(handle_, WM_CLOSE, 0, 0);
      thread_.join();
      throw std::runtime_error("the window did not come to the front within 4 s");
    }
  }
  ~Recorder() {
    PostMessageW(handle_, WM_CLOSE, 0, 0);
    thread_.join();
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // What came since the last call, once `enough` says so or `patience` has gone.
  std::vector<Message> take(const std::function<bool(const std::vector<Message>&)>& enough,
                            std::chrono::seconds patience = std::chrono::seconds(5)) {
    std::unique_lock lock(mutex_);
    came_.wait_for(lock, patience, [&] { return enough(messages_); });
    return std::exchange(messages_, {});
  }
  std::vector<Message> take(std::size_t count) {
    return take([count](const auto& messages) { return messages.size() >= count; });
  }
  // What came within so long.
  std::vector<Message> take_after(std::chrono::milliseconds time) {
    std::this_thread::sleep_for(time);
    return take(0);
  }
  [[nodiscard]] HWND handle() const noexcept { return handle_; }

 private:
  static LRESULT CALLBACK on_message(HWND window, UINT message, WPARAM wide, LPARAM low) {
    auto* self = reinterpret_cast<Recorder*>(GetWindowLongPtrW(window, GWLP_USERDATA));
    switch (message) {
      case WM_KEYDOWN:
      case WM_KEYUP:
      case WM_SYSKEYDOWN:
      case WM_SYSKEYUP:
      case WM_CHAR:
      case WM_MOUSEMOVE:
      case WM_MOUSEWHEEL:
      case WM_MOUSEHWHEEL:
      case WM_LBUTTONDOWN:
      case WM_LBUTTONUP:
      case WM_RBUTTONDOWN:
      case WM_RBUTTONUP:
      case WM_MBUTTONDOWN:
      case WM_MBUTTONUP:
      case WM_XBUTTONDOWN:
      case WM_XBUTTONUP: {
        const std::lock_guard lock(self->mutex_);
        self->messages_.push_back({message, wide, low});
        self->came_.notify_all();
        return 0;  // DefWindowProc would open menus and close windows
      }
      case WM_SYSCHAR:
      case WM_SYSCOMMAND:
        return 0;
      case WM_DESTROY:
        PostQuitMessage(0);
        return 0;
      default:
        return DefWindowProcW(window, message, wide, low);
    }
  }

  void run(std::promise<HWND>& made) {
    const gdi::DpiAware aware;
    WNDCLASSEXW type{};
    type.cbSize = sizeof type;
    type.lpfnWndProc = DefWindowProcW;  // until the window knows its object
    type.hInstance = GetModuleHandleW(nullptr);
    type.lpszClassName = L"kvmstream recorder";
    RegisterClassExW(&type);  // fails when it is registered already
    const HWND window =
        CreateWindowExW(WS_EX_TOPMOST | WS_EX_TOOLWINDOW, type.lpszClassName, L"", WS_POPUP, at_.x,
                        at_.y, at_.width, at_.height, nullptr, nullptr, type.hInstance, nullptr);
    if (window != nullptr) {
      SetWindowLongPtrW(window, GWLP_USERDATA, reinterpret_cast<LONG_PTR>(this));
      SetWindowLongPtrW(window, GWLP_WNDPROC, reinterpret_cast<LONG_PTR>(&on_message));
      ShowWindow(window, SW_SHOW);
      SetForegroundWindow(window);
      SetFocus(window);
      UpdateWindow(window);
    }
    made.set_value(window);
    if (window == nullptr) return;
    MSG message{};
    while (GetMessageW(&message, nullptr, 0, 0) > 0) {
      TranslateMessage(&message);
      DispatchMessageW(&message);
    }
  }

  Rect at_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::vector<Message> messages_;  // under mutex_
  HWND handle_ = nullptr;
  std::thread thread_;
};

}  // namespace kvm::test
