// An HDR desktop (scRGB, FP16) as a viewer's SDR screen should show it.
#pragma once

#include <cstdint>
#include <vector>

namespace kvm::dxgi {

inline constexpr float kScrgbWhiteNits = 80.0F;  // 1.0 of scRGB

// SDR content comes out as it does without HDR. What is brighter than SDR white keeps its hue at
// the brightest that SDR has.
class ToneMap {
 public:
  explicit ToneMap(float sdr_white_nits);

  // B, G, R, X of red, green, blue as FP16.
  [[nodiscard]] std::uint32_t operator()(const std::uint16_t* rgb) const noexcept {
    const std::uint16_t red = rgb[0];
    const std::uint16_t green = rgb[1];
    const std::uint16_t blue = rgb[2];
    // Positive halves have the order of their bits; negative ones (colours outside of sRGB) are 0.
    const auto over = [this](std::uint16_t half) { return half > white_ && half < kSign; };
    if (over(red) || over(green) || over(blue)) return bright(red, green, blue);
    return std::uint32_t{bytes_[blue]} | std::uint32_t{bytes_[green]} << 8 |
           std::uint32_t{bytes_[red]} << 16;
  }

 private:
  static constexpr std::uint16_t kSign = 0x8000;

  [[nodiscard]] std::uint32_t bright(std::uint16_t red, std::uint16_t green,
                                     std::uint16_t blue) const noexcept;

  std::vector<std::uint8_t> bytes_;  // sRGB of each half
  float scale_;                      // of scRGB to SDR white
  std::uint16_t white_ = 0;          // the largest half that is not brighter
};

}  // namespace kvm::dxgi
