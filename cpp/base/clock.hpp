// The one clock: CLOCK_MONOTONIC in nanoseconds, which is also Python's time.perf_counter_ns().
#pragma once

#include <chrono>
#include <cstdint>

namespace kvm {

[[nodiscard]] inline std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

inline constexpr std::int64_t kNsPerUs = 1'000;
inline constexpr std::int64_t kNsPerMs = 1'000'000;
inline constexpr std::int64_t kNsPerSec = 1'000'000'000;

}  // namespace kvm
