// The Windows clipboard as text, both ways.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace kvm {

inline constexpr std::size_t kClipboardBytes = 256
                                               << 10;  // UTF-8; CLIPBOARD_BYTES in wire/limits.py

// "\r\n" on Windows' side, "\n" on ours; a line end that is right already stays.
[[nodiscard]] std::wstring to_clipboard(std::string_view utf8);
[[nodiscard]] std::string from_clipboard(std::wstring_view text);

class Clipboard {
 public:
  // The text, and 0; or "" and the number of bytes of one beyond the limit.
  using OnText = std::function<void(std::string, std::size_t)>;
  using OnProblem = std::function<void(std::string)>;

  // Both are called on the clipboard's own thread: `on_text` for what is there now and whenever
  // another program has copied another text, never for what write() has put there. Throws
  // Error(kCapture) without a desktop.
  explicit Clipboard(OnText on_text, OnProblem on_problem = {});
  ~Clipboard();  // what was written stays: Windows keeps it
  Clipboard(const Clipboard&) = delete;
  Clipboard& operator=(const Clipboard&) = delete;

  // Any thread; returns at once. Throws Error(kConfig) beyond the limit.
  void write(std::string_view utf8);

 private:
  class Listener;
  std::unique_ptr<Listener> listener_;
};

}  // namespace kvm
