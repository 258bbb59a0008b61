// From a pixel to the 0 … 65535 that MOUSEEVENTF_ABSOLUTE wants.
#pragma once

#include <algorithm>
#include <cstdint>

namespace kvm::input {

inline constexpr int kLargestAbsolute = 65535;

// `place` on an axis that begins at `origin` (negative when a monitor stands left of or above the
// primary one) and is `size` pixels long; a place outside becomes the nearest one inside.
//
// Rounded up, because Windows' way back is written down nowhere: v·size/65536 and v·(size−1)/65535,
// rounded down or to the nearest, all give `place` again, for every size up to 65536. A monitor's
// DPI does not enter.
[[nodiscard]] constexpr int to_absolute(int place, int origin, int size) noexcept {
  if (size <= 1) return 0;
  const std::int64_t inside =
      std::clamp<std::int64_t>(std::int64_t{place} - origin, 0, std::int64_t{size} - 1);
  const std::int64_t last = std::int64_t{size} - 1;
  return static_cast<int>((inside * kLargestAbsolute + last - 1) / last);
}

}  // namespace kvm::input
