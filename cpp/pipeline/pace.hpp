// When the next picture may be captured: `fps` pictures a second at most, yet a change is seldom
// kept waiting. No clock of its own.
#pragma once

#include <algorithm>
#include <cstdint>

namespace kvm {

// Times are CLOCK_MONOTONIC ns, `period` is 1/fps. Owned by the capture thread.
//
// A screen that changes exactly fps times a second would, on a fixed grid, wait for the same part
// of a period every time. What was saved while nothing changed (a period at most) is spent in small
// steps: the grid moves until it meets the changes, and on average keeps to fps.
class Pace {
 public:
  // The earliest time for the next picture.
  [[nodiscard]] std::int64_t not_before(std::int64_t period) const noexcept {
    return next_ - std::min(period / kStep, saved_);
  }
  void captured(std::int64_t at, std::int64_t period) noexcept {
    if (at < next_) {
      saved_ -= next_ - at;
      next_ = at + period;
      return;
    }
    // On the grid while changes keep coming, from now after a pause: no burst to catch up.
    saved_ = std::min(period, saved_ + at - next_);
    next_ = at - next_ < period ? next_ + period : at + period;
  }

 private:
  static constexpr std::int64_t kStep = 8;  // parts of a period
  std::int64_t next_ = 0;
  std::int64_t saved_ = 0;
};

}  // namespace kvm
