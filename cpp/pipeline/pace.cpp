#include "pipeline/pace.hpp"

#include <algorithm>

namespace kvm {
namespace {

constexpr int kWindow = 30;            // pictures
constexpr std::int64_t kSteps = 8;     // a period shortened by an eighth is not seen
constexpr int kLongestPause = 1 << 7;  // windows: a minute at 60 Hz

}  // namespace

void Pace::begin_window() noexcept {
  pictures_ = 0;
  shortest_ns_ = 0;
}

void Pace::captured(const FrameTimes& times, std::int64_t period_ns) noexcept {
  if (times.captured - next_ns_ >= period_ns) {
    // After a pause from now on: no burst to catch up.
    next_ns_ = times.captured + period_ns;
    to_move_ns_ = 0;
    begin_window();
    return;
  }
  const std::int64_t waited = std::max<std::int64_t>(0, next_ns_ - times.damaged);
  shortest_ns_ = pictures_ == 0 ? waited : std::min(shortest_ns_, waited);
  next_ns_ += period_ns;
  if (to_move_ns_ > 0) {
    const std::int64_t step = std::min(to_move_ns_, period_ns / kSteps);
    next_ns_ -= step;
    to_move_ns_ -= step;
    begin_window();  // counts from where the grid stands then
    return;
  }
  if (++pictures_ == kWindow) end_window(period_ns);
}

void Pace::end_window(std::int64_t period_ns) noexcept {
  const std::int64_t wait = shortest_ns_;
  begin_window();
  if (moved_at_wait_ns_ != 0) {
    const bool helped = wait * 2 < moved_at_wait_ns_;
    last_pause_ = helped ? 0 : std::min(std::max(1, last_pause_ * 2), kLongestPause);
    pause_ = last_pause_;
    moved_at_wait_ns_ = 0;
  }
  if (pause_ > 0) {
    --pause_;
    return;
  }
  if (wait <= kMayWaitNs || period_ns <= 2 * kMayWaitNs) return;
  moved_at_wait_ns_ = wait;
  to_move_ns_ = wait - kMayWaitNs / 2;
}

}  // namespace kvm
