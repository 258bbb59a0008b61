// What a user sees of one output, kept by the CPU in the plainest way: the picture that capture is
// measured against. Everything here is in the output's own pixels, upright: rotation is the
// business of the fake (and of what is tested).
#pragma once

#include <dxgi1_2.h>

#include <cstdint>
#include <variant>
#include <vector>

#include "frame/geometry.hpp"

namespace kvm::test {

// New content: colour_at() of each pixel with this seed.
struct Fill {
  Rect rect;
  unsigned seed = 0;
};
// What was at (from_x, from_y) goes to `to`; both lie inside the output and may overlap.
struct Move {
  Rect to;
  int from_x = 0;
  int from_y = 0;
};
using Update = std::variant<Fill, Move>;

// 0x00RRGGBB; neighbours differ in each channel.
[[nodiscard]] std::uint32_t colour_at(int x, int y, unsigned seed) noexcept;

// As GetFramePointerShape gives it.
struct PointerShape {
  DXGI_OUTDUPL_POINTER_SHAPE_INFO info{};
  std::vector<std::uint8_t> bytes;

  [[nodiscard]] int width() const noexcept { return static_cast<int>(info.Width); }
  // Of the pointer: the bitmap of a monochrome one has two masks, one below the other.
  [[nodiscard]] int height() const noexcept;
};
// Made up from `seed`, with rows longer than they need to be. Alpha is 0 or 255, `soft` ones have
// all there are.
[[nodiscard]] PointerShape colour_pointer(int width, int height, POINT hot, unsigned seed,
                                          bool soft = false);
[[nodiscard]] PointerShape masked_pointer(int width, int height, POINT hot, unsigned seed);
[[nodiscard]] PointerShape monochrome_pointer(int width, int height, POINT hot, unsigned seed);
// `screen` with the shape's pixel (x, y) over it, by the rules of
// DXGI_OUTDUPL_POINTER_SHAPE_TYPE.
[[nodiscard]] std::uint32_t under_pointer(const PointerShape& shape, int x, int y,
                                          std::uint32_t screen) noexcept;

class ModelDesktop {
 public:
  ModelDesktop(int width, int height, unsigned seed);

  void resize(int width, int height, unsigned seed);
  void apply(const Update& update);
  // `x`, `y`: the shape's top left corner.
  void move_pointer(int x, int y, bool visible);
  void set_shape(PointerShape shape);

  [[nodiscard]] int width() const noexcept { return width_; }
  [[nodiscard]] int height() const noexcept { return height_; }
  // 0x00RRGGBB, row by row.
  [[nodiscard]] std::vector<std::uint32_t> picture(bool with_pointer) const;

 private:
  [[nodiscard]] std::uint32_t& at(int x, int y) noexcept;

  int width_ = 0;
  int height_ = 0;
  std::vector<std::uint32_t> pixels_;
  int pointer_x_ = 0;
  int pointer_y_ = 0;
  bool pointer_visible_ = false;
  PointerShape shape_;
};

}  // namespace kvm::test
