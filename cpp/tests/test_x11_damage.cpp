// What damage makes capture/x11 read, and when; against real X servers.
#include <doctest/doctest.h>

#include <chrono>
#include <ctime>
#include <random>
#include <thread>

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
