// Scaling of the 4×4 transform: normAdjust4x4 (8-315) and what undoes it in an encoder.
#pragma once

#include <array>
#include <cstddef>

#include "encode/screen/transform.hpp"

namespace kvm::screen {

// The levels of Baseline reach this far at the finest quantisers that the encoder uses (9.2.2.1: no
// level_prefix above 15).
inline constexpr int kLargestLevel = 2000;

// Rows for quantiser % 6; columns for positions with both coordinates even, both odd, and mixed.
inline constexpr std::array<std::array<int, 3>, 6> kForwardClasses{{{13107, 5243, 8066},
                                                                    {11916, 4660, 7490},
                                                                    {10082, 4194, 6554},
                                                                    {9362, 3647, 5825},
                                                                    {8192, 3355, 5243},
                                                                    {7282, 2893, 4559}}};
inline constexpr std::array<std::array<int, 3>, 6> kInverseClasses{
    {{10, 16, 13}, {11, 18, 14}, {13, 20, 16}, {14, 23, 18}, {16, 25, 20}, {18, 29, 23}}};

// The column for each position of a block, raster order.
inline constexpr std::array<std::uint8_t, 16> kPositionKind{0, 2, 0, 2, 2, 1, 2, 1,
                                                            0, 2, 0, 2, 2, 1, 2, 1};

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

// level = (|coefficient| + bias) × scale >> 16, for the three kinds of position.
struct QuantiserStep {
  std::array<std::uint16_t, 3> scale{};
  std::array<std::uint16_t, 3> bias{};
};
inline constexpr auto kQuantiserSteps = [] {
  std::array<std::array<QuantiserStep, 52>, 2> steps{};
  for (std::size_t inter = 0; inter < 2; ++inter) {
    for (std::size_t quantiser = 0; quantiser < 52; ++quantiser) {
      for (std::size_t kind = 0; kind < 3; ++kind) {
        const int scale = 2 * kForwardClasses[quantiser % 6][kind] >> quantiser / 6;
        steps[inter][quantiser].scale[kind] = static_cast<std::uint16_t>(scale);
        steps[inter][quantiser].bias[kind] =
            static_cast<std::uint16_t>(65536 / ((inter != 0 ? 6 : 3) * scale));
      }
    }
  }
  return steps;
}();
[[nodiscard]] inline const QuantiserStep& quantiser_step(int quantiser,
                                                         Rounding rounding) noexcept {
  return kQuantiserSteps[rounding == Rounding::kInter ? 1 : 0][static_cast<std::size_t>(quantiser)];
}

}  // namespace kvm::screen
