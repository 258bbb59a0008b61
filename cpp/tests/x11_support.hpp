// Something to paint with on a private X server, and a viewer that sees only what is captured.
#pragma once

#include <doctest/doctest.h>
#include <xcb/xcb.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "capture/source.hpp"
#include "capture/x11/connection.hpp"
#include "private_server.hpp"

namespace kvm::test {

inline constexpr std::int64_t kSecond = kNsPerSec;

inline StreamConfig config_for(const PrivateServer& server,
                               CursorMode cursor = CursorMode::kHidden) {
  StreamConfig config;
  config.display = server.name();
  config.cursor = cursor;
  return config;
}

inline std::unique_ptr<FrameSource> open_source(const StreamConfig& config) {
  auto source = make_source(config, std::make_shared<LogRing>());
  source->open(config);
  return source;
}

// Paints on the root window through a connection of its own.
class Painter {
 public:
  explicit Painter(const PrivateServer& server)
      : connection_(server.name()), c_(connection_.get()) {
    gc_ = xcb_generate_id(c_);
    const std::uint32_t subwindows = XCB_SUBWINDOW_MODE_INCLUDE_INFERIORS;
    xcb_create_gc(c_, gc_, connection_.root(), XCB_GC_SUBWINDOW_MODE, &subwindows);
  }
  void fill(const Rect& rect, std::uint32_t colour) {
    xcb_change_gc(c_, gc_, XCB_GC_FOREGROUND, &colour);
    const xcb_rectangle_t r{static_cast<std::int16_t>(rect.x), static_cast<std::int16_t>(rect.y),
                            static_cast<std::uint16_t>(rect.width),
                            static_cast<std::uint16_t>(rect.height)};
    xcb_poly_fill_rectangle(c_, connection_.root(), gc_, 1, &r);
  }
  void warp(int x, int y) {
    xcb_warp_pointer(c_, XCB_NONE, connection_.root(), 0, 0, 0, 0, static_cast<std::int16_t>(x),
                     static_cast<std::int16_t>(y));
  }
  // Everything painted so far is on the screen.
  void sync() {
    x11::Reply<xcb_get_input_focus_reply_t>(
        xcb_get_input_focus_reply(c_, xcb_get_input_focus(c_), nullptr));
  }
  std::vector<std::uint8_t> truth(const Rect& area) {
    x11::Reply<xcb_get_image_reply_t> image(xcb_get_image_reply(
        c_,
        xcb_get_image(c_, XCB_IMAGE_FORMAT_Z_PIXMAP, connection_.root(),
                      static_cast<std::int16_t>(area.x), static_cast<std::int16_t>(area.y),
                      static_cast<std::uint16_t>(area.width),
                      static_cast<std::uint16_t>(area.height), 0xffffffff),
        nullptr));
    const std::uint8_t* data = xcb_get_image_data(image.get());
    return {data, data + xcb_get_image_data_length(image.get())};
  }

 private:
  x11::Connection connection_;
  xcb_connection_t* c_;
  xcb_gcontext_t gc_ = 0;
};

// What a viewer that only ever copies damaged tiles would show.
struct Viewer {
  int width = 0;
  std::vector<std::uint8_t> pixels;

  void apply(const Frame& frame) {
    if (width != frame.width) {
      width = frame.width;
      pixels.assign(
          static_cast<std::size_t>(frame.width) * static_cast<std::size_t>(frame.height) * 4, 0x55);
    }
    frame.damage.for_each_run([&](int row, int begin, int end) {
      const Rect r = frame.damage.run_rect(row, begin, end);
      for (int y = r.y; y < r.bottom(); ++y) {
        std::memcpy(pixels.data() + (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
                                     static_cast<std::size_t>(r.x)) *
                                        4,
                    frame.planes().data[0] + y * frame.planes().stride[0] + r.x * 4,
                    static_cast<std::size_t>(r.width) * 4);
      }
    });
  }
  // Takes frames until the screen has been still for 80 ms.
  int follow(FrameSource& source) {
    int frames = 0;
    while (true) {
      SourceEvent event = source.wait(0, now_ns() + 80 * kNsPerMs);
      if (auto* frame = std::get_if<Frame>(&event)) {
        apply(*frame);
        ++frames;
      } else {
        REQUIRE(std::holds_alternative<Timeout>(event));
        return frames;
      }
    }
  }
};

inline std::size_t differences(const std::vector<std::uint8_t>& a,
                               const std::vector<std::uint8_t>& b) {
  if (a.size() != b.size()) return a.size() + b.size();
  std::size_t n = 0;
  for (std::size_t i = 0; i < a.size(); i += 4)
    n += std::memcmp(&a[i], &b[i], 3) != 0 ? 1 : 0;  // X byte undefined
  return n;
}

inline Frame expect_frame(FrameSource& source) {
  const std::int64_t deadline = now_ns() + 2 * kSecond;
  while (true) {
    SourceEvent event = source.wait(0, deadline);
    if (auto* frame = std::get_if<Frame>(&event)) return std::move(*frame);
    REQUIRE(now_ns() < deadline);
  }
}

}  // namespace kvm::test
