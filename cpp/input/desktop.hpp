// What the injector asks of Windows. Tests put one of their own in its place.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "base/windows.hpp"
#include "frame/geometry.hpp"

namespace kvm::input {

// What the user has set: 0 … 3 for 250 ms … 1 s, and 0 … 31 for 2.5 … 30 a second.
struct KeyRepeat {
  unsigned delay = 1;
  unsigned speed = 31;
};

enum class Aim { kKeyboard, kPointer };  // the window in front, the window under the pointer

// Belongs to one thread.
class Desktop {
 public:
  Desktop() = default;
  virtual ~Desktop() = default;
  Desktop(const Desktop&) = delete;
  Desktop& operator=(const Desktop&) = delete;

  // How many of them Windows took. It also says so of what it keeps from an elevated window.
  [[nodiscard]] virtual std::size_t send(std::span<const INPUT> events) noexcept = 0;
  // What the layout of the window in front makes of a scan code (0xe0.. when extended); 0 for
  // nothing.
  [[nodiscard]] virtual WORD virtual_key(WORD scan) noexcept = 0;
  // All monitors together, in physical pixels; the primary one's corner is 0, 0.
  [[nodiscard]] virtual Rect bounds() noexcept = 0;
  // Whether VK_CAPITAL, VK_NUMLOCK or VK_SCROLL is on.
  [[nodiscard]] virtual bool locked_on(int virtual_key) noexcept = 0;
  // Left-handed: what is sent as the left button arrives as the right one.
  [[nodiscard]] virtual bool buttons_swapped() noexcept = 0;
  [[nodiscard]] virtual KeyRepeat key_repeat() noexcept = 0;
  // UIPI: the window belongs to a process of higher integrity, which takes no input from ours.
  [[nodiscard]] virtual bool out_of_reach(Aim aim) noexcept = 0;
};

[[nodiscard]] std::unique_ptr<Desktop> make_desktop();

}  // namespace kvm::input
