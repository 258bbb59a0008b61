// Prediction of a macroblock: from its neighbours (ITU-T H.264, 8.3.3 and 8.3.4) and from the
// reference picture (8.4.2.2), full luma pixels only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "encode/screen/planes.hpp"

namespace kvm::screen {

// Intra16x16PredMode (table 8-4). Chroma's modes are counted otherwise: see chroma_mode_number().
enum class IntraMode : std::uint8_t { kVertical = 0, kHorizontal = 1, kDc = 2, kPlane = 3 };
// In the order in which they are tried: of equals the first is taken.
inline constexpr std::array kIntraOrder{IntraMode::kDc, IntraMode::kVertical,
                                        IntraMode::kHorizontal, IntraMode::kPlane};
inline constexpr std::size_t kIntraModes = kIntraOrder.size();
[[nodiscard]] constexpr std::uint32_t chroma_mode_number(IntraMode mode) noexcept {
  constexpr std::array<std::uint32_t, kIntraModes> kNumbers{2, 1, 0, 3};  // table 8-5
  return kNumbers[static_cast<std::size_t>(mode)];
}

// Which neighbours of a macroblock may be used.
struct Neighbours {
  bool left = false;
  bool top = false;
  // Slices begin at a row's left end: where there is one left and one above, there is the corner.
  [[nodiscard]] constexpr bool allow(IntraMode mode) const noexcept {
    switch (mode) {
      case IntraMode::kVertical:
        return top;
      case IntraMode::kHorizontal:
        return left;
      case IntraMode::kPlane:
        return left && top;
      case IntraMode::kDc:
        break;
    }
    return true;
  }
};

// Predicts the 16×16 luma block at `pixels` from the pixels around it in the same plane.
void predict_luma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                  std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept;
// The same for an 8×8 chroma block.
void predict_chroma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                    std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept;

// 8.3.3.4 and 8.3.4.4: a slanted plane through the pixels above and left. The pixel at x, y is
// (corner + x × across + y × down) >> 5, as far as there is such a colour. All of it fits 16 bits:
// a slope is below 1,400, and no pixel is more than 8 of each from the middle.
struct Slant {
  int corner = 0;
  int across = 0;
  int down = 0;
};
template <int kSize>
[[nodiscard]] inline Slant slant_of(const std::uint8_t* pixels, std::ptrdiff_t stride) noexcept {
  constexpr int kHalf = kSize / 2;
  constexpr int kSlope = kSize == 16 ? 5 : 34;
  const std::uint8_t* top = pixels - stride;  // top[-1] is the corner
  const auto left = [&](int y) { return static_cast<int>(pixels[y * stride - 1]); };
  int horizontal = 0;
  int vertical = 0;
  for (int i = 1; i <= kHalf; ++i) {
    horizontal += i * (top[kHalf - 1 + i] - top[kHalf - 1 - i]);
    vertical += i * (left(kHalf - 1 + i) - left(kHalf - 1 - i));
  }
  const int across = (kSlope * horizontal + 32) >> 6;
  const int down = (kSlope * vertical + 32) >> 6;
  return {16 * (left(kSize - 1) + top[kSize - 1]) + 16 - (kHalf - 1) * (across + down), across,
          down};
}

// What DC predicts: for luma, and for each quarter of a chroma block (8.3.4.1 to 8.3.4.3).
[[nodiscard]] int luma_mean(Neighbours neighbours, const std::uint8_t* pixels,
                            std::ptrdiff_t stride) noexcept;
[[nodiscard]] std::array<std::uint8_t, 4> chroma_means(Neighbours neighbours,
                                                       const std::uint8_t* pixels,
                                                       std::ptrdiff_t stride) noexcept;

// The chroma pixels of `to` that belong to a luma vector; odd luma pixels are half a chroma pixel.
void compensate_chroma(const Plane& reference, const Rect& to, Vector luma_vector,
                       std::uint8_t* out, std::ptrdiff_t out_stride) noexcept;

template <int kSize>
[[nodiscard]] inline bool equal_block(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                      const std::uint8_t* b, std::ptrdiff_t b_stride) noexcept {
  constexpr int kRowsAtOnce = 4;
  for (int y = 0; y < kSize; y += kRowsAtOnce) {
    std::uint64_t differs = 0;
    for (int row = 0; row < kRowsAtOnce; ++row) {
      for (int x = 0; x < kSize; x += 8) {
        std::uint64_t first = 0;
        std::uint64_t second = 0;
        std::memcpy(&first, a + x, 8);
        std::memcpy(&second, b + x, 8);
        differs |= first ^ second;
      }
      a += a_stride;
      b += b_stride;
    }
    if (differs != 0) return false;
  }
  return true;
}

}  // namespace kvm::screen
