// Two monitors: their list, capture of each, the pointer on both. $KVMSTREAM_TEST_MONITORS says
// which there have to be, as Windows counts: "1280x1024+0+0 640x480-640-96", the primary one first.
// Without it what the desktop has is used.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "capture/source.hpp"
#include "capture_support.hpp"
#include "input/desktop.hpp"
#include "input/sendinput.hpp"
#include "recorder.hpp"
#include "window.hpp"

namespace kvm {
namespace {

using input::SendInputInjector;
using test::kPatienceNs;
using test::Message;
using test::open;
using test::Recorder;
using test::sees;
using test::shows;
using test::start_stream;
using test::wait_until_still;
using test::Window;

std::vector<Rect> wanted_monitors() {
  const char* said = std::getenv("KVMSTREAM_TEST_MONITORS");
  std::istringstream words(said == nullptr ? "" : said);
  std::vector<Rect> wanted;
  for (std::string word; words >> word;) {
    Rect at;
    REQUIRE(std::sscanf(word.c_str(), "%dx%d%d%d", &at.width, &at.height, &at.x, &at.y) == 4);
    wanted.push_back(at);
  }
  return wanted;
}

struct Pair {
  DisplayInfo primary, other;
};

// None on a desktop with one monitor, which nobody said to have two.
std::optional<Pair> two_monitors() {
  auto monitors = list_displays("");
  if (monitors.size() < 2) {
    REQUIRE(wanted_monitors().size() < 2);
    MESSAGE("this desktop has one monitor: not tested");
    return std::nullopt;
  }
  std::ranges::stable_partition(monitors, [](const DisplayInfo& m) { return m.primary; });
  return Pair{monitors[0], monitors[1]};
}

Rect left_one(const Pair& pair) {
  return pair.other.bounds.x < 0 ? pair.other.bounds : pair.primary.bounds;
}

StreamConfig monitor(const DisplayInfo& shown, std::optional<Rect> region = std::nullopt,
                     CursorMode cursor = CursorMode::kHidden) {
  StreamConfig config;
  config.display = shown.id;
  config.region = region;
  config.cursor = cursor;
  return config;
}

Rect from(const Rect& rect, const Rect& origin) {
  return {rect.x - origin.x, rect.y - origin.y, rect.width, rect.height};
}

bool stands_at(int x, int y) {
  POINT at{};
  REQUIRE(GetCursorPos(&at));
  CAPTURE(at.x);
  CAPTURE(at.y);
  CHECK(at.x == x);
  CHECK(at.y == y);
  return at.x == x && at.y == y;
}

}  // namespace

TEST_CASE("monitors are listed with their places, the primary one at the origin") {
  const auto monitors = list_displays("");
  for (const DisplayInfo& info : monitors) {
    CHECK(info.primary == (info.bounds.x == 0 && info.bounds.y == 0));
    CHECK(info.id.starts_with("DISPLAY"));
  }
  const auto wanted = wanted_monitors();
  if (wanted.empty()) return;
  REQUIRE(monitors.size() == wanted.size());
  for (const Rect& at : wanted) {
    CHECK(std::ranges::count_if(monitors, [&](const auto& m) { return m.bounds == at; }) == 1);
  }
  const auto primary = std::ranges::find_if(monitors, [](const auto& m) { return m.primary; });
  REQUIRE(primary != monitors.end());
  CHECK(primary->bounds == wanted.front());
  const Rect all = input::make_desktop()->bounds();
  for (const Rect& at : wanted) CHECK(intersect(all, at) == at);
}

TEST_CASE("each monitor is captured exactly, with its part of a window on the border") {
  const auto pair = two_monitors();
  if (!pair) return;
  const Rect left = left_one(*pair);
  unsigned seed = 10;
  for (const DisplayInfo* shown : {&pair->primary, &pair->other}) {
    CAPTURE(shown->id);
    const Rect& all = shown->bounds;
    // In the last corner, in the middle, and over the border between the two.
    const Rect corner{all.right() - 61, all.bottom() - 43, 61, 43};
    const Rect middle{all.x + 101, all.y + 153, 133, 117};
    const Rect border{left.right() - 37, left.bottom() - 150, 91, 57};
    const Window first(corner, seed);
    const Window second(middle, seed + 1);
    const Window third(border, seed + 2);
    const auto whole = open(monitor(*shown));
    CHECK(whole->width() == all.width);
    CHECK(whole->height() == all.height);
    CHECK(sees(*whole, [&](const Frame& frame) {
      return frame.width == all.width && frame.height == all.height &&
             shows(frame, from(corner, all), seed) && shows(frame, from(middle, all), seed + 1) &&
             shows(frame, from(border, all), seed + 2);
    }));
    // Regions count from the monitor's corner, down to its last pixel.
    for (const Rect& region :
         {Rect{91, 140, 201, 143}, Rect{all.width - 1, all.height - 1, 1, 1}}) {
      const Rect& shown_there = region.width == 1 ? corner : middle;
      const auto part = open(monitor(*shown, region));
      CHECK(sees(*part, [&](const Frame& frame) {
        return frame.width == region.width && frame.height == region.height &&
               shows(frame, from(from(shown_there, all), region),
                     region.width == 1 ? seed : seed + 1);
      }));
    }
    std::string refusal;
    try {
      open(monitor(*shown, Rect{all.width - 10, 0, 11, 10}));  // the other monitor is beside it
    } catch (const Error& error) {
      refusal = error.what();
    }
    CHECK(refusal.find(shown->id) != std::string::npos);
    CHECK(refusal.find(std::to_string(all.width) + "x") != std::string::npos);
    seed += 3;
  }
}

TEST_CASE("what changes on one monitor is damage there and none on the other") {
  const auto pair = two_monitors();
  if (!pair) return;
  const Rect& at = pair->other.bounds;
  Window window({at.x + 64, at.y + 64, 96, 96}, 30);
  const auto here = open(monitor(pair->other));
  const auto there = open(monitor(pair->primary));
  REQUIRE(sees(*here, [](const Frame& frame) { return shows(frame, {64, 64, 96, 96}, 30); }));
  wait_until_still(*here);
  REQUIRE(sees(*there, [](const Frame&) { return true; }));
  wait_until_still(*there);
  window.move(at.x + 208, at.y + 240);
  TileMap damage(at.width, at.height);
  CHECK(sees(*here, [&](const Frame& frame) {
    damage.merge(frame.damage);
    return shows(frame, {208, 240, 96, 96}, 30);
  }));
  TileMap expected(at.width, at.height);
  expected.add({64, 64, 96, 96});
  expected.add({208, 240, 96, 96});
  CHECK(damage.intersects({64, 64, 96, 96}));
  damage.subtract(expected);
  CHECK_FALSE(damage.any());
  CHECK(std::holds_alternative<Timeout>(there->wait(0, now_ns() + 100 * kNsPerMs)));
}

TEST_CASE("the cursor's place is told from the corner of the monitor that is shown") {
  const auto pair = two_monitors();
  if (!pair) return;
  for (const DisplayInfo* shown : {&pair->other, &pair->primary}) {
    CAPTURE(shown->id);
    const Rect& all = shown->bounds;
    Window window({all.x + 100, all.y + 100, 200, 160}, 40);
    window.come_to_front();
    SetCursorPos(all.x + 150, all.y + 140);
    // The other monitor's stream is told, too: negative there, or past its end.
    for (const DisplayInfo* from : {&pair->other, &pair->primary}) {
      const auto source = open(monitor(*from, std::nullopt, CursorMode::kMetadata));
      const int x = all.x + 150 - from->bounds.x;
      const int y = all.y + 140 - from->bounds.y;
      std::optional<CursorUpdate> cursor;
      const std::int64_t deadline = now_ns() + kPatienceNs;
      while (now_ns() < deadline && !(cursor && cursor->x == x && cursor->y == y)) {
        SourceEvent event = source->wait(0, deadline);
        if (auto* update = std::get_if<CursorUpdate>(&event)) cursor = *update;
      }
      REQUIRE(cursor);
      CHECK(cursor->x == x);
      CHECK(cursor->y == y);
      CHECK(cursor->visible);
    }
  }
}

TEST_CASE("a stream goes from one monitor to the other with a new generation") {
  const auto pair = two_monitors();
  if (!pair) return;
  const auto pipeline = start_stream(monitor(pair->primary));
  const auto subscription = pipeline->subscribe(8);
  const PacketPtr first = subscription->next(kPatienceNs);
  REQUIRE(first);
  CHECK(first->width == pair->primary.bounds.width);
  PipelineUpdate update;
  update.display = pair->other.id;
  pipeline->update(update);
  PacketPtr next = first;
  for (const std::int64_t deadline = now_ns() + kPatienceNs;
       now_ns() < deadline && next->generation == first->generation;) {
    const PacketPtr packet = subscription->next(kPatienceNs);
    REQUIRE(packet);
    next = packet;
  }
  CHECK(next->keyframe);
  CHECK(next->width == pair->other.bounds.width);
  CHECK(next->height == pair->other.bounds.height);
}

TEST_CASE(
    "the pointer reaches every corner of every monitor to the pixel, and both sides of a border") {
  SendInputInjector hands;
  const auto monitors = list_displays("");
  Rect last;  // the monitor of the desktop's last column
  for (const DisplayInfo& info : monitors) {
    const Rect& all = info.bounds;
    for (const int x : {all.x, all.x + 1, all.x + all.width / 3, all.right() - 1}) {
      for (const int y : {all.y, all.y + all.height / 3, all.bottom() - 2, all.bottom() - 1}) {
        CHECK(hands.move(x, y) == "");
        REQUIRE(stands_at(x, y));
      }
    }
    if (last.empty() || all.right() > last.right()) last = all;
  }
  const int within = last.y + last.height / 2;
  CHECK(hands.move(last.right() + 1000, within) == "");  // as near as can be
  CHECK(stands_at(last.right() - 1, within));
  const auto pair = two_monitors();
  if (!pair) return;
  const Rect left = left_one(*pair);
  const int y = std::max(pair->other.bounds.y, pair->primary.bounds.y) + 50;
  for (int x = left.right() - 4; x < left.right() + 4; ++x) {
    hands.move(x, y);
    REQUIRE(stands_at(x, y));
  }
}

TEST_CASE("motion, buttons and wheels arrive in a window on either monitor and across the border") {
  const auto pair = two_monitors();
  if (!pair) return;
  const Rect left = left_one(*pair);
  const int top = std::max(pair->other.bounds.y, pair->primary.bounds.y);
  const Rect places[] = {
      pair->other.bounds, pair->primary.bounds, {left.right() - 120, top + 40, 240, 100}};
  for (const Rect& place : places) {
    CAPTURE(place.x);
    Recorder window(place);
    SendInputInjector hands;
    hands.move(place.x + place.width / 2, place.y + place.height / 2);
    window.take_after(std::chrono::milliseconds(150));
    const std::pair<int, int> corners[] = {{0, 0},
                                           {place.width - 1, 0},
                                           {place.width / 2 - 1, place.height / 2},
                                           {0, place.height - 1},
                                           {place.width - 1, place.height - 1}};
    for (const auto& [x, y] : corners) {
      CAPTURE(x);
      CAPTURE(y);
      CHECK(hands.move(place.x + x, place.y + y) == "");
      CHECK(hands.button(0x110, true) == "");
      CHECK(hands.button(0x110, false) == "");
      hands.wheel(0, -120);
      const auto got = window.take(4);
      REQUIRE(got.size() == 4);
      const UINT kinds[] = {WM_MOUSEMOVE, WM_LBUTTONDOWN, WM_LBUTTONUP, WM_MOUSEWHEEL};
      for (std::size_t i = 0; i < 4; ++i) {
        CHECK(got[i].kind == kinds[i]);
        // A wheel tells its place on the desktop, the others theirs in the window.
        const bool wheel = kinds[i] == WM_MOUSEWHEEL;
        CHECK(got[i].x() == x + (wheel ? place.x : 0));
        CHECK(got[i].y() == y + (wheel ? place.y : 0));
      }
    }
  }
}

}  // namespace kvm
