// Tells what nobody draws, noise and grain, from text and pictures. Every instruction set gives the
// same answer.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvm::screen {

// Pixels in every other row of a 16×16 block that are brighter than both of their neighbours in the
// row, or darker; of 112. Measured on whole desktops: dense text stays below 30, noise is at 50
// to 75.
[[nodiscard]] int row_extremes16(const std::uint8_t* luma, std::ptrdiff_t stride) noexcept;

[[nodiscard]] inline bool is_noise(const std::uint8_t* luma, std::ptrdiff_t stride) noexcept {
  constexpr int kNoise = 40;
  return row_extremes16(luma, stride) >= kNoise;
}

}  // namespace kvm::screen
