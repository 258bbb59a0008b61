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
      begin(Trial::kWidest, kWidest, width_);
    } else if (width_ > 0 && ratio_ > kFailsWide) {
      settle(0, ratio_, wall_ns);
      next_trial_ns_ = wall_ns + kPause;
    } else if (width_ > 0 && wall_ns >= next_review_ns_) {
      begin(Trial::kNarrower, width_ - 1, width_);
    }
  }

  static constexpr double kFails = 0.15;
  static constexpr double kFailsWide = 0.3;
  static constexpr double kHelped = 0.6;  // times the ratio before
  static constexpr double kNearly = 1.3;  // times the wider one's
  // Content often alternates between pictures that are easy and that are hard to predict.
  static constexpr int kTrialPictures = 2;
  static constexpr std::int64_t kPause = kNsPerSec;  // after a trial that did not help
  static constexpr std::int64_t kReview = 4 * kNsPerSec;

  // `otherwise`: the width that stays if it fails.
  void begin(Trial trial, int width, int otherwise) noexcept {
    trial_ = trial;
    width_ = width;
    otherwise_ = otherwise;
    sum_ = 0;
    count_ = 0;
  }
  void settle(int width, double ratio, std::int64_t wall_ns) noexcept {
    trial_ = Trial::kNone;
    width_ = width;
    ratio_ = ratio;
    next_review_ns_ = wall_ns + kReview;
  }
  void judge(double mean, std::int64_t wall_ns) noexcept {
    switch (trial_) {
      case Trial::kNone:
        break;
      case Trial::kFirst:
        settle(width_, mean, wall_ns);
        consider(wall_ns);
        break;
      case Trial::kWidest:
        if (mean > kHelped * ratio_) {
          settle(otherwise_, ratio_, wall_ns);
          next_trial_ns_ = wall_ns + kPause;
        } else {
          settle(kWidest, mean, wall_ns);
          if (otherwise_ + 1 < kWidest) begin(Trial::kNarrower, otherwise_ + 1, kWidest);
        }
        break;
      case Trial::kNarrower:
        if (mean <= kNearly * ratio_) {
          settle(width_, mean, wall_ns);
        } else {
          settle(otherwise_, ratio_, wall_ns);
        }
        break;
    }
  }

  int width_ = 0;
  int otherwise_ = 0;
  Trial trial_ = Trial::kFirst;
  int count_ = 0;  // pictures of this trial, and the sum of their ratios
  double sum_ = 0;
  double ratio_ = 0;  // smoothed, at this width; during a trial, what it is compared with
  std::int64_t next_trial_ns_ = 0;
  std::int64_t next_review_ns_ = 0;
};

}  // namespace kvm
