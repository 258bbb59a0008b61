// capture/x11 against real X servers.
#include <doctest/doctest.h>
#include <xcb/xcb.h>

#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "capture/source.hpp"
#include "capture/x11/connection.hpp"
#include "capture/x11/monitors.hpp"
#include "capture/x11/reader.hpp"
#include "capture/x11/x11_source.hpp"
#include "private_server.hpp"

using namespace kvm;
using kvm::test::PrivateServer;

namespace {

constexpr std::int64_t kSecond = kNsPerSec;

StreamConfig config_for(const PrivateServer& server, CursorMode cursor = CursorMode::kHidden) {
  StreamConfig config;
  config.display = server.name();
  config.cursor = cursor;
  return config;
}

std::unique_ptr<FrameSource> open_source(const StreamConfig& config) {
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

std::size_t differences(const std::vector<std::uint8_t>& a, const std::vector<std::uint8_t>& b) {
  if (a.size() != b.size()) return a.size() + b.size();
  std::size_t n = 0;
  for (std::size_t i = 0; i < a.size(); i += 4)
    n += std::memcmp(&a[i], &b[i], 3) != 0 ? 1 : 0;  // X byte undefined
  return n;
}

Frame expect_frame(FrameSource& source) {
  const std::int64_t deadline = now_ns() + 2 * kSecond;
  while (true) {
    SourceEvent event = source.wait(0, deadline);
    if (auto* frame = std::get_if<Frame>(&event)) return std::move(*frame);
    REQUIRE(now_ns() < deadline);
  }
}

}  // namespace

TEST_CASE("the first frame is the whole screen and a still screen gives nothing more") {
  PrivateServer server(333, 251);
  Painter painter(server);
  painter.fill({0, 0, 333, 251}, 0x204060);
  painter.fill({17, 9, 100, 40}, 0xff8000);
  painter.sync();
  const auto source = open_source(config_for(server));
  CHECK(source->width() == 333);
  CHECK(source->height() == 251);
  CHECK(source->description().find("shared memory, fd") != std::string::npos);
  Viewer viewer;
  CHECK(viewer.follow(*source) == 1);
  CHECK(differences(viewer.pixels, painter.truth({0, 0, 333, 251})) == 0);
}

TEST_CASE("damaged tiles alone keep a viewer exact, whatever is painted") {
  PrivateServer server(645, 470);
  Painter painter(server);
  painter.fill({0, 0, 645, 470}, 0);
  painter.sync();
  const auto source = open_source(config_for(server));
  Viewer viewer;
  viewer.follow(*source);
  std::mt19937 random(7);
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 60; ++round) {
    for (int k = pick(1, 12); k > 0; --k) {
      const bool wide = pick(0, 3) == 0;
      painter.fill({pick(-20, 640), pick(-20, 465), wide ? 645 : pick(1, 200), pick(1, 120)},
                   random() & 0xffffff);
    }
    painter.sync();
    if (round % 3 != 0) {  // leave some damage pending across captures
      SourceEvent event = source->wait(0, now_ns() + 50 * kNsPerMs);
      if (auto* frame = std::get_if<Frame>(&event)) viewer.apply(*frame);
      continue;
    }
    viewer.follow(*source);
    REQUIRE(differences(viewer.pixels, painter.truth({0, 0, 645, 470})) == 0);
  }
}

TEST_CASE("damage is trimmed to what really changed") {
  PrivateServer server(640, 480);
  Painter painter(server);
  painter.fill({0, 0, 640, 480}, 0x101010);
  painter.sync();
  const auto source = open_source(config_for(server));
  Viewer viewer;
  viewer.follow(*source);
  SUBCASE("painting the same colour again is no frame") {
    painter.fill({0, 0, 640, 480}, 0x101010);
    painter.sync();
    CHECK(viewer.follow(*source) == 0);
  }
  SUBCASE("a wide repaint with one new pixel is one tile") {
    painter.fill({0, 0, 640, 480}, 0x101010);
    painter.fill({200, 100, 1, 1}, 0xffffff);
    painter.sync();
    const Frame frame = expect_frame(*source);
    CHECK(frame.damage.count() == 1);
    CHECK(frame.damage.at(200 / kTile, 100 / kTile));
    CHECK(frame.times.damaged <= frame.times.captured);
  }
}

