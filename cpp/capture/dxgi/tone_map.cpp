#include "capture/dxgi/tone_map.hpp"

#include <algorithm>
#include <cmath>

namespace kvm::dxgi {
namespace {

constexpr std::size_t kHalves = 0x10000;

// IEEE 754 binary16; infinities and NaN as the largest, negative numbers as 0.
float from_half(std::uint16_t half) noexcept {
  if ((half & 0x8000U) != 0) return 0;
  const int exponent = half >> 10;
  const auto mantissa = static_cast<float>(half & 0x3ffU);
  if (exponent == 0) return std::ldexp(mantissa, -24);
  return std::ldexp(1024.0F + mantissa, std::min(exponent, 30) - 25);
}

// IEC 61966-2-1.
std::uint8_t srgb_byte(float linear) noexcept {
  const float c = std::clamp(linear, 0.0F, 1.0F);
  const float curved = c <= 0.0031308F ? 12.92F * c : 1.055F * std::pow(c, 1 / 2.4F) - 0.055F;
  return static_cast<std::uint8_t>(std::lround(curved * 255));
}

}  // namespace

ToneMap::ToneMap(float sdr_white_nits)
    : bytes_(kHalves), scale_(kScrgbWhiteNits / std::max(sdr_white_nits, kScrgbWhiteNits / 8)) {
  for (std::size_t half = 0; half < kHalves; ++half) {
    const float linear = from_half(static_cast<std::uint16_t>(half)) * scale_;
    bytes_[half] = srgb_byte(linear);
    if (half < kSign && linear <= 1.0F) white_ = static_cast<std::uint16_t>(half);
  }
}

std::uint32_t ToneMap::bright(std::uint16_t red, std::uint16_t green,
                              std::uint16_t blue) const noexcept {
  const float r = from_half(red) * scale_;
  const float g = from_half(green) * scale_;
  const float b = from_half(blue) * scale_;
  const float most = std::max({r, g, b});
  return std::uint32_t{srgb_byte(b / most)} | std::uint32_t{srgb_byte(g / most)} << 8 |
         std::uint32_t{srgb_byte(r / most)} << 16;
}

}  // namespace kvm::dxgi
