// The pointer by GetCursorInfo: place and shape.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/windows.hpp"
#include "capture/source.hpp"

namespace kvm::gdi {

// Capture thread only.
class Cursor {
 public:
  // True when position, visibility or shape changed.
  bool refresh();

  [[nodiscard]] bool visible() const noexcept { return visible_; }
  // Of the hot spot, on the virtual desktop.
  [[nodiscard]] int x() const noexcept { return x_; }
  [[nodiscard]] int y() const noexcept { return y_; }
  // Null until a visible pointer was seen.
  [[nodiscard]] const std::shared_ptr<const CursorShape>& shape() const noexcept { return shape_; }
  // By GDI itself, so that inverting pixels come out right. Row `top` of `dc` is that
  // of `origin` on the desktop; clipping is the caller's.
  void draw(HDC dc, const Rect& origin, int top) const noexcept;

 private:
  HCURSOR handle_ = nullptr;  // the system's, not ours
  std::shared_ptr<const CursorShape> shape_;
  int x_ = 0;
  int y_ = 0;
  bool visible_ = false;
};

// Null when the cursor is gone. Pixels that invert the screen become black with a white edge: a
// viewer draws by alpha.
[[nodiscard]] std::shared_ptr<CursorShape> read_shape(HCURSOR cursor);

// White around `inverting` pixels of a shape where there is nothing else, so that black shows on
// black.
void add_edge(std::vector<std::uint32_t>& pixels, const std::vector<bool>& inverting, int width,
              int height);

}  // namespace kvm::gdi
