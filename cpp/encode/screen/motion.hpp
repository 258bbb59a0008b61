// How a macroblock moves: as a whole, in two halves or in four quarters with a vector each (ITU-T
// H.264, table 7-13).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "encode/screen/planes.hpp"
#include "frame/geometry.hpp"

namespace kvm::screen {

struct Motion {
  // mb_type in a P slice. Quarters are 8×8 and not divided further.
  enum class Shape : std::uint8_t { kWhole, kRows, kColumns, kQuarters };
  struct Part {
    Rect pixels;              // of luma, from the macroblock's corner
    std::size_t quarter = 0;  // the first one in it
  };

  Shape shape = Shape::kWhole;
  std::array<Vector, 4> quarters{};  // raster order

  [[nodiscard]] static Motion of_whole(Vector vector) noexcept {
    return {Shape::kWhole, {vector, vector, vector, vector}};
  }
  // Upper and lower, or left and right half.
  [[nodiscard]] static Motion of_halves(Shape shape, Vector first, Vector second) noexcept {
    if (shape == Shape::kRows) return {shape, {first, first, second, second}};
    return {shape, {first, second, first, second}};
  }
  [[nodiscard]] static Motion of_quarters(const std::array<Vector, 4>& vectors) noexcept {
    return {Shape::kQuarters, vectors};
  }
  [[nodiscard]] bool whole() const noexcept { return shape == Shape::kWhole; }
  [[nodiscard]] Vector first() const noexcept { return quarters[0]; }
  [[nodiscard]] Vector vector_of(const Part& part) const noexcept { return quarters[part.quarter]; }
  [[nodiscard]] std::span<const Part> parts() const noexcept { return parts_of(shape); }

  // In the order of the bitstream.
  [[nodiscard]] static std::span<const Part> parts_of(Shape shape) noexcept {
    constexpr int kHalf = kTile / 2;
    static constexpr std::array<Part, 1> kWholes{{{{0, 0, kTile, kTile}, 0}}};
    static constexpr std::array<Part, 2> kRows{
        {{{0, 0, kTile, kHalf}, 0}, {{0, kHalf, kTile, kHalf}, 2}}};
    static constexpr std::array<Part, 2> kColumns{
        {{{0, 0, kHalf, kTile}, 0}, {{kHalf, 0, kHalf, kTile}, 1}}};
    static constexpr std::array<Part, 4> kQuarters{{{{0, 0, kHalf, kHalf}, 0},
                                                    {{kHalf, 0, kHalf, kHalf}, 1},
                                                    {{0, kHalf, kHalf, kHalf}, 2},
                                                    {{kHalf, kHalf, kHalf, kHalf}, 3}}};
    switch (shape) {
      case Shape::kRows:
        return kRows;
      case Shape::kColumns:
        return kColumns;
      case Shape::kQuarters:
        return kQuarters;
      case Shape::kWhole:
        break;
    }
    return kWholes;
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
