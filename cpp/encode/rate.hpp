// Rate arithmetic that encoders share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <thread>

#include "base/clock.hpp"
#include "encode/encoder.hpp"

namespace kvm {

// The quantiser for the n-th pass over unchanged content: sharper by 3 (half the error) each time.
// At 10 text and photographs are visually lossless; going lower doubles the bits for nothing that
// can be seen.
[[nodiscard]] inline double refined_crf(double crf, int refine_step) noexcept {
  constexpr double kStep = 3.0;
  constexpr double kVisuallyLossless = 10.0;
  if (refine_step <= 0) return crf;
  return std::max(std::min(crf, kVisuallyLossless), crf - kStep * refine_step);
}

// Bits that may be sent at once: 250 ms of the ceiling, so that an IDR never takes longer than that
// to send.
[[nodiscard]] inline int rate_buffer_bits(int bitrate) noexcept {
  return bitrate / 4;
}

// Slice threads for software encoding: one core stays free for capture and conversion, and more
// than four slices cost more bits than they save time.
[[nodiscard]] inline int software_threads() noexcept {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(cores - 1, 1, 4);
}

// Whether a change of the ceiling is big enough to restart the encoder's prediction for it.
[[nodiscard]] inline bool worth_a_keyframe(int from_bitrate, int to_bitrate) noexcept {
  constexpr double kLeastChange = 0.2;
  return std::abs(static_cast<double>(to_bitrate) - from_bitrate) >= kLeastChange * from_bitrate;
}

// What it takes to bring an encoder that was told `applied` to `wanted`. `live`: what a new ceiling
// costs it; `quality_counts`: whether it was opened with crf, which only x264 changes live.
[[nodiscard]] inline UpdateResult cost_of_update(UpdateResult live, bool quality_counts,
                                                 const RateSettings& applied,
                                                 const RateSettings& wanted) noexcept {
  constexpr double kLeastQuality = 1.0;  // hardware takes whole numbers
  if (live == UpdateResult::kSeamless) return live;
  if (quality_counts && std::abs(wanted.crf - applied.crf) >= kLeastQuality)
    return UpdateResult::kNeedsReopen;
  return worth_a_keyframe(applied.bitrate, wanted.bitrate) ? live : UpdateResult::kSeamless;
}

// An encoder that counts pictures at constant rate refills its bit budget by one picture's share
// whenever it is called. A screen is encoded when it changes, so the share must follow the clock:
// this says which maximum rate makes one picture's share worth the time since the last one.
class WallClockBudget {
 public:
  WallClockBudget() = default;
  // `nominal_fps`: what the encoder was opened with.
  explicit WallClockBudget(double nominal_fps) : nominal_fps_(nominal_fps) {}

  // bit/s for the picture encoded at `wall_ns`, when `bitrate` is the ceiling.
  [[nodiscard]] std::int64_t max_rate(int bitrate, std::int64_t wall_ns) noexcept {
    constexpr double kBufferSeconds = 0.25;  // what rate_buffer_bits() holds
    const double elapsed = static_cast<double>(wall_ns - last_ns_) / static_cast<double>(kNsPerSec);
    const bool first = last_ns_ == 0;
    last_ns_ = wall_ns;
    if (first) return bitrate;
    return std::llround(bitrate * nominal_fps_ * std::clamp(elapsed, 0.0, kBufferSeconds));
  }

 private:
  double nominal_fps_ = 60.0;
  std::int64_t last_ns_ = 0;
};

}  // namespace kvm
