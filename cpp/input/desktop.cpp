#include "input/desktop.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <type_traits>

#include "capture/gdi/handles.hpp"

namespace kvm::input {
namespace {

struct HandleDeleter {
  void operator()(HANDLE handle) const noexcept { CloseHandle(handle); }
};
using Handle = std::unique_ptr<std::remove_pointer_t<HANDLE>, HandleDeleter>;

struct DesktopDeleter {
  void operator()(HDESK desktop) const noexcept { CloseDesktop(desktop); }
};
using DesktopHandle = std::unique_ptr<std::remove_pointer_t<HDESK>, DesktopDeleter>;

// A process's integrity level: 0x2000 medium, 0x3000 high (elevated), 0x4000 system. None when it
// may not be asked.
std::optional<DWORD> integrity(HANDLE process) noexcept {
  HANDLE opened = nullptr;
  if (!OpenProcessToken(process, TOKEN_QUERY, &opened)) return std::nullopt;
  const Handle token(opened);
  alignas(TOKEN_MANDATORY_LABEL)
      std::byte buffer[sizeof(TOKEN_MANDATORY_LABEL) + SECURITY_MAX_SID_SIZE];
  DWORD size = 0;
  if (!GetTokenInformation(token.get(), TokenIntegrityLevel, buffer, sizeof buffer, &size))
    return std::nullopt;
  const PSID sid = reinterpret_cast<const TOKEN_MANDATORY_LABEL*>(buffer)->Label.Sid;
  const UCHAR parts = *GetSidSubAuthorityCount(sid);
  if (parts == 0) return std::nullopt;
  return *GetSidSubAuthority(sid, parts - 1U);
}

class Win32Desktop final : public Desktop {
 public:
  std::size_t send(std::span<const INPUT> events) noexcept override {
    const gdi::DpiAware aware;
    const std::size_t taken = send_here(events);
    if (taken == events.size() || !follow_input_desktop()) return taken;
    return taken + send_here(events.subspan(taken));
  }

  WORD virtual_key(WORD scan) noexcept override {
    const HWND window = GetForegroundWindow();
    const HKL layout = GetKeyboardLayout(
        window != nullptr ? GetWindowThreadProcessId(window, nullptr) : GetCurrentThreadId());
    return static_cast<WORD>(MapVirtualKeyExW(scan, MAPVK_VSC_TO_VK_EX, layout));
  }

  Rect bounds() noexcept override {
    const gdi::DpiAware aware;
    return {GetSystemMetrics(SM_XVIRTUALSCREEN), GetSystemMetrics(SM_YVIRTUALSCREEN),
            GetSystemMetrics(SM_CXVIRTUALSCREEN), GetSystemMetrics(SM_CYVIRTUALSCREEN)};
  }

  bool locked_on(int virtual_key) noexcept override {
    // A thread's own view of the keyboard catches up when it looks at its messages.
    MSG message{};
    PeekMessageW(&message, nullptr, WM_NULL, WM_NULL, PM_NOREMOVE);
    return (GetKeyState(virtual_key) & 1) != 0;
  }

  bool buttons_swapped() noexcept override { return GetSystemMetrics(SM_SWAPBUTTON) != 0; }

  KeyRepeat key_repeat() noexcept override {
    KeyRepeat repeat;
    int delay = 0;
    DWORD speed = 0;
    if (SystemParametersInfoW(SPI_GETKEYBOARDDELAY, 0, &delay, 0))
      repeat.delay = static_cast<unsigned>(std::clamp(delay, 0, 3));
    if (SystemParametersInfoW(SPI_GETKEYBOARDSPEED, 0, &speed, 0))
      repeat.speed = std::min<unsigned>(speed, 31);
    return repeat;
  }

  bool out_of_reach(Aim aim) noexcept override {
    const gdi::DpiAware aware;
    HWND window = nullptr;
    if (aim == Aim::kKeyboard) {
      window = GetForegroundWindow();
    } else {
      POINT at{};
      if (GetCursorPos(&at)) window = WindowFromPoint(at);
    }
    if (window == nullptr) return false;
    DWORD process_id = 0;
    GetWindowThreadProcessId(window, &process_id);
    if (process_id == 0 || process_id == GetCurrentProcessId()) return false;
    if (process_id != asked_process_) {  // the same program mostly: once is enough
      asked_process_ = process_id;
      asked_answer_ = outranks_us(process_id);
    }
    return asked_answer_;
  }

 private:
  static std::size_t send_here(std::span<const INPUT> events) noexcept {
    // SendInput only reads them.
    return SendInput(static_cast<UINT>(events.size()), const_cast<INPUT*>(events.data()),
                     sizeof(INPUT));
  }

  // The lock screen and UAC have a desktop of their own; this thread may go there when it runs as
  // SYSTEM.
  bool follow_input_desktop() noexcept {
    DesktopHandle desktop(OpenInputDesktop(0, FALSE, GENERIC_ALL));
    if (!desktop || !SetThreadDesktop(desktop.get())) return false;
    desktop_ = std::move(desktop);
    return true;
  }

  static bool outranks_us(DWORD process_id) noexcept {
    const auto ours = integrity(GetCurrentProcess());
    const Handle process(OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, process_id));
    if (!process) return GetLastError() == ERROR_ACCESS_DENIED;
    const auto theirs = integrity(process.get());
    if (!theirs) return GetLastError() == ERROR_ACCESS_DENIED;
    return ours && *theirs > *ours;
  }

  DesktopHandle desktop_;
  DWORD asked_process_ = 0;
  bool asked_answer_ = false;
};

}  // namespace

std::unique_ptr<Desktop> make_desktop() {
  return std::make_unique<Win32Desktop>();
}

}  // namespace kvm::input
