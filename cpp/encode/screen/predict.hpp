// Prediction of a macroblock: from its neighbours (ITU-T H.264, 8.3.3 and 8.3.4) and from the
// reference picture (8.4.2.2), full luma pixels only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "encode/screen/planes.hpp"

namespace kvm::screen {

// Intra16x16PredMode. Chroma's modes are counted otherwise: see write_chroma_mode().
enum class IntraMode : std::uint8_t { kVertical = 0, kHorizontal = 1, kDc = 2 };
[[nodiscard]] constexpr std::uint32_t chroma_mode_number(IntraMode mode) noexcept {
  return mode == IntraMode::kDc ? 0 : mode == IntraMode::kHorizontal ? 1 : 2;  // table 8-5
}

// Which neighbours of a macroblock may be used.
struct Neighbours {
  bool left = false;
  bool top = false;
};

// Predicts the 16×16 luma block at `pixels` from the pixels around it in the same plane.
void predict_luma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                  std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept;
// The same for an 8×8 chroma block.
void predict_chroma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                    std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept;

// The 8×8 chroma block that belongs to a luma vector; odd luma pixels are half a chroma pixel.
// (x, y): the block's place in chroma pixels.
void compensate_chroma(const Plane& reference, int x, int y, Vector luma_vector, std::uint8_t* out,
                       std::ptrdiff_t out_stride) noexcept;

// Sum of absolute differences of two 16×16 blocks.
[[nodiscard]] int difference16(const std::uint8_t* a, std::ptrdiff_t a_stride,
                               const std::uint8_t* b, std::ptrdiff_t b_stride) noexcept;
[[nodiscard]] bool equal16(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                           std::ptrdiff_t b_stride) noexcept;
[[nodiscard]] bool equal8(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                          std::ptrdiff_t b_stride) noexcept;

}  // namespace kvm::screen
