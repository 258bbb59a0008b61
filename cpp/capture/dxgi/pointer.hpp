// The pointer as Desktop Duplication tells of it: apart from the picture.
#pragma once

#include <dxgi1_2.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "capture/source.hpp"

namespace kvm::dxgi {

// Of one output. Capture thread only.
class Pointer {
 public:
  // What came with a frame. True when something about it changed.
  bool update(const DXGI_OUTDUPL_FRAME_INFO& info, IDXGIOutputDuplication& duplication);

  // Where it is drawn, from the output's corner; empty when it is not.
  [[nodiscard]] Rect bounds() const noexcept;
  // The hot spot counts from `area`'s corner, which is one of the output's pixels.
  [[nodiscard]] CursorUpdate metadata(const Rect& area) const;
  // Onto `picture`, which shows `area` of the output. Blends and inverts: once for each time that
  // the pixels below are drawn.
  void draw(const CpuPlanes& picture, const Rect& area) const noexcept;

 private:
  // The pixels of this shape on what is there already.
  [[nodiscard]] std::uint32_t over(int x, int y, std::uint32_t screen) const noexcept;
  [[nodiscard]] int width() const noexcept { return static_cast<int>(info_.Width); }
  [[nodiscard]] int height() const noexcept;
  [[nodiscard]] bool mask_bit(int x, int row) const noexcept;
  [[nodiscard]] std::uint32_t colour(int x, int y) const noexcept;
  [[nodiscard]] std::shared_ptr<const CursorShape> make_shape() const;
  void read_shape(UINT size, IDXGIOutputDuplication& duplication);

  int x_ = 0;  // of the shape's corner
  int y_ = 0;
  bool visible_ = false;
  DXGI_OUTDUPL_POINTER_SHAPE_INFO info_{};
  std::vector<std::uint8_t> bytes_;  // empty until there is a shape that makes sense
  std::shared_ptr<const CursorShape> shape_;
};

}  // namespace kvm::dxgi
