// Scaling of the 4×4 transform: normAdjust4x4 (8-315) and what undoes it in an encoder.
#pragma once

#include <array>
#include <cstddef>

#include "encode/screen/transform.hpp"

namespace kvm::screen {

// Rows for quantiser % 6; columns for positions with both coordinates even, both odd, and mixed.
inline constexpr std::array<std::array<int, 3>, 6> kForwardClasses{{{13107, 5243, 8066},
                                                                    {11916, 4660, 7490},
                                                                    {10082, 4194, 6554},
                                                                    {9362, 3647, 5825},
                                                                    {8192, 3355, 5243},
                                                                    {7282, 2893, 4559}}};
inline constexpr std::array<std::array<int, 3>, 6> kInverseClasses{
    {{10, 16, 13}, {11, 18, 14}, {13, 20, 16}, {14, 23, 18}, {16, 25, 20}, {18, 29, 23}}};

struct Scales {
  std::array<std::array<int, 16>, 6> forward{};
  std::array<std::array<int, 16>, 6> inverse{};
};
inline constexpr Scales kScales = [] {
  Scales scales;
  for (std::size_t rest = 0; rest < 6; ++rest) {
    for (std::size_t i = 0; i < 16; ++i) {
      const bool odd_x = (i & 1) != 0;
      const bool odd_y = (i & 4) != 0;
      const std::size_t kind = odd_x && odd_y ? 1 : odd_x != odd_y ? 2 : 0;
      scales.forward[rest][i] = kForwardClasses[rest][kind];
      scales.inverse[rest][i] = kInverseClasses[rest][kind];
    }
  }
  return scales;
}();

struct Step {
  std::size_t rest;
  int octave;
};
[[nodiscard]] inline Step step_of(int quantiser) noexcept {
  return {static_cast<std::size_t>(quantiser % 6), quantiser / 6};
}
[[nodiscard]] inline int rounding_offset(int shift, Rounding rounding) noexcept {
  return (1 << shift) / (rounding == Rounding::kIntra ? 3 : 6);
}

}  // namespace kvm::screen
