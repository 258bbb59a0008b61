// Desktop Duplication that opens and shows nothing, or works by turns: GDI goes on, and the turns
// become rare.
#include <climits>
#include <cstddef>
#include <vector>

#include "base/windows.hpp"
#include "scripted_source.hpp"

namespace kvm {
namespace {

using namespace test;

}  // namespace

TEST_CASE(
    "one that opens and shows nothing is left in time, and tried beside GDI, whose pictures go "
    "on") {
  constexpr std::int64_t kPictureNs = 60 * kNsPerMs;
  Pair pair(kRetryNs, kPictureNs);
  pair.open();
  const std::int64_t opened = now_ns();
  const SourceEvent left = pair.wait();
  REQUIRE(std::holds_alternative<GeometryChanged>(left));
  CHECK(now_ns() - opened >= kPictureNs);
  CHECK(now_ns() - opened < kPictureNs + kNsPerSec);
  pair.open();
  CHECK(pair.gdi.open);
  CHECK(!pair.dxgi.open);
  CHECK(has(pair.source->description(), "gives no picture within 60 ms"));
  CHECK(pair.log->drain().size() == 1);

  int frames = 0;
  int beside = 0;
  std::vector<std::int64_t> tries;
  const std::int64_t until = now_ns() + kNsPerSec;
  while (now_ns() < until) {
    if (pair.gdi.events.empty()) pair.gdi.events.push_back(frame_of(320));
    const int before = pair.dxgi.opens;
    const SourceEvent event = pair.wait(5 * kNsPerMs);
    REQUIRE(!std::holds_alternative<GeometryChanged>(event));
    frames += std::holds_alternative<Frame>(event) ? 1 : 0;
    beside += pair.dxgi.open && std::holds_alternative<Frame>(event) ? 1 : 0;
    if (pair.dxgi.opens != before) tries.push_back(pair.dxgi.opened_ns);
    Sleep(2);
  }
  CHECK(frames > 50);
  CHECK(beside > 3);
  CHECK(pair.gdi.opens == 1);
  REQUIRE(tries.size() >= 2);
  CHECK(tries.size() <= 5);  // 30 ms, and twice that each time, and 60 ms for each
  for (std::size_t i = 2; i < tries.size(); ++i)
    CHECK(tries[i] - tries[i - 1] > tries[i - 1] - tries[i - 2]);
  CHECK(pair.log->drain().empty());

  pair.dxgi.shows = true;
  REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
  CHECK(!pair.dxgi.open);
  pair.open();
  CHECK(pair.source->description() == "dxgi");
}

TEST_CASE("a picture that nobody wants yet, or that came, is not missed") {
  constexpr std::int64_t kPictureNs = 20 * kNsPerMs;
  Pair pair(kRetryNs, kPictureNs);
  pair.open();
  for (const std::int64_t not_before : {INT64_MAX, INT64_MAX - 1, now_ns() + kPatienceNs}) {
    CHECK(
        std::holds_alternative<Timeout>(pair.source->wait(not_before, now_ns() + 4 * kPictureNs)));
  }
  // From the moment on that one is wanted.
  const std::int64_t wanted = now_ns() + 3 * kPictureNs;
  CHECK(std::holds_alternative<GeometryChanged>(pair.source->wait(wanted, now_ns() + kPatienceNs)));
  CHECK(now_ns() - wanted >= kPictureNs - kNsPerMs);
  CHECK(now_ns() - wanted < kPictureNs + kNsPerSec);

  Pair shows(kRetryNs, kPictureNs);
  shows.dxgi.shows = true;
  shows.open();
  REQUIRE(std::holds_alternative<Frame>(shows.wait()));
  CHECK(std::holds_alternative<Timeout>(shows.wait(4 * kPictureNs)));
  CHECK(shows.source->description() == "dxgi");
  // Each time that it is opened; a pointer is no picture.
  shows.dxgi.shows = false;
  shows.open();
  shows.dxgi.events.push_back(CursorUpdate{7, 8, false, nullptr});
  CHECK(std::holds_alternative<CursorUpdate>(shows.wait()));
  CHECK(std::holds_alternative<GeometryChanged>(shows.wait()));
}

TEST_CASE("one that works by turns gets rarer turns, until it lasts") {
  constexpr std::int64_t kShortNs = 10 * kNsPerMs;
  Pair pair(kShortNs, kPatienceNs);
  pair.dxgi.shows = true;
  pair.open();
  const auto lose = [&](std::int64_t lasts_ns) {
    REQUIRE(std::holds_alternative<Frame>(pair.wait()));
    Sleep(static_cast<DWORD>(lasts_ns / kNsPerMs));
    pair.dxgi.events.push_back(SourceLost{"lost again", true});
    REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
    pair.open();
    REQUIRE(pair.gdi.open);
    return now_ns();
  };
  const auto pause = [&](std::int64_t from) {
    REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
    pair.open();
    return pair.dxgi.opened_ns - from;
  };
  for (int turn = 0; turn < 6; ++turn) {  // 10 ms, 20 ms, … 320 ms
    CAPTURE(turn);
    const std::int64_t took = pause(lose(5 * kShortNs));
    CHECK(took >= kShortNs << turn);
    CHECK(took < (kShortNs << turn) + 100 * kNsPerMs);
  }
  CHECK(pause(lose(13 * kShortNs)) < 110 * kNsPerMs);  // a return that lasts
  CHECK(pause(lose(0)) >= 2 * kShortNs);
}

TEST_CASE("the pause between the turns has an end") {
  constexpr std::int64_t kShortNs = kNsPerMs;
  Pair pair(kShortNs, kPatienceNs);
  pair.dxgi.failures = 3;
  pair.open();
  for (int turn = 0; turn < 9; ++turn) {
    // Opens beside GDI, and refuses once it shall be used.
    pair.dxgi.events.push_back(frame_of(640));
    REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
    pair.dxgi.failures = 3;
    pair.open();
    REQUIRE(pair.gdi.open);
  }
  const std::int64_t before = now_ns();
  pair.dxgi.events.push_back(frame_of(640));
  REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
  CHECK(now_ns() - before >= 100 * kShortNs);
  CHECK(now_ns() - before < 200 * kShortNs);
}

TEST_CASE("what is tried beside GDI says nothing to the outside") {
  for (const bool lost : {false, true}) {
    Pair pair(kRetryNs);
    pair.dxgi.failures = 3;
    pair.open();
    pair.dxgi.events.push_back(CursorUpdate{7, 8, false, nullptr});
    if (lost) {
      pair.dxgi.events.push_back(SourceLost{"lost beside", true});
    } else {
      pair.dxgi.events.push_back(GeometryChanged{"changed beside"});
    }
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (!pair.dxgi.events.empty() && now_ns() < deadline)
      REQUIRE(std::holds_alternative<Timeout>(pair.wait(10 * kNsPerMs)));
    CHECK(pair.dxgi.events.empty());
    CHECK(!pair.dxgi.open);
    CHECK(pair.gdi.open);
    CHECK(has(pair.source->description(), lost ? "lost beside" : "changed beside"));
    // Another time, after a look or two.
    for (int i = 0; i < 2; ++i) pair.dxgi.events.push_back(CursorUpdate{7, i, false, nullptr});
    pair.dxgi.events.push_back(frame_of(640));
    const std::int64_t before = now_ns();
    CHECK(std::holds_alternative<GeometryChanged>(pair.wait()));
    CHECK(now_ns() - before < kNsPerSec);
  }
}

TEST_CASE("a wait ends by wake() and at its deadline while the other is tried, too") {
  Pair pair(kNsPerMs, kPatienceNs);
  pair.dxgi.failures = 3;
  pair.open();
  const std::int64_t begins = now_ns() + kPatienceNs;
  while (!pair.dxgi.open && now_ns() < begins) static_cast<void>(pair.wait(5 * kNsPerMs));
  REQUIRE(pair.dxgi.open);
  check_wakes(*pair.source);
  // Of a wake-up at the end of a wait Wine's timer may be left, or the other's event: for one more.
  CHECK(std::holds_alternative<Timeout>(pair.wait(20 * kNsPerMs)));
  const std::int64_t before = now_ns();
  CHECK(std::holds_alternative<Timeout>(pair.wait(80 * kNsPerMs)));
  CHECK(now_ns() - before >= 78 * kNsPerMs);
  CHECK(now_ns() - before < 200 * kNsPerMs);
  pair.source->close();
  CHECK(!pair.dxgi.open);
}

TEST_CASE("it keeps another source out while the one that does so is used or tried") {
  Pair pair(kNsPerMs, kPatienceNs);
  pair.dxgi.exclusive = true;
  pair.open();
  CHECK(pair.source->exclusive());
  pair.dxgi.failures = INT_MAX;
  pair.open();
  CHECK(!pair.source->exclusive());
  pair.dxgi.failures = 0;
  const std::int64_t begins = now_ns() + kPatienceNs;
  while (!pair.dxgi.open && now_ns() < begins) static_cast<void>(pair.wait(5 * kNsPerMs));
  CHECK(pair.source->exclusive());
  pair.source->close();
  CHECK(!pair.source->exclusive());
}

}  // namespace kvm
