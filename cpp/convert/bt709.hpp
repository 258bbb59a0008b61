// BT.709 limited range in fixed point: the one definition that every kernel must meet bit for bit.
//
// Exact:  Y = 16 + 219/255·(0.2126 R + 0.7152 G + 0.0722 B)
//         U = 128 + 224/255·(B − Y′)/1.8556,  V = 128 + 224/255·(R − Y′)/1.5748
// Here:   Y = (Σ w·c + 16·2^15 + 2^14) >> 15
//         U = (Σ w·s + 128·2^(16+k) + 2^(15+k)) >> (16+k), V alike, where s is the sum of 2^k
//         pixels (k = 0 or 2)
// that is, round half up, with one rounding only: the mean over 2×2 pixels is never rounded on its
// own.
//
// Luma weights carry 15 bits because 0.614·2^16 would not fit a signed 16-bit factor. The rounded
// weights are chosen so that luma's add up to 219/255 (white is 235, black 16) and chroma's to 0
// (every grey is exactly 128). The result is never further than 0.52 from the exact value and
// always within 16…235 and 16…240, so nothing needs clamping.
#pragma once

#include <cstdint>

namespace kvm::bt709 {

struct Weights {
  int b;
  int g;
  int r;
};

inline constexpr int kLumaShift = 15;
inline constexpr int kChromaShift = 16;
inline constexpr Weights kY{2032, 20127, 5983};
inline constexpr Weights kU{28784, -22188, -6596};
inline constexpr Weights kV{-2639, -26145, 28784};

inline constexpr int kLumaBias = (16 << kLumaShift) + (1 << (kLumaShift - 1));
[[nodiscard]] constexpr int chroma_bias(int shift) {
  return (128 << shift) + (1 << (shift - 1));
}

static_assert(kU.b + kU.g + kU.r == 0 && kV.b + kV.g + kV.r == 0, "grey must have neutral chroma");
static_assert(((kY.b + kY.g + kY.r) * 255 + kLumaBias) >> kLumaShift == 235, "white must be 235");

[[nodiscard]] constexpr std::uint8_t luma(int b, int g, int r) {
  return static_cast<std::uint8_t>((kY.b * b + kY.g * g + kY.r * r + kLumaBias) >> kLumaShift);
}

// b, g, r: sums over 2^log2_count pixels.
[[nodiscard]] constexpr std::uint8_t chroma(const Weights& w, int b, int g, int r, int log2_count) {
  const int shift = kChromaShift + log2_count;
  return static_cast<std::uint8_t>((w.b * b + w.g * g + w.r * r + chroma_bias(shift)) >> shift);
}

}  // namespace kvm::bt709