TEST_CASE("a region is captured in its own coordinates") {
  PrivateServer server(640, 480);
  Painter painter(server);
  painter.fill({0, 0, 640, 480}, 0x303030);
  painter.fill({105, 55, 30, 20}, 0x00ff00);
  painter.sync();
  StreamConfig config = config_for(server);
  config.region = Rect{101, 51, 75, 33};
  const auto source = open_source(config);
  Viewer viewer;
  viewer.follow(*source);
  CHECK(source->width() == 75);
  CHECK(differences(viewer.pixels, painter.truth({101, 51, 75, 33})) == 0);
  painter.fill({0, 0, 90, 40}, 0xffffff);  // outside: nothing to see
  painter.sync();
  CHECK(viewer.follow(*source) == 0);
  config.region = Rect{600, 0, 41, 10};
  CHECK_THROWS_WITH_AS(open_source(config), doctest::Contains("reaches outside"), Error);
}

TEST_CASE("not_before holds a frame back and damage merges meanwhile") {
  PrivateServer server(320, 240);
  Painter painter(server);
  const auto source = open_source(config_for(server));
  Viewer viewer;
  viewer.follow(*source);
  const std::int64_t not_before = now_ns() + 60 * kNsPerMs;
  painter.fill({0, 0, 16, 16}, 0xff0000);
  painter.sync();
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    painter.fill({64, 64, 16, 16}, 0x0000ff);
    painter.sync();
  });
  SourceEvent event = source->wait(not_before, now_ns() + kSecond);
  later.join();
  REQUIRE(std::holds_alternative<Frame>(event));
  CHECK(now_ns() >= not_before);
  CHECK(std::get<Frame>(event).damage.count() == 2);
}

TEST_CASE("damage rests while everything changes, and nothing is missed when it starts again") {
  PrivateServer server(320, 240);
  Painter painter(server);
  painter.fill({0, 0, 320, 240}, 0);
  painter.sync();
  const auto source = open_source(config_for(server));
  Viewer viewer;
  viewer.follow(*source);
  const auto resting = [&] { return source->description().find("resting") != std::string::npos; };
  std::int64_t not_before = now_ns();
  const auto frames_of_noise = [&](int frames) {
    for (int i = 0; i < frames; ++i) {
      painter.fill({0, 0, 320, 240}, static_cast<std::uint32_t>(i * 0x10305 + 1) & 0xffffff);
      painter.sync();
      not_before += 10 * kNsPerMs;
      SourceEvent event = source->wait(not_before, now_ns() + kSecond);
      REQUIRE(std::holds_alternative<Frame>(event));
      viewer.apply(std::get<Frame>(event));
    }
  };
  frames_of_noise(20);
  CHECK_FALSE(resting());
  frames_of_noise(40);
  CHECK(resting());
  painter.fill({30, 30, 4, 4}, 0xffffff);
  painter.sync();
  viewer.follow(*source);
  CHECK_FALSE(resting());
  CHECK(differences(viewer.pixels, painter.truth({0, 0, 320, 240})) == 0);
  // It is damage that wakes it now.
  const std::int64_t before = now_ns();
  SourceEvent still = source->wait(0, before + 100 * kNsPerMs);
  CHECK(std::holds_alternative<Timeout>(still));
  painter.fill({100, 100, 8, 8}, 0x00ff00);
  painter.sync();
  CHECK(viewer.follow(*source) == 1);
  CHECK(differences(viewer.pixels, painter.truth({0, 0, 320, 240})) == 0);
}

