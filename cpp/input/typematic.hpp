// A held key repeats. Windows leaves that to the keyboard, and SendInput has none.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "base/clock.hpp"

namespace kvm::input {

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// The key that went down last repeats until it goes up or another goes down, as PS/2 keyboards do
// it.
class Typematic {
 public:
  // SPI_GETKEYBOARDDELAY: 0 … 3 for 250 ms … 1 s. SPI_GETKEYBOARDSPEED: 0 … 31 for 2.5 … 30 a
  // second.
  void set_rate(unsigned delay, unsigned speed) noexcept {
    delay_ns_ = (static_cast<std::int64_t>(delay) + 1) * 250 * kNsPerMs;
    interval_ns_ = kNsPerSec * 310 / (775 + 275 * static_cast<std::int64_t>(speed));
  }

  void press(unsigned code, std::int64_t now) noexcept {
    code_ = code;
    due_ = now + delay_ns_;
  }
  void release(unsigned code) noexcept {
    if (code == code_) stop();
  }
  void stop() noexcept { due_ = kNever; }

  [[nodiscard]] std::int64_t due() const noexcept { return due_; }

  // The key to press once more. Late is late: what was missed does not come in a burst.
  [[nodiscard]] std::optional<unsigned> take(std::int64_t now) noexcept {
    if (now < due_) return std::nullopt;
    due_ = now + interval_ns_;
    return code_;
  }

 private:
  std::int64_t delay_ns_ = 500 * kNsPerMs;
  std::int64_t interval_ns_ = 33 * kNsPerMs;
  std::int64_t due_ = kNever;
  unsigned code_ = 0;
};

}  // namespace kvm::input
