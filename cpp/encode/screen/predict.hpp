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

// The chroma pixels of `to` that belong to a luma vector; odd luma pixels are half a chroma pixel.
void compensate_chroma(const Plane& reference, const Rect& to, Vector luma_vector,
                       std::uint8_t* out, std::ptrdiff_t out_stride) noexcept;

// Sum of absolute differences of kWidth pixels in some rows.
template <int kWidth>
[[nodiscard]] inline int difference_of_rows(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                            const std::uint8_t* b, std::ptrdiff_t b_stride,
                                            int rows) noexcept {
  int sum = 0;
  for (int y = 0; y < rows; ++y) {
    for (int x = 0; x < kWidth; ++x) sum += std::abs(a[x] - b[x]);
    a += a_stride;
    b += b_stride;
  }
  return sum;
}
// The same of two 16×16 blocks; may stop early above `limit`.
[[nodiscard]] inline int difference16(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                      const std::uint8_t* b, std::ptrdiff_t b_stride,
                                      int limit) noexcept {
  const int upper = difference_of_rows<16>(a, a_stride, b, b_stride, 8);
  if (upper > limit) return upper;
  return upper + difference_of_rows<16>(a + 8 * a_stride, a_stride, b + 8 * b_stride, b_stride, 8);
}
// Between a 16×16 block and what each mode that the neighbours allow predicts at `pixels`, by the
// mode's number; others are left alone.
void intra_differences(Neighbours neighbours, const std::uint8_t* source,
                       std::ptrdiff_t source_stride, const std::uint8_t* pixels,
                       std::ptrdiff_t stride, std::array<int, kIntraModes>& out) noexcept;

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