TEST_CASE("a still screen without damage is looked at once a frame, no more") {
  PrivateServer server(320, 200, "Xvfb", {"-extension", "DAMAGE"});
  StreamConfig config = config_for(server);
  config.fps = 20;
  const auto source = open_source(config);
  Viewer viewer;
  viewer.follow(*source);
  timespec start{};
  timespec end{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
  CHECK(std::holds_alternative<Timeout>(source->wait(0, now_ns() + 500 * kNsPerMs)));
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  const std::int64_t used = (end.tv_sec - start.tv_sec) * kSecond + end.tv_nsec - start.tv_nsec;
  CHECK(used < 100 * kNsPerMs);
}

TEST_CASE("wake() ends a wait") {
  PrivateServer server(320, 240);
  const auto source = open_source(config_for(server));
  static_cast<void>(expect_frame(*source));
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    source->wake();
  });
  const std::int64_t before = now_ns();
  CHECK(std::holds_alternative<Timeout>(source->wait(0, now_ns() + 10 * kSecond)));
  CHECK(now_ns() - before < kSecond);
  other.join();
}

TEST_CASE("the cursor is drawn in, moves with its own damage and leaves nothing behind") {
  PrivateServer server(400, 300);
  Painter painter(server);
  server.run("xsetroot -cursor_name left_ptr");
  painter.fill({0, 0, 400, 300}, 0x406080);
  painter.warp(50, 60);
  painter.sync();
  const auto source = open_source(config_for(server, CursorMode::kEmbedded));
  Viewer viewer;
  viewer.follow(*source);
  const auto clean = painter.truth({0, 0, 400, 300});
  const std::size_t drawn = differences(viewer.pixels, clean);
  CHECK(drawn > 20);
  CHECK(drawn < 32 * 32);
  painter.warp(200, 150);
  painter.sync();
  std::this_thread::sleep_for(
      std::chrono::milliseconds(300));  // a warp makes no raw motion: it is found by the slow poll
  viewer.follow(*source);
  const std::size_t moved = differences(viewer.pixels, clean);
  CHECK(moved > 20);
  CHECK(moved < 32 * 32);
  // Painting under and around it redraws it exactly once.
  painter.fill({0, 140, 400, 30}, 0x102030);
  painter.sync();
  CHECK(viewer.follow(*source) > 0);
  painter.fill({0, 140, 400, 30}, 0x406080);
  painter.sync();
  CHECK(viewer.follow(*source) > 0);
  CHECK(differences(viewer.pixels, painter.truth({0, 0, 400, 300})) == moved);
}

TEST_CASE("as metadata the cursor comes beside the frames") {
  PrivateServer server(400, 300);
  Painter painter(server);
  server.run("xsetroot -cursor_name left_ptr");
  painter.fill({0, 0, 400, 300}, 0x406080);
  painter.warp(50, 60);
  painter.sync();
  const auto source = open_source(config_for(server, CursorMode::kMetadata));
  Viewer viewer;
  std::vector<CursorUpdate> updates;
  const std::int64_t until = now_ns() + 700 * kNsPerMs;
  bool warped = false;
  while (now_ns() < until) {
    SourceEvent event = source->wait(0, until);
    if (auto* frame = std::get_if<Frame>(&event)) viewer.apply(*frame);
    if (auto* update = std::get_if<CursorUpdate>(&event)) updates.push_back(*update);
    if (!updates.empty() && !warped) {
      warped = true;
      painter.warp(300, 200);
      painter.sync();
    }
  }
  CHECK(differences(viewer.pixels, painter.truth({0, 0, 400, 300})) == 0);
  REQUIRE(updates.size() >= 2);
  CHECK(updates.front().x == 50);
  CHECK(updates.front().y == 60);
  REQUIRE(updates.back().shape);
  CHECK(updates.back().x == 300);
  CHECK(updates.back().visible);
  CHECK(updates.back().shape->bgra.size() ==
        static_cast<std::size_t>(updates.back().shape->width * updates.back().shape->height * 4));
}

