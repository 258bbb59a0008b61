// The pointer: its shape by XFixes, its position by XInput raw motion (so that a resting pointer
// costs nothing).
#pragma once

#include <xcb/xcb.h>

#include <cstdint>
#include <memory>

#include "capture/source.hpp"
#include "capture/x11/connection.hpp"

namespace kvm::x11 {

// Capture thread only.
class Cursor {
 public:
  // Selects the events on the root window.
  explicit Cursor(const Connection& connection);

  // True when the event was the cursor's.
  bool handle(const xcb_generic_event_t& event) noexcept;
  // Something may have changed since the last refresh(), or it is time to look for a warped
  // pointer.
  [[nodiscard]] bool due(std::int64_t now) const noexcept {
    return shape_dirty_ || position_dirty_ || now >= next_poll_ns_;
  }
  [[nodiscard]] std::int64_t next_poll_ns() const noexcept { return next_poll_ns_; }
  // Asks the server for what may have changed. True when position, visibility or shape did.
  bool refresh(std::int64_t now);

  // Position of the hot spot in the root window.
  [[nodiscard]] int x() const noexcept { return x_; }
  [[nodiscard]] int y() const noexcept { return y_; }
  [[nodiscard]] const std::shared_ptr<const CursorShape>& shape() const noexcept { return shape_; }
  // Where the shape covers the root window; empty when there is nothing to draw.
  [[nodiscard]] Rect root_rect() const noexcept;
  // Blends the shape into `planes`, a picture whose origin is at `origin` of the root window.
  void draw(const CpuPlanes& planes, const Rect& origin) const noexcept;

 private:
  void fetch_shape();

  const Connection& connection_;
  std::shared_ptr<const CursorShape> shape_;
  int x_ = 0;
  int y_ = 0;
  bool shape_dirty_ = true;
  bool position_dirty_ = true;
  std::int64_t next_poll_ns_ = 0;
};

}  // namespace kvm::x11
