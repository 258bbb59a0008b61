// Which motion search suits what is on the screen.
#pragma once

#include <cstdint>

#include "base/clock.hpp"

namespace kvm {

// A wide search finds scrolled text again: a fraction of the bits, and less time in all. On film
// and noise it finds nothing and costs a third of the time. So: the narrowest; when prediction
// fails, a trial of the widest, and where that helps, of the narrower one, which is kept if it does
// nearly as well.
class SearchChoice {
 public:
  static constexpr int kWidest = 2;

  // 0 … kWidest, for the next picture.
  [[nodiscard]] int width() const noexcept { return width_; }

  // After a change of a good part of the picture. `inter_ratio`: see Quantiser::last_inter_ratio().
  void learn(double inter_ratio, std::int64_t wall_ns) noexcept {
    if (trial_ != Trial::kNone) {
      sum_ += inter_ratio;
      if (++count_ == kTrialPictures) judge(sum_ / kTrialPictures, wall_ns);
      return;
    }
    ratio_ += 0.25 * (inter_ratio - ratio_);
    consider(wall_ns);
  }

 private:
  enum class Trial { kNone, kFirst, kWidest, kNarrower };

  void consider(std::int64_t wall_ns) noexcept {
    if (ratio_ > kFails && width_ < kWidest && wall_ns >= next_trial_ns_) {
      before_ = width_;
      begin(Trial::kWidest, kWidest);
    } else if (width_ > 0 && ratio_ > kFailsWide) {
      settle(0, ratio_);
      next_trial_ns_ = wall_ns + kPause;
    }
  }

  static constexpr double kFails = 0.15;
  static constexpr double kFailsWide = 0.3;
  static constexpr double kHelped = 0.6;  // times the ratio before
  static constexpr double kNearly = 1.5;  // times the widest's
  // Content often alternates between pictures that are easy and that are hard to predict.
  static constexpr int kTrialPictures = 2;
  static constexpr std::int64_t kPause = kNsPerSec;  // after a trial that did not help

  void begin(Trial trial, int width) noexcept {
    trial_ = trial;
    width_ = width;
    sum_ = 0;
    count_ = 0;
  }
  void settle(int width, double ratio) noexcept {
    trial_ = Trial::kNone;
    width_ = width;
    ratio_ = ratio;
  }
  void judge(double mean, std::int64_t wall_ns) noexcept {
    if (trial_ == Trial::kFirst) {
      settle(width_, mean);
      consider(wall_ns);
    } else if (trial_ == Trial::kNarrower) {
      const bool nearly = mean <= kNearly * ratio_;
      settle(nearly ? width_ : kWidest, nearly ? mean : ratio_);
    } else if (mean > kHelped * ratio_) {
      settle(before_, ratio_);
      next_trial_ns_ = wall_ns + kPause;
    } else {
      ratio_ = mean;
      if (before_ + 1 < kWidest) {
        begin(Trial::kNarrower, before_ + 1);
      } else {
        settle(kWidest, mean);
      }
    }
  }

  int width_ = 0;
  int before_ = 0;  // the trial
  Trial trial_ = Trial::kFirst;
  int count_ = 0;  // pictures of this trial, and the sum of their ratios
  double sum_ = 0;
  double ratio_ = 0;  // smoothed, at this width; during a trial, what it is compared with
  std::int64_t next_trial_ns_ = 0;
};

}  // namespace kvm
