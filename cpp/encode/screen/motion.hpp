// How a macroblock moves: as a whole, or in two halves with a vector each (ITU-T H.264, table
// 7-13).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "encode/screen/planes.hpp"

namespace kvm::screen {

struct Motion {
  enum class Shape : std::uint8_t { kWhole, kRows, kColumns };  // mb_type in a P slice
  Shape shape = Shape::kWhole;
  Vector first;   // of the whole, the upper or the left half
  Vector second;  // of the lower or the right half

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
  friend bool operator==(const Motion&, const Motion&) = default;
};

// Half of a macroblock, in luma pixels from its corner.
struct Half {
  int x = 0;
  int y = 0;
  int width = kTile;
  int height = kTile;
};
[[nodiscard]] constexpr std::array<Half, 2> halves_of(Motion::Shape shape) noexcept {
  constexpr int kHalf = kTile / 2;
  if (shape == Motion::Shape::kRows)
    return {Half{0, 0, kTile, kHalf}, Half{0, kHalf, kTile, kHalf}};
  return {Half{0, 0, kHalf, kTile}, Half{kHalf, 0, kHalf, kTile}};
}

}  // namespace kvm::screen
