// What a Windows source under test shows: a window of known pixels that wanders over a region of
// the desktop, and what the process has spent on it.
#pragma once

#include <cstdint>

#include "base/clock.hpp"
#include "base/windows.hpp"
#include "frame/config.hpp"
#include "frame/geometry.hpp"
#include "window.hpp"

namespace kvm::test {

inline constexpr Rect kRegion{16, 32, 640, 480};
inline constexpr Rect kFirst{20, 40, 256, 192};  // of the desktop

[[nodiscard]] inline StreamConfig scene_config() {
  StreamConfig config;
  config.region = kRegion;
  config.cursor = CursorMode::kHidden;
  config.crf = 12;
  config.bitrate = 60'000'000;
  return config;
}

// Seconds of all threads.
[[nodiscard]] inline double cpu_seconds() {
  FILETIME made{}, ended{}, kernel{}, user{};
  GetProcessTimes(GetCurrentProcess(), &made, &ended, &kernel, &user);
  const auto in_100_ns = [](const FILETIME& time) {
    return static_cast<double>(std::uint64_t{time.dwHighDateTime} << 32 | time.dwLowDateTime);
  };
  return (in_100_ns(kernel) + in_100_ns(user)) / 1e7;
}

// A way of 3 s, there by half and back by a quarter. One thread.
class Scene {
 public:
  static constexpr unsigned kSeed = 9;
  static constexpr int kSteps = 180;
  static constexpr std::int64_t kStepNs = kNsPerSec / 60;

  // Where the window stands in the region.
  [[nodiscard]] int x() const noexcept { return x_ - kRegion.x; }
  [[nodiscard]] int y() const noexcept { return y_ - kRegion.y; }

  // The way begins, at the place where it did the first time.
  void begin() {
    x_ = kFirst.x;
    y_ = kFirst.y;
    step_ = 0;
    due_ = now_ns();
  }
  // Takes the step that is due, if any; true with the last one.
  [[nodiscard]] bool step() {
    if (step_ == kSteps || now_ns() < due_) return false;
    x_ += step_ < kSteps / 2 ? 2 : -1;
    y_ += 1;
    window_.move(x_, y_);
    due_ += kStepNs;
    return ++step_ == kSteps;
  }

 private:
  Window window_{kFirst, kSeed};
  int x_ = kFirst.x;
  int y_ = kFirst.y;
  int step_ = kSteps;
  std::int64_t due_ = 0;
};

}  // namespace kvm::test
