// How a macroblock moves: as a whole, or in two halves with a vector each (ITU-T H.264, table
// 7-13).
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>

#include "encode/screen/planes.hpp"
#include "frame/geometry.hpp"

namespace kvm::screen {

struct Motion {
  enum class Shape : std::uint8_t { kWhole, kRows, kColumns };  // mb_type in a P slice
  Shape shape = Shape::kWhole;
  Vector first{};   // of the whole, the upper or the left half
  Vector second{};  // of the lower or the right half

  [[nodiscard]] static Motion of_whole(Vector vector) noexcept {
    return {Shape::kWhole, vector, vector};
  }
  [[nodiscard]] bool whole() const noexcept { return shape == Shape::kWhole; }
  // Of each 8×8 quarter, raster order.
  [[nodiscard]] std::array<Vector, 4> quarters() const noexcept {
    switch (shape) {
      case Shape::kRows:
        return {first, first, second, second};
      case Shape::kColumns:
        return {first, second, first, second};
      case Shape::kWhole:
        break;
    }
    return {first, first, first, first};
  }
  // Luma pixels from the macroblock's corner.
  [[nodiscard]] static constexpr std::array<Rect, 2> halves(Shape shape) noexcept {
    constexpr int kHalf = kTile / 2;
    if (shape == Shape::kRows) return {Rect{0, 0, kTile, kHalf}, Rect{0, kHalf, kTile, kHalf}};
    return {Rect{0, 0, kHalf, kTile}, Rect{kHalf, 0, kHalf, kTile}};
  }
  // Calls fn(pixels, vector) for the whole or for each half.
  template <typename Fn>
  void for_each_part(Fn&& fn) const {
    if (whole()) return fn(Rect{0, 0, kTile, kTile}, first);
    const std::array<Rect, 2> parts = halves(shape);
    fn(parts[0], first);
    fn(parts[1], second);
  }
};

// Bits of a vector's difference from what is predicted (se(v) of quarters, 9.1).
[[nodiscard]] inline int vector_bits(Vector vector, Vector predicted) noexcept {
  const auto bits = [](int pixels) {
    return 2 * static_cast<int>(std::bit_width(static_cast<unsigned>(std::abs(pixels)) * 8U)) + 1;
  };
  return bits(vector.x - predicted.x) + bits(vector.y - predicted.y);
}

}  // namespace kvm::screen
