// How far x264 looks for where content came from.
#pragma once

#include <cstdint>
#include <utility>

#include "base/clock.hpp"

namespace kvm {

// Which motion search suits what is on the screen. A wide one finds scrolled text again: a tenth of
// the bits, and less time in all. On film and noise it finds nothing and costs a third of the time.
// So: the narrowest; when prediction fails, one picture with each wider search, until one helps.
// What the widest has found, the one before it finds again as long as the motion goes on, from the
// vectors of the picture before: a sixth less time on a scrolled terminal.
class SearchChoice {
 public:
  static constexpr int kWidest = 2;

  // 0 … kWidest, for the next picture.
  [[nodiscard]] int width() const noexcept { return width_; }

  // After a change of a good part of the picture. `inter_ratio`: see Quantiser::last_inter_ratio().
  void learn(double inter_ratio, std::int64_t wall_ns) noexcept {
    constexpr double kFails = 0.15;
    constexpr double kFailsWide = 0.3;
    constexpr double kHelped = 0.6;
    constexpr double kAsGood = 1.15;
    constexpr std::int64_t kPause = kNsPerSec;  // after a trial that did not help
    const Trial trial = std::exchange(trial_, Trial::kNone);
    if (trial == Trial::kWider && inter_ratio > kHelped * ratio_) {
      if (width_ < kWidest) {
        trial_ = Trial::kWider;
        ++width_;
      } else {
        width_ = before_;
      }
      next_trial_ns_ = wall_ns + kPause;
      return;
    }
    if (trial == Trial::kNarrower && inter_ratio > kAsGood * ratio_) {
      width_ = kWidest;
      next_trial_ns_ = wall_ns + kPause;
      return;
    }
    ratio_ = trial == Trial::kNone ? ratio_ + 0.25 * (inter_ratio - ratio_) : inter_ratio;
    const bool may_try = wall_ns >= next_trial_ns_;
    if (width_ == kWidest && ratio_ <= kFailsWide && may_try) {
      trial_ = Trial::kNarrower;
      --width_;
    } else if (inter_ratio > kFails && width_ < kWidest && may_try) {
      ratio_ = inter_ratio;
      trial_ = Trial::kWider;
      before_ = width_++;
    } else if (width_ > 0 && ratio_ > kFailsWide) {
      width_ = 0;
      next_trial_ns_ = wall_ns + kPause;
    }
  }

 private:
  enum class Trial { kNone, kWider, kNarrower };

  int width_ = 0;
  int before_ = 0;  // the trial
  Trial trial_ = Trial::kNone;
  double ratio_ = 1.0;  // smoothed, at this width
  std::int64_t next_trial_ns_ = 0;
};

}  // namespace kvm
