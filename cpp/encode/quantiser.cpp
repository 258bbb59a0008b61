#include "encode/quantiser.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/clock.hpp"

namespace kvm {
namespace {

constexpr double kBufferSeconds = 0.25;  // of the ceiling: what may be sent at once

// Measured on x264's intra pictures of text, drawings, fractals, test patterns and noise: bits of a
// macroblock at quantiser 25 are close to this times the square root of its detail as measure()
// counts it.
constexpr float kBitsPerRootDetail = 15.0F;
// Of desktops and coloured text in 4:4:4; luma alone is measured.
constexpr float kBitsPerRootDetail444 = 20.0F;
constexpr int kSampledRows = 4;  // of each tile's sixteen

// A prediction from an older experience is worth no more than the guess for unknown content.
constexpr std::int64_t kExperienceLifetime = kNsPerSec;
constexpr double kUnknownChange = 0.8;
// Sharpening costs much the same for each step of the quantiser, measured from 40 down to 8 on the
// same pictures.
constexpr double kUnknownSharpening = 0.06;

}  // namespace

double bits_factor(double quantiser) {
  struct Point {
    double quantiser;
    double log_factor;
  };
  // Means over text and fractals of the measurement above.
  static constexpr std::array<Point, 8> kPoints{{{10, 0.66},
                                                 {20, 0.22},
                                                 {25, 0.0},
                                                 {30, -0.27},
                                                 {35, -0.58},
                                                 {40, -0.94},
                                                 {45, -1.39},
                                                 {51, -1.90}}};
  std::size_t i = 1;
  while (i + 1 < kPoints.size() && quantiser > kPoints[i].quantiser) ++i;
  const Point& a = kPoints[i - 1];
  const Point& b = kPoints[i];
  const double t = (quantiser - a.quantiser) / (b.quantiser - a.quantiser);
  return std::exp(a.log_factor + t * (b.log_factor - a.log_factor));
}

DetailMap::DetailMap(int width, int height, Chroma chroma)
    : width_(width),
      height_(height),
      cols_((width + kTile - 1) / kTile),
      rows_((height + kTile - 1) / kTile),
      bits_per_root_detail_(chroma == Chroma::k444 ? kBitsPerRootDetail444 : kBitsPerRootDetail),
      bits_(static_cast<std::size_t>(cols_) * static_cast<std::size_t>(rows_), 0.0F) {}

float DetailMap::measure(const std::uint8_t* luma, std::ptrdiff_t stride, int col, int row) const {
  const int left = col * kTile;
  const int top = row * kTile;
  unsigned detail = 0;
  if (left + kTile < width_ && top + kTile < height_) {
    // Fixed counts: compilers turn the loop into sums of absolute differences.
    for (int i = 0; i < kSampledRows; ++i) {
      const std::uint8_t* a = luma + (top + 2 + i * 4) * stride + left;
      const std::uint8_t* right = a + 1;
      const std::uint8_t* below = a + stride;
      for (int x = 0; x < kTile; ++x) detail += static_cast<unsigned>(std::abs(a[x] - right[x]));
      for (int x = 0; x < kTile; ++x) detail += static_cast<unsigned>(std::abs(a[x] - below[x]));
    }
  } else {
    for (int y = top + 2; y + 1 < std::min(top + kTile, height_); y += 4) {
      const std::uint8_t* a = luma + y * stride;
      for (int x = left; x + 1 < std::min(left + kTile, width_); ++x) {
        detail += static_cast<unsigned>(std::abs(a[x] - a[x + 1]) + std::abs(a[x] - a[x + stride]));
      }
    }
  }
  return bits_per_root_detail_ * std::sqrt(static_cast<float>(detail));
}

void DetailMap::update(const CpuPlanes& planes, const TileMap* damage) {
  double measured = 0;
  double replaced = 0;
  std::size_t tiles = 0;
  // Of a large change every fourth tile tells enough; the rest have their turns next.
  constexpr double kLarge = 0.25;
  constexpr int kTurns = 4;
  const bool sampled =
      damage != nullptr && static_cast<double>(damage->count()) > kLarge * this->tiles();
  const int step = sampled ? kTurns : 1;
  turn_ = (turn_ + 1) % kTurns;
  const auto measure_run = [&](int row, int begin, int end) {
    float* bits = bits_.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(cols_);
    const int first = sampled ? begin + (begin + row + turn_) % kTurns : begin;
    for (int col = first; col < std::min(end, cols_); col += step) {
      replaced += static_cast<double>(bits[col]);
      bits[col] = measure(planes.data[0], planes.stride[0], col, row);
      measured += static_cast<double>(bits[col]);
    }
    tiles += static_cast<std::size_t>(end - begin);
  };
  if (damage != nullptr) {
    damage->for_each_run([&](int row, int begin, int end) {
      if (row < rows_) measure_run(row, begin, end);
    });
  } else {
    for (int row = 0; row < rows_; ++row) measure_run(row, 0, cols_);
  }
  measured_ = measured * step;
  total_ = std::max(0.0, total_ + measured - replaced);
  share_ = bits_.empty() ? 0.0 : static_cast<double>(tiles) / static_cast<double>(bits_.size());
}

void Quantiser::set_rate(const RateSettings& rate) {
  ceiling_ = rate.bitrate;
  wanted_ = std::clamp(static_cast<int>(std::lround(rate.crf)), 1, kCoarsest);
  for (Experience& known : change_) known.quantiser = 0;  // nothing to rest at
  budget_ = std::min(budget_, ceiling_ * kBufferSeconds);
}

void Quantiser::refill(std::int64_t wall_ns) {
  const double full = ceiling_ * kBufferSeconds;
  if (!started_) {
    budget_ = full;
    started_ = true;
  } else {
    const double elapsed =
        std::max(0.0, static_cast<double>(wall_ns - last_ns_) / static_cast<double>(kNsPerSec));
    budget_ = std::min(full, budget_ + ceiling_ * elapsed);
    interval_ += 0.25 * (std::min(elapsed, kBufferSeconds) - interval_);
  }
  last_ns_ = wall_ns;
}

// Typing, a moved window and a scrolled page have little in common: each size of change learns for
// itself.
Quantiser::Experience& Quantiser::change_experience(double share) {
  int size_class = 0;  // 0: over half of the picture, then quarters of that
  for (double limit = 0.5; size_class + 1 < kSizeClasses && share < limit; limit /= 4) ++size_class;
  return change_[static_cast<std::size_t>(size_class)];
}

// What crf means for a change: as in x264, busy pictures are coded coarser than crf itself and
// quiet ones finer, after the bits of recent changes. The numbers keep PSNR-Y at or above that of
// x264's own rate control at crf 23 on scrolled text (42 bits a macroblock, motion found again),
// film (78) and a dragged window (12 … 16).
int Quantiser::aim(const Chosen& change, double tiles) const {
  constexpr double kTypical = 20.0;  // bits of a macroblock at quantiser 25
  constexpr double kFinerPerHalving = 6.0;
  constexpr double kFinestOffset = -6.0;
  constexpr double kCoarsestOffset = 5.0;
  const double complexity = 0.5 * (usual_bits_ + change.changed_bits) / std::max(1.0, tiles);
  const double doublings = std::log2(std::max(complexity, 1e-3) / kTypical);
  const double offset =
      doublings < 0 ? kFinerPerHalving * doublings : coarser_per_doubling_ * doublings;
  const long steps = std::lround(std::clamp(offset, kFinestOffset, kCoarsestOffset));
  return std::clamp(wanted_ + static_cast<int>(steps), 1, kCoarsest);
}

// What was not damaged is coded again, too, wherever the picture is coarser than `quantiser`.
double Quantiser::sharpening_bits(double detail_bits, int quantiser) const {
  return detail_bits * sharpening_.ratio * std::max(0, picture_quantiser_ - quantiser);
}

double Quantiser::expected_bits(const Chosen& picture, int quantiser) const {
  return picture.changed_bits * bits_factor(quantiser) +
         sharpening_bits(picture.kept_bits, quantiser);
}

double Quantiser::allowance(const Chosen& picture) const {
  const double full = ceiling_ * kBufferSeconds;
  if (picture.kind == PictureKind::kKeyframe)
    return std::max(budget_, full / 2);  // someone waits for it
  if (picture.kind == PictureKind::kRefinement) return std::max(0.0, budget_ * 0.7);
  // Its share of the ceiling, less when savings are low; and what is saved beyond half is there to
  // be used. The other half is for a change out of the ordinary.
  constexpr double kOutOfTheOrdinary = 3.0;
  const double share = ceiling_ * interval_ * std::min(1.0, 0.5 + budget_ / full);
  const double surplus = 0.5 * std::max(0.0, budget_ - full / 2);
  const bool extraordinary = picture.changed_bits > kOutOfTheOrdinary * usual_bits_;
  return std::max({0.0, share + surplus, extraordinary ? budget_ * 0.6 : 0.0});
}

int Quantiser::choose(PictureKind kind, int refine_step, const DetailMap& detail,
                      std::int64_t wall_ns) {
  refill(wall_ns);
  const auto age_out = [&](Experience& known, double unknown) {
    if (known.learned_ns == 0 || wall_ns - known.learned_ns > kExperienceLifetime) {
      known = {unknown, 0, known.learned_ns};
    }
  };
  age_out(sharpening_, kUnknownSharpening);
  Chosen picture;
  picture.kind = kind;
  int best = wanted_;
  int last = 0;  // quantiser of the change before, when it was much like this one
  switch (kind) {
    case PictureKind::kKeyframe:
      picture.detail_bits = detail.total_bits();
      picture.share = 1.0;
      picture.changed_bits = picture.detail_bits * keyframe_.ratio;
      break;
    case PictureKind::kChange: {
      picture.detail_bits = detail.measured_bits();
      picture.share = detail.measured_share();
      Experience& known = change_experience(picture.share);
      age_out(known, kUnknownChange);
      picture.changed_bits = picture.detail_bits * known.ratio;
      if (unchanged_ == Unchanged::kCodedAgain) {
        picture.kept_bits = std::max(0.0, detail.total_bits() - picture.detail_bits);
      }
      last = known.quantiser;
      best = aim(picture, detail.tiles());
      break;
    }
    case PictureKind::kRefinement:
      picture.kept_bits = detail.total_bits();
      // Three finer is half the error. A step must sharpen something: where the picture is finer
      // than the step's aim already, it goes on from there.
      best = std::max(std::min(wanted_, kFinest),
                      std::min(wanted_ - 3 * refine_step, picture_quantiser_ - 3));
      break;
  }
  const double allowed = allowance(picture);
  int worst = kind == PictureKind::kRefinement ? std::max(best, picture_quantiser_ - 1) : kCoarsest;
  if (last != 0) {
    // A picture finer than its predecessor pays for all that the other left out, and makes its
    // successor cheap: following every estimate, the two would take turns. So the quantiser rests
    // while it is about right.
    constexpr double kAboutRight = 1.5;
    constexpr int kFinerAtOnce = 4;
    int resting = std::max(best, last);
    while (resting > best && resting > last - kFinerAtOnce &&
           expected_bits(picture, resting - 1) * kAboutRight < allowed) {
      --resting;
    }
    best = resting;
    if (expected_bits(picture, best) < allowed * kAboutRight) {
      picture.quantiser = best;
      chosen_ = picture;
      return best;
    }
    constexpr double kFarOff = 4.0;
    constexpr int kCoarserAtOnce = 3;
    if (expected_bits(picture, best) < allowed * kFarOff)
      worst = std::min(worst, best + kCoarserAtOnce);
  }
  picture.quantiser = best;
  while (picture.quantiser < worst && expected_bits(picture, picture.quantiser) > allowed) {
    ++picture.quantiser;
  }
  chosen_ = picture;
  return picture.quantiser;
}

bool Quantiser::must_hold() const {
  const double debt_allowed = 0.5 * ceiling_ * kBufferSeconds;
  return chosen_.quantiser == kCoarsest && budget_ < -debt_allowed;
}

void Quantiser::spent(std::int64_t bits) {
  constexpr double kLearningRate = 0.5;
  constexpr double kLeastToLearnFrom =
      2000.0;  // bits; below, headers outweigh what there is to learn
  // A debt of more than a second would freeze the picture.
  budget_ = std::max(budget_ - static_cast<double>(bits), -ceiling_);
  // A large excess is believed at once: the next picture must not repeat it.
  const auto learn = [&](Experience& known, double ratio) {
    constexpr double kExcess = 2.0;
    known.ratio =
        ratio > kExcess * known.ratio ? ratio : known.ratio + kLearningRate * (ratio - known.ratio);
    known.learned_ns = last_ns_;
  };

  const int sharper_by = std::max(0, picture_quantiser_ - chosen_.quantiser);
  const double kept = chosen_.kind == PictureKind::kKeyframe
                          ? 0.0
                          : sharpening_bits(chosen_.kept_bits, chosen_.quantiser);
  const double at_25 =
      std::max(0.0, static_cast<double>(bits) - kept) / bits_factor(chosen_.quantiser);
  if (chosen_.kind == PictureKind::kRefinement) {
    if (chosen_.kept_bits > kLeastToLearnFrom && sharper_by > 0) {
      learn(sharpening_,
            std::min(1.0, static_cast<double>(bits) / (chosen_.kept_bits * sharper_by)));
    }
  } else if (chosen_.detail_bits > kLeastToLearnFrom) {
    const double ratio = std::clamp(at_25 / chosen_.detail_bits, 0.001, 4.0);
    const bool keyframe = chosen_.kind == PictureKind::kKeyframe;
    Experience& known = keyframe ? keyframe_ : change_experience(chosen_.share);
    learn(known, ratio);
    known.quantiser = chosen_.quantiser;
    if (!keyframe) last_ratio_ = ratio;
  }
  if (chosen_.kind == PictureKind::kChange) {
    usual_bits_ += 0.25 * (at_25 - usual_bits_);
    constexpr double kNewScene = 0.25;
    if (chosen_.share > kNewScene)
      sharpening_ = {};  // what was left to sharpen says nothing about this
  }
  // Coarser than before: so are the changed parts. Finer: an encoder that codes it all again went
  // over the rest as well.
  const bool rest_stays =
      unchanged_ == Unchanged::kLeftAlone && chosen_.kind == PictureKind::kChange;
  picture_quantiser_ =
      rest_stays ? std::max(picture_quantiser_, chosen_.quantiser) : chosen_.quantiser;
}

}  // namespace kvm
