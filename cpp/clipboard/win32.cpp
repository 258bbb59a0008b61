#include "clipboard/win32.hpp"

#include <algorithm>
#include <cstring>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

#include "base/error.hpp"
#include "base/thread_name.hpp"
#include "base/utf_win32.hpp"
#include "base/windows.hpp"

namespace kvm {
namespace {

constexpr UINT kAsked = WM_APP;  // write() has something
constexpr UINT kEnd = WM_APP + 1;
constexpr UINT_PTR kTimer = 1;
constexpr UINT kLingerMs = 20;  // a program that copies often announces itself twice
constexpr int kAttempts = 100;  // 2 s: another program holds the clipboard while it fills it
constexpr wchar_t kClass[] = L"kvmstream clipboard";

struct MemoryDeleter {
  void operator()(HGLOBAL memory) const noexcept { GlobalFree(memory); }
};
using Memory = std::unique_ptr<std::remove_pointer_t<HGLOBAL>, MemoryDeleter>;

class Lock {
 public:
  explicit Lock(HGLOBAL memory) noexcept : memory_(memory), data_(GlobalLock(memory)) {}
  ~Lock() {
    if (data_ != nullptr) GlobalUnlock(memory_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  [[nodiscard]] void* data() const noexcept { return data_; }

 private:
  HGLOBAL memory_;
  void* data_;
};

class Opened {
 public:
  explicit Opened(HWND window) noexcept : opened_(OpenClipboard(window) != FALSE) {}
  ~Opened() {
    if (opened_) CloseClipboard();
  }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  explicit operator bool() const noexcept { return opened_; }

 private:
  bool opened_;
};

Memory memory_of(const std::wstring& text) {
  const std::size_t bytes = (text.size() + 1) * sizeof(wchar_t);
  Memory memory(GlobalAlloc(GMEM_MOVEABLE, bytes));
  if (!memory) return memory;
  const Lock lock(memory.get());
  if (lock.data() == nullptr) return nullptr;
  std::memcpy(lock.data(), text.c_str(), bytes);
  return memory;
}

// Another program made it: it may lack its end.
std::wstring_view text_in(const Lock& lock, std::size_t bytes) {
  const auto* text = static_cast<const wchar_t*>(lock.data());
  const std::size_t most = bytes / sizeof(wchar_t);
  return {text, static_cast<std::size_t>(std::find(text, text + most, L'\0') - text)};
}

}  // namespace

std::wstring to_clipboard(std::string_view utf8) {
  std::string lines;
  lines.reserve(utf8.size());
  char before = 0;
  for (const char c : utf8) {
    if (c == '\n' && before != '\r') lines.push_back('\r');
    lines.push_back(c);
    before = c;
  }
  return to_utf16(lines);
}

std::string from_clipboard(std::wstring_view text) {
  std::string out = to_utf8(text);
  std::size_t to = 0;
  for (std::size_t from = 0; from < out.size(); ++from) {
    const bool line_end = out[from] == '\r' && from + 1 < out.size() && out[from + 1] == '\n';
    if (!line_end) out[to++] = out[from];
  }
  out.resize(to);
  return out;
}

// All but ask() belongs to the thread that it starts.
class Clipboard::Listener {
 public:
  Listener(OnText on_text, OnProblem on_problem)
      : on_text_(std::move(on_text)), on_problem_(std::move(on_problem)) {
    std::promise<Outcome> started;
    auto outcome = started.get_future();
    thread_ = std::thread([this, promise = std::move(started)]() mutable { run(promise); });
    if (const Outcome failure = outcome.get()) {
      thread_.join();
      throw Error(*failure);
    }
  }
  ~Listener() {
    PostMessageW(window_, kEnd, 0, 0);
    thread_.join();
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Any thread. A text that waits gives way to a newer one.
  void ask(std::string text) {
    {
      const std::lock_guard lock(mutex_);
      asked_ = std::move(text);
    }
    PostMessageW(window_, kAsked, 0, 0);
  }

 private:
  static LRESULT CALLBACK on_message(HWND window, UINT message, WPARAM wide, LPARAM low) {
    auto* self = reinterpret_cast<Listener*>(GetWindowLongPtrW(window, GWLP_USERDATA));
    switch (message) {
      case WM_CLIPBOARDUPDATE:
        self->read_attempts_ = kAttempts;
        SetTimer(window, kTimer, kLingerMs, nullptr);
        return 0;
      case kAsked:
        self->write_attempts_ = kAttempts;
        self->work();
        return 0;
      case WM_TIMER:
        self->work();
        return 0;
      case kEnd:
        self->work();  // what was written just before
        DestroyWindow(window);
        return 0;
      case WM_DESTROY:
        RemoveClipboardFormatListener(window);
        PostQuitMessage(0);
        return 0;
      default:
        return DefWindowProcW(window, message, wide, low);
    }
  }

  void run(std::promise<Outcome>& started) {
    name_this_thread("kvm-clipboard");
    WNDCLASSEXW type{};
    type.cbSize = sizeof type;
    type.lpfnWndProc = DefWindowProcW;  // until the window knows its object
    type.hInstance = GetModuleHandleW(nullptr);
    type.lpszClassName = kClass;
    RegisterClassExW(&type);  // fails when it is registered already
    window_ = CreateWindowExW(0, kClass, L"", 0, 0, 0, 0, 0, HWND_MESSAGE, nullptr, type.hInstance,
                              nullptr);
    if (window_ == nullptr || !AddClipboardFormatListener(window_)) {
      const std::string reason = last_error("the clipboard cannot be watched");
      if (window_ != nullptr) DestroyWindow(window_);
      started.set_value(
          Error(ErrorKind::kCapture, reason + "; run in the session of a user who is logged on"));
      return;
    }
    SetWindowLongPtrW(window_, GWLP_USERDATA, reinterpret_cast<LONG_PTR>(this));
    SetWindowLongPtrW(window_, GWLP_WNDPROC, reinterpret_cast<LONG_PTR>(&on_message));
    read_attempts_ = kAttempts;  // what is there already
    SetTimer(window_, kTimer, kLingerMs, nullptr);
    started.set_value(std::nullopt);
    MSG message{};
    while (GetMessageW(&message, nullptr, 0, 0) > 0) DispatchMessageW(&message);
  }

  // Writes first: what was there before is then nobody's any more.
  void work() {
    if (write_attempts_ > 0 && try_write()) write_attempts_ = read_attempts_ = 0;
    if (write_attempts_ > 0 && --write_attempts_ == 0)
      report("the clipboard is held by another program for more than 2 s: a text was not written");
    if (write_attempts_ == 0 && read_attempts_ > 0 && (try_read() || --read_attempts_ == 0))
      read_attempts_ = 0;
    if (write_attempts_ > 0 || read_attempts_ > 0) {
      SetTimer(window_, kTimer, kLingerMs, nullptr);
    } else {
      KillTimer(window_, kTimer);
    }
  }

  // False while another program holds the clipboard.
  bool try_write() {
    const Opened opened(window_);
    if (!opened) return false;
    std::optional<std::string> asked;
    {
      const std::lock_guard lock(mutex_);
      asked = std::exchange(asked_, std::nullopt);
    }
    if (!asked) return true;
    Memory memory = memory_of(to_clipboard(*asked));
    if (!memory || !EmptyClipboard() || SetClipboardData(CF_UNICODETEXT, memory.get()) == nullptr) {
      report(last_error("a text could not be put into the clipboard") + "; copy it once more");
      return true;
    }
    static_cast<void>(memory.release());  // the clipboard's own now
    own_sequence_ = GetClipboardSequenceNumber();
    last_ = std::move(*asked);
    return true;
  }

  // False while another program holds the clipboard.
  bool try_read() {
    // Closing may raise the number once more, but the owner is this window until another program
    // copies.
    if (GetClipboardSequenceNumber() == own_sequence_ || GetClipboardOwner() == window_)
      return true;
    if (!IsClipboardFormatAvailable(CF_UNICODETEXT)) return true;  // a picture, or nothing at all
    std::string text;
    {
      const Opened opened(window_);
      if (!opened) return false;
      const HGLOBAL memory = GetClipboardData(CF_UNICODETEXT);
      if (memory == nullptr) return true;  // its program has not kept its promise
      const Lock lock(memory);
      if (lock.data() == nullptr) return true;
      text = from_clipboard(text_in(lock, GlobalSize(memory)));
    }
    if (text.size() > kClipboardBytes) {
      on_text_({}, text.size());
    } else if (!text.empty() && text != last_) {
      last_ = text;
      on_text_(std::move(text), 0);
    }
    return true;
  }

  void report(std::string problem) {
    if (on_problem_) on_problem_(std::move(problem));
  }

  OnText on_text_;
  OnProblem on_problem_;
  std::mutex mutex_;
  std::optional<std::string> asked_;  // under mutex_
  std::string last_;                  // what was reported or written last
  DWORD own_sequence_ = 0;            // 0 is none: Windows gives it to those who may not see it
  int read_attempts_ = 0;
  int write_attempts_ = 0;
  HWND window_ = nullptr;
  std::thread thread_;
};

Clipboard::Clipboard(OnText on_text, OnProblem on_problem)
    : listener_(std::make_unique<Listener>(std::move(on_text), std::move(on_problem))) {}

Clipboard::~Clipboard() = default;

void Clipboard::write(std::string_view utf8) {
  if (utf8.size() > kClipboardBytes) {
    throw Error(ErrorKind::kConfig, "a text of " + std::to_string(utf8.size()) +
                                        " bytes: the clipboard takes at most " +
                                        std::to_string(kClipboardBytes) + "; send it in parts");
  }
  listener_->ask(std::string(utf8));
}

}  // namespace kvm
