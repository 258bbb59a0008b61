// Windows hands out the surface as the panel scans it; users see it turned.
#pragma once

#include "base/windows.hpp"
// Windows' own first.
#include <dxgi.h>

#include "frame/geometry.hpp"

namespace kvm::dxgi {

// Between an output's surface and the upright picture of the same output.
class Rotation {
 public:
  Rotation() = default;
  // Size of the upright picture.
  Rotation(DXGI_MODE_ROTATION turn, int width, int height)
      : turn_(turn), width_(width), height_(height) {}

  [[nodiscard]] Rect to_upright(const Rect& r) const noexcept {
    switch (turn_) {
      case DXGI_MODE_ROTATION_ROTATE90:
        return {width_ - r.bottom(), r.x, r.height, r.width};
      case DXGI_MODE_ROTATION_ROTATE180:
        return {width_ - r.right(), height_ - r.bottom(), r.width, r.height};
      case DXGI_MODE_ROTATION_ROTATE270:
        return {r.y, height_ - r.right(), r.height, r.width};
      default:
        return r;
    }
  }
  [[nodiscard]] Rect to_surface(const Rect& r) const noexcept {
    switch (turn_) {
      case DXGI_MODE_ROTATION_ROTATE90:
        return {r.y, width_ - r.right(), r.height, r.width};
      case DXGI_MODE_ROTATION_ROTATE180:
        return {width_ - r.right(), height_ - r.bottom(), r.width, r.height};
      case DXGI_MODE_ROTATION_ROTATE270:
        return {height_ - r.bottom(), r.x, r.height, r.width};
      default:
        return r;
    }
  }
  [[nodiscard]] Rect surface() const noexcept { return to_surface({0, 0, width_, height_}); }

  // Where an upright rectangle's pixels lie on the surface: the first one, and the bytes to the
  // next one to the right and below.
  struct Walk {
    int x = 0;
    int y = 0;
    std::ptrdiff_t right = 0;
    std::ptrdiff_t down = 0;
  };
  [[nodiscard]] Walk walk(const Rect& upright, std::ptrdiff_t pixel,
                          std::ptrdiff_t pitch) const noexcept {
    const Rect on = to_surface(upright);
    switch (turn_) {
      case DXGI_MODE_ROTATION_ROTATE90:
        return {on.x, on.bottom() - 1, -pitch, pixel};
      case DXGI_MODE_ROTATION_ROTATE180:
        return {on.right() - 1, on.bottom() - 1, -pixel, -pitch};
      case DXGI_MODE_ROTATION_ROTATE270:
        return {on.right() - 1, on.y, pitch, -pixel};
      default:
        return {on.x, on.y, pixel, pitch};
    }
  }

 private:
  DXGI_MODE_ROTATION turn_ = DXGI_MODE_ROTATION_IDENTITY;
  int width_ = 0;
  int height_ = 0;
};

}  // namespace kvm::dxgi
