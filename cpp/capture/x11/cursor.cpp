#include "capture/x11/cursor.hpp"

#include <xcb/xfixes.h>
#include <xcb/xinput.h>

#include <algorithm>

#include "base/clock.hpp"

namespace kvm::x11 {
namespace {

// A program may warp the pointer without any raw motion; without XInput this is the only way to see
// it move.
constexpr std::int64_t kWarpPollNs = 250 * kNsPerMs;
constexpr std::int64_t kPollWithoutXinputNs = 16 * kNsPerMs;

}  // namespace

Cursor::Cursor(const Connection& connection) : connection_(connection) {
  xcb_connection_t* c = connection.get();
  if (connection.extensions().xfixes_event != 0) {
    xcb_xfixes_select_cursor_input(c, connection.root(),
                                   XCB_XFIXES_CURSOR_NOTIFY_MASK_DISPLAY_CURSOR);
  }
  if (connection.extensions().xinput_opcode != 0) {
    const struct {
      xcb_input_event_mask_t head;
      std::uint32_t mask;
    } select{{XCB_INPUT_DEVICE_ALL_MASTER, 1}, XCB_INPUT_XI_EVENT_MASK_RAW_MOTION};
    xcb_input_xi_select_events(c, connection.root(), 1, &select.head);
  }
}

bool Cursor::handle(const xcb_generic_event_t& event) noexcept {
  const auto type = static_cast<std::uint8_t>(event.response_type & 0x7f);
  const Extensions& extensions = connection_.extensions();
  if (extensions.xfixes_event != 0 && type == extensions.xfixes_event + XCB_XFIXES_CURSOR_NOTIFY) {
    shape_dirty_ = true;
    return true;
  }
  if (extensions.xinput_opcode != 0 && type == XCB_GE_GENERIC &&
      reinterpret_cast<const xcb_ge_generic_event_t&>(event).extension ==
          extensions.xinput_opcode) {
    position_dirty_ = true;
    return true;
  }
  return false;
}

bool Cursor::refresh(std::int64_t now) {
  xcb_connection_t* c = connection_.get();
  next_poll_ns_ =
      now + (connection_.extensions().xinput_opcode != 0 ? kWarpPollNs : kPollWithoutXinputNs);
  position_dirty_ = false;
  bool changed = false;
  if (shape_dirty_) {
    shape_dirty_ = false;
    const auto before = shape_;
    fetch_shape();
    changed = shape_ != before;
  }
  Reply<xcb_query_pointer_reply_t> pointer(
      xcb_query_pointer_reply(c, xcb_query_pointer(c, connection_.root()), nullptr));
  if (pointer && (pointer->root_x != x_ || pointer->root_y != y_)) {
    x_ = pointer->root_x;
    y_ = pointer->root_y;
    changed = true;
  }
  return changed;
}

void Cursor::fetch_shape() {
  if (connection_.extensions().xfixes_event == 0) return;
  xcb_connection_t* c = connection_.get();
  Reply<xcb_xfixes_get_cursor_image_reply_t> image(
      xcb_xfixes_get_cursor_image_reply(c, xcb_xfixes_get_cursor_image(c), nullptr));
  if (!image || image->width == 0 || image->height == 0) return;
  auto shape = std::make_shared<CursorShape>();
  shape->serial = next_shape_serial();
  shape->width = image->width;
  shape->height = image->height;
  shape->hot_x = image->xhot;
  shape->hot_y = image->yhot;
  const std::uint32_t* pixels = xcb_xfixes_get_cursor_image_cursor_image(image.get());
  const auto count =
      static_cast<std::size_t>(xcb_xfixes_get_cursor_image_cursor_image_length(image.get()));
  shape->bgra.resize(count * 4);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t alpha = pixels[i] >> 24;
    for (unsigned channel = 0; channel < 3; ++channel) {
      const std::uint32_t premultiplied = (pixels[i] >> (8 * channel)) & 0xff;
      const std::uint32_t straight =
          alpha == 0 ? 0 : std::min(255U, (premultiplied * 255 + alpha / 2) / alpha);
      shape->bgra[i * 4 + channel] = static_cast<std::uint8_t>(straight);
    }
    shape->bgra[i * 4 + 3] = static_cast<std::uint8_t>(alpha);
  }
  shape_ = std::move(shape);
}

Rect Cursor::root_rect() const noexcept {
  if (!shape_) return {};
  return {x_ - shape_->hot_x, y_ - shape_->hot_y, shape_->width, shape_->height};
}

void Cursor::draw(const CpuPlanes& planes, const Rect& origin) const noexcept {
  const Rect at = root_rect();
  const Rect visible = intersect(at, origin);
  for (int y = visible.y; y < visible.bottom(); ++y) {
    const std::uint8_t* from =
        shape_->bgra.data() +
        (std::size_t(y - at.y) * std::size_t(shape_->width) + std::size_t(visible.x - at.x)) * 4;
    std::uint8_t* to =
        planes.data[0] + (y - origin.y) * planes.stride[0] + (visible.x - origin.x) * 4;
    for (int x = 0; x < visible.width; ++x, from += 4, to += 4) {
      const int alpha = from[3];
      for (int channel = 0; channel < 3; ++channel) {
        const int mixed = from[channel] * alpha + to[channel] * (255 - alpha);
        to[channel] = static_cast<std::uint8_t>((mixed + 127) / 255);
      }
    }
  }
}

}  // namespace kvm::x11
