// A small BGRA screen that fuzzers and generators paint on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "frame/frame.hpp"

namespace kvm::test {

// Rectangles must lie inside.
class BgraScreen {
 public:
  BgraScreen(int width, int height)
      : width_(width), height_(height), pixels_(static_cast<std::size_t>(width * height) * 4, 0) {}

  [[nodiscard]] int width() const { return width_; }
  [[nodiscard]] int height() const { return height_; }
  [[nodiscard]] Rect whole() const { return {0, 0, width_, height_}; }
  [[nodiscard]] CpuPlanes planes() {
    return {{pixels_.data(), nullptr, nullptr}, {std::ptrdiff_t{4} * width_, 0, 0}};
  }

  // Calls fn(pixel, x, y): four bytes of each pixel.
  template <typename Fn>
  void each(const Rect& rect, Fn&& fn) {
    for (int y = rect.y; y < rect.bottom(); ++y) {
      for (int x = rect.x; x < rect.right(); ++x) fn(&pixels_[offset(x, y)], x, y);
    }
  }
  void fill(const Rect& rect, std::uint32_t colour) {
    each(rect, [&](std::uint8_t* pixel, int, int) { std::memcpy(pixel, &colour, 4); });
  }
  void noise(const Rect& rect, unsigned seed) {
    each(rect, [&](std::uint8_t* pixel, int, int) {
      seed = seed * 1'664'525U + 1'013'904'223U;
      std::memcpy(pixel, &seed, 4);
    });
  }
  // What stood from (x, y) on comes to `to`; beyond the edges the last pixels are repeated.
  void move(const Rect& to, int x, int y) {
    const std::vector<std::uint8_t> before = pixels_;
    each(to, [&](std::uint8_t* pixel, int at_x, int at_y) {
      const int from_x = std::clamp(x + at_x - to.x, 0, width_ - 1);
      const int from_y = std::clamp(y + at_y - to.y, 0, height_ - 1);
      std::memcpy(pixel, &before[offset(from_x, from_y)], 4);
    });
  }

 private:
  [[nodiscard]] std::size_t offset(int x, int y) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
            static_cast<std::size_t>(x)) *
           4;
  }
  int width_;
  int height_;
  std::vector<std::uint8_t> pixels_;
};

}  // namespace kvm::test