TEST_CASE("every transport reads the same pixels") {
  PrivateServer plain(320, 200, "Xvfb", {"-extension", "MIT-SHM"});
  PrivateServer undamaged(320, 200, "Xvfb", {"-extension", "DAMAGE"});
  for (PrivateServer* server : {&plain, &undamaged}) {
    Painter painter(*server);
    painter.fill({0, 0, 320, 200}, 0x123456);
    painter.sync();
    const auto source = open_source(config_for(*server));
    static_cast<void>(expect_frame(*source));
    painter.fill({33, 44, 55, 66}, 0xabcdef);
    painter.sync();
    const Frame frame = expect_frame(*source);
    CHECK(frame.damage.count() == 4 * 5);
    Viewer viewer;
    std::vector<std::uint8_t> shown(frame.planes().data[0], frame.planes().data[0] + 320 * 200 * 4);
    CHECK(differences(shown, painter.truth({0, 0, 320, 200})) == 0);
  }
  CHECK(open_source(config_for(plain))->description().find("GetImage") != std::string::npos);
  CHECK(open_source(config_for(undamaged))->description().find("polling") != std::string::npos);
}

TEST_CASE("a resized server and a new monitor ask for a reopen, and the new size is captured") {
  PrivateServer server(800, 600, "Xtigervnc");
  Painter painter(server);
  const StreamConfig config = config_for(server);
  const auto source = open_source(config);
  static_cast<void>(expect_frame(*source));
  const auto wait_change = [&] {
    const std::int64_t deadline = now_ns() + 5 * kSecond;
    while (now_ns() < deadline) {
      SourceEvent event = source->wait(0, deadline);
      if (std::holds_alternative<GeometryChanged>(event)) {
        source->open(config);
        return true;
      }
    }
    return false;
  };
  REQUIRE(server.run("xrandr -s 640x480") == 0);
  REQUIRE(wait_change());
  CHECK(source->width() == 640);
  CHECK(expect_frame(*source).height == 480);
  REQUIRE(server.run("xrandr --setmonitor left 320/100x480/100+0+0 VNC-0") == 0);
  REQUIRE(wait_change());
  CHECK(source->width() == 320);
  REQUIRE(server.run("xrandr --delmonitor left") == 0);
  REQUIRE(wait_change());
  CHECK(source->width() == 640);
}

TEST_CASE("an X server that goes away is reported, once and for all") {
  PrivateServer server(320, 240);
  const auto source = open_source(config_for(server));
  static_cast<void>(expect_frame(*source));
  server.kill();
  SourceEvent event = source->wait(0, now_ns() + 2 * kSecond);
  REQUIRE(std::holds_alternative<SourceLost>(event));
  CHECK(std::get<SourceLost>(event).reason.find("closed the connection") != std::string::npos);
  CHECK_THROWS_AS(source->open(config_for(server)), Error);
}

TEST_CASE("what cannot be captured says why and what to do") {
  StreamConfig config;
  config.display = ":9999";
  CHECK_THROWS_WITH_AS(open_source(config), doctest::Contains("cannot connect to X server ':9999'"),
                       Error);
  PrivateServer server(320, 240);
  config.display = server.name() + "/HDMI-7";
  CHECK_THROWS_WITH_AS(open_source(config), doctest::Contains("has no monitor 'HDMI-7'; it has"),
                       Error);
  PrivateServer shallow(320, 240, "Xvfb", {"-screen", "0", "320x240x16"});
  CHECK_THROWS_WITH_AS(open_source(config_for(shallow)), doctest::Contains("24-bit colour"), Error);
}

TEST_CASE("frames stay valid while held, also after the source has closed") {
  PrivateServer server(320, 240);
  Painter painter(server);
  painter.fill({0, 0, 320, 240}, 0x112233);
  painter.sync();
  auto source = open_source(config_for(server));
  Frame held = expect_frame(*source);
  std::vector<std::uint8_t> before(held.planes().data[0], held.planes().data[0] + 320 * 240 * 4);
  for (std::uint32_t i = 0; i < 6; ++i) {
    painter.fill({0, 0, 320, 240}, 0x010101 * i);
    painter.sync();
    static_cast<void>(expect_frame(*source));
  }
  source.reset();
  CHECK(std::memcmp(before.data(), held.planes().data[0], before.size()) == 0);
}
