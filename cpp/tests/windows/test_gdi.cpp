// GDI capture of a window whose every pixel is known.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "capture/source.hpp"
#include "capture_support.hpp"
#include "window.hpp"

namespace kvm {
namespace {

using test::kPatienceNs;
using test::open;
using test::region;
using test::sees;
using test::shows;
using test::start_stream;
using test::wait_until_still;
using test::Window;

}  // namespace

TEST_CASE("the desktop has a primary monitor, and captures name dxgi first") {
  const auto monitors = list_displays("");
  REQUIRE(!monitors.empty());
  CHECK(std::count_if(monitors.begin(), monitors.end(), [](const auto& m) { return m.primary; }) ==
        1);
  CHECK(!monitors.front().bounds.empty());
  CHECK(monitors.front().id.find('\\') == std::string::npos);
  const auto captures = list_captures("");
  REQUIRE(captures.size() == 3);
  CHECK(captures[0].name == "dxgi");
  // Wine 8 has the devices and outputs, but no duplication.
  CHECK(captures[0].available == captures[0].reason.empty());
  CHECK(captures[1].name == "gdi");
  CHECK(captures[1].available);
}

TEST_CASE("a window's pixels are captured exactly, at odd sizes too") {
  const Rect at{101, 53, 233, 117};
  const Window window(at, 1);
  for (const Rect& area : {at, Rect{90, 40, 301, 203}, Rect{150, 61, 1, 1}, Rect{0, 0, 643, 479}}) {
    const auto source = open(region(area));
    CHECK(source->width() == area.width);
    CHECK(sees(*source, [&](const Frame& frame) {
      return frame.width == area.width && frame.height == area.height &&
             shows(frame, {at.x - area.x, at.y - area.y, at.width, at.height}, 1);
    }));
  }
}

TEST_CASE("a window that moves damages where it was and where it is, and nothing else") {
  Window window({64, 64, 96, 96}, 2);
  const auto source = open(region({0, 0, 640, 480}));
  REQUIRE(sees(*source, [](const Frame& frame) { return shows(frame, {64, 64, 96, 96}, 2); }));
  wait_until_still(*source);
  window.move(304, 240);
  TileMap damage(640, 480);
  CHECK(sees(*source, [&](const Frame& frame) {
    damage.merge(frame.damage);
    return shows(frame, {304, 240, 96, 96}, 2);
  }));
  TileMap expected(640, 480);
  expected.add({64, 64, 96, 96});
  expected.add({304, 240, 96, 96});
  CHECK(damage.intersects({64, 64, 96, 96}));
  CHECK(damage.intersects({304, 240, 96, 96}));
  damage.subtract(expected);
  CHECK(!damage.any());
}

TEST_CASE("a still screen gives no frame, and wake() ends the wait") {
  const auto source = open(region({0, 0, 320, 240}));
  REQUIRE(sees(*source, [](const Frame&) { return true; }));
  wait_until_still(*source);
  source->wake();
  const std::int64_t before = now_ns();
  CHECK(std::holds_alternative<Timeout>(source->wait(0, before + kPatienceNs)));
  CHECK(now_ns() - before < kPatienceNs / 2);
}

TEST_CASE("no picture comes before its time") {
  const auto source = open(region({0, 0, 320, 240}));
  const std::int64_t not_before = now_ns() + 200 * kNsPerMs;
  const SourceEvent event = source->wait(not_before, now_ns() + kPatienceNs);
  CHECK(std::holds_alternative<Frame>(event));
  CHECK(now_ns() >= not_before);
}

TEST_CASE("the cursor's place and shape come as metadata, and the picture is without it") {
  const Rect at{96, 96, 200, 160};
  Window window(at, 3);
  window.come_to_front();
  SetCursorPos(150, 140);
  const auto source = open(region({90, 90, 220, 180}, CursorMode::kMetadata));
  std::optional<CursorUpdate> cursor;
  bool clean = false;
  const std::int64_t deadline = now_ns() + kPatienceNs;
  while (now_ns() < deadline && !(clean && cursor && cursor->x == 60 && cursor->y == 50)) {
    SourceEvent event = source->wait(0, deadline);
    if (auto* update = std::get_if<CursorUpdate>(&event)) cursor = *update;
    if (const auto* frame = std::get_if<Frame>(&event))
      clean = shows(*frame, {6, 6, at.width, at.height}, 3);
  }
  CHECK(clean);
  REQUIRE(cursor);
  CHECK(cursor->x == 60);
  CHECK(cursor->y == 50);
  REQUIRE(cursor->visible);
  REQUIRE(cursor->shape);
  const CursorShape& shape = *cursor->shape;
  CHECK(shape.bgra.size() == static_cast<std::size_t>(shape.width * shape.height * 4));
  bool any_opaque = false;
  for (std::size_t i = 3; i < shape.bgra.size(); i += 4) any_opaque |= shape.bgra[i] == 255;
  CHECK(any_opaque);
  // Consumers keep shapes by their serial: another source begins no second count.
  const auto another = open(region({90, 90, 220, 180}, CursorMode::kMetadata));
  SourceEvent event = another->wait(0, deadline);
  while (!std::holds_alternative<CursorUpdate>(event) && now_ns() < deadline)
    event = another->wait(0, deadline);
  REQUIRE(std::holds_alternative<CursorUpdate>(event));
  REQUIRE(std::get<CursorUpdate>(event).shape);
  CHECK(std::get<CursorUpdate>(event).shape->serial > shape.serial);
}

TEST_CASE("an embedded cursor changes the picture where it stands, and only there") {
  const Rect at{64, 64, 256, 256};
  Window window(at, 4);
  window.come_to_front();
  SetCursorPos(600, 400);
  const auto source = open(region(at, CursorMode::kEmbedded));
  REQUIRE(sees(*source, [](const Frame& frame) { return shows(frame, {0, 0, 256, 256}, 4); }));
  SetCursorPos(64 + 128, 64 + 128);
  CHECK(sees(*source, [](const Frame& frame) {
    return frame.damage.at(8, 8) && !frame.damage.at(0, 0) && !frame.damage.at(15, 15) &&
           !shows(frame, {0, 0, 256, 256}, 4);
  }));
  SetCursorPos(600, 400);
  CHECK(sees(*source, [](const Frame& frame) { return shows(frame, {0, 0, 256, 256}, 4); }));
}

TEST_CASE("a region or monitor that does not exist is refused with what there is") {
  const auto refused = [](const StreamConfig& config) -> std::string {
    try {
      open(config);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK(refused(region({0, 0, 8000, 8000})).find("8000") != std::string::npos);
  StreamConfig config;
  config.display = "DISPLAY99";
  CHECK(refused(config).find("it has ") != std::string::npos);
}

TEST_CASE("the pipeline makes H.264 of the screen with our own encoder") {
  const Window window({0, 0, 320, 240}, 5);
  const auto pipeline = start_stream(region({0, 0, 321, 241}));
  const auto subscription = pipeline->subscribe(8);
  const PacketPtr packet = subscription->next(kPatienceNs);
  REQUIRE(packet);
  CHECK(packet->keyframe);
  CHECK(packet->width == 321);
  CHECK(packet->height == 241);
  REQUIRE(packet->data.size() > 4);
  CHECK(pipeline->stats().encoder == "screen");
  CHECK(pipeline->stats().capture.starts_with("gdi"));
}

}  // namespace kvm
