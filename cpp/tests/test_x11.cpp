// capture/x11 against real X servers; damage: see test_x11_damage.cpp.
#include <doctest/doctest.h>

#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "capture/x11/monitors.hpp"
#include "capture/x11/reader.hpp"
#include "x11_support.hpp"

using namespace kvm;
using kvm::test::config_for;
using kvm::test::differences;
using kvm::test::expect_frame;
using kvm::test::kSecond;
using kvm::test::open_source;
using kvm::test::Painter;
using kvm::test::PrivateServer;
using kvm::test::Viewer;

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
  // Consumers keep shapes by their serial: one that opens again begins no second count.
  const std::uint32_t serial = updates.back().shape->serial;
  source->open(config_for(server, CursorMode::kMetadata));
  const std::int64_t deadline = now_ns() + 5 * kNsPerSec;
  SourceEvent event = source->wait(0, deadline);
  while (!std::holds_alternative<CursorUpdate>(event) && now_ns() < deadline)
    event = source->wait(0, deadline);
  REQUIRE(std::holds_alternative<CursorUpdate>(event));
  REQUIRE(std::get<CursorUpdate>(event).shape);
  CHECK(std::get<CursorUpdate>(event).shape->serial > serial);
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

TEST_CASE("each transport reads what the server has, and leaves no memory behind") {
  using Transport = x11::Reader::Transport;
  // Segments that this process made, whoever still holds them.
  const auto segments = [] {
    std::ifstream list("/proc/sysvipc/shm");
    std::string line;
    int mine = 0;
    std::getline(list, line);  // the heading
    while (std::getline(list, line)) {
      std::istringstream words(line);
      long key = 0, id = 0, mode = 0, size = 0, creator = 0;
      words >> key >> id >> mode >> size >> creator;
      mine += creator == getpid() ? 1 : 0;
    }
    return mine;
  };
  PrivateServer server(320, 200);
  Painter painter(server);
  painter.fill({0, 0, 320, 200}, 0x123456);
  painter.sync();
  x11::Connection connection(server.name());
  const auto read_twice = [&](Transport transport, const std::string& name) {
    x11::Reader reader(connection, {11, 7, 301, 190}, transport);
    CHECK(reader.transport() == name);
    CHECK(segments() == (transport == Transport::kShmSysV ? 1 : 0));
    TileMap tiles(301, 190);
    for (const std::uint32_t colour : {0xabcdefU, 0x00ff00U}) {
      painter.fill({50, 60, 70, 80}, colour);
      painter.sync();
      if (reader.pool().newest() == nullptr) tiles.set_all();
      tiles.add({50 - 11, 60 - 7, 70, 80});
      reader.widen(tiles);
      FramePool::Buffer* buffer = reader.pool().free_buffer();
      REQUIRE(buffer != nullptr);
      auto changed = reader.read(tiles, reader.pool().newest(), *buffer, nullptr);
      REQUIRE(changed.has_value());
      CHECK(changed->any());
      const Frame frame = reader.pool().publish(*buffer, *std::move(changed));
      const std::uint8_t* first = frame.planes().data[0];
      CHECK(differences({first, first + 301 * 190 * 4}, painter.truth({11, 7, 301, 190})) == 0);
      tiles.clear();
    }
  };
  read_twice(Transport::kShmFd, "shared memory, fd");
  read_twice(Transport::kShmSysV, "shared memory, SysV");
  x11::Reply<xcb_get_input_focus_reply_t>(xcb_get_input_focus_reply(
      connection.get(), xcb_get_input_focus(connection.get()), nullptr));  // it has let go
  CHECK(segments() == 0);
  read_twice(Transport::kGetImage, "GetImage");
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

TEST_CASE("a server that hangs does not hang whoever opens, reads or looks at it") {
  PrivateServer server(320, 240);
  const StreamConfig config = config_for(server, CursorMode::kEmbedded);
  const auto source = open_source(config);
  static_cast<void>(expect_frame(*source));
  server.stop();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(600));  // beyond the poll of the pointer
    source->cancel();
  });
  const std::int64_t before = now_ns();
  SourceEvent event = source->wait(0, now_ns() + 30 * kSecond);
  if (std::holds_alternative<Timeout>(event)) event = source->wait(0, now_ns() + 30 * kSecond);
  CHECK(now_ns() - before < 2 * kSecond);
  other.join();
  const auto* lost = std::get_if<SourceLost>(&event);
  CHECK((lost != nullptr && lost->reason.find("does not answer") != std::string::npos));
  CHECK_THROWS_WITH_AS(source->open(config), doctest::Contains("does not answer"), Error);
  CHECK(now_ns() - before < 2 * kSecond);  // a cancelled source asks nobody

  const auto takes = [](const auto& call) {
    const std::int64_t start = now_ns();
    CHECK_THROWS_WITH_AS(call(), doctest::Contains("does not answer"), Error);
    return now_ns() - start;
  };
  CHECK(takes([&] { static_cast<void>(open_source(config)); }) < 6 * kSecond);
  CHECK(takes([&] { static_cast<void>(list_displays(server.name())); }) < 6 * kSecond);
  server.resume();
  static_cast<void>(expect_frame(*open_source(config)));
}

TEST_CASE("a screenshot of a server that hangs between two answers fails in time") {
  PrivateServer server(320, 240);
  const StreamConfig config = config_for(server);
  std::thread other([&] {
    for (int i = 0; i < 50; ++i) {  // it hangs at some point of one or another of them
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      server.stop();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (i < 49) server.resume();
    }
  });
  std::int64_t longest = 0;
  std::string reason;
  while (reason.empty()) {
    const std::int64_t start = now_ns();
    try {
      static_cast<void>(take_screenshot(config, std::make_shared<LogRing>()));
    } catch (const Error& error) {
      reason = error.what();
    }
    longest = std::max(longest, now_ns() - start);
  }
  other.join();
  CHECK(reason.find("does not answer") != std::string::npos);
  CHECK(longest < 7 * kSecond);
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
