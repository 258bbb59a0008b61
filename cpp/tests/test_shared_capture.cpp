// One capture for several streams, by a screen that a test draws.
#include <deque>
#include <random>
#include <thread>

#include "shared_screen.hpp"

namespace kvm {

using namespace test;

TEST_CASE("two streams share one capture, and each sees all of it") {
  Room room;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  CHECK(one.comes_to_see(room.screen));
  room.screen.draw(3, 2, 7);
  CHECK(one.comes_to_see(room.screen));
  other.open();
  CHECK(other.comes_to_see(room.screen));
  CHECK(other.frames == 1);  // whole at once
  for (std::uint8_t i = 10; i < 60; ++i) {
    room.screen.draw(i % 10, i % 6, i);
    CHECK((i % 2 == 0 ? one : other).comes_to_see(room.screen));
  }
  CHECK(one.comes_to_see(room.screen));
  CHECK(other.comes_to_see(room.screen));
  CHECK(one.undamaged_changes + other.undamaged_changes == 0);
  CHECK(room.screen.opens == 1);
  CHECK(one.opened + other.opened == 2);
  one.source.close();
  CHECK(room.screen.closes == 0);
  other.source.close();
  CHECK(room.screen.closes == 1);
  CHECK(room.screen.overlaps == 0);
}

TEST_CASE("each has its own rate, and the slower one gets all that changed at once") {
  Room room;
  Watcher fast(room.captures);
  Watcher slow(room.captures);
  fast.open();
  slow.open();
  CHECK(fast.comes_to_see(room.screen));
  CHECK(slow.comes_to_see(room.screen));
  const std::int64_t due = now_ns() + 300 * kNsPerMs;
  const int before = slow.frames;
  std::thread waits([&] { CHECK(slow.look(kPatienceNs, due)); });
  for (std::uint8_t i = 10; i < 20; ++i) {
    room.screen.draw(i - 10, 1, i);
    CHECK(fast.comes_to_see(room.screen));
  }
  CHECK(now_ns() < due);  // nobody waited for the slow one
  waits.join();
  CHECK(now_ns() >= due);
  CHECK(slow.frames == before + 1);
  CHECK(slow.tiles == room.screen.tiles());
  CHECK(slow.newest->damage.count() == 10);
  CHECK(slow.newest->times.damaged < due - 200 * kNsPerMs);  // of the oldest
  CHECK(slow.undamaged_changes == 0);
}

TEST_CASE("one that closes while the other waits leaves it going on") {
  Room room;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  other.open();
  CHECK(one.comes_to_see(room.screen));
  CHECK(other.comes_to_see(room.screen));
  for (int i = 0; i < 20; ++i) {
    std::thread sees([&] {
      const int before = other.frames;
      while (other.frames == before) other.look(kPatienceNs);
    });
    if (i % 2 == 0) one.look(2 * kNsPerMs);  // it captured, or the other one did
    one.source.close();
    room.screen.draw(i % 10, 2, static_cast<std::uint8_t>(20 + i));
    sees.join();
    CHECK(other.tiles == room.screen.tiles());
    one.open();
    CHECK(one.comes_to_see(room.screen));
  }
  CHECK(room.screen.opens == 1);
  CHECK(other.opened == 1);
  CHECK(room.screen.overlaps == 0);
}

TEST_CASE("a new geometry and a loss reach all, and the source is opened anew once") {
  Room room;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  other.open();
  CHECK(one.comes_to_see(room.screen));
  CHECK(other.comes_to_see(room.screen));
  std::atomic<bool> stop{false};
  std::thread looks([&] {
    while (!stop) other.look(5 * kNsPerMs);
  });
  room.screen.resize(320, 48);
  room.screen.tell(GeometryChanged{"larger"});
  CHECK(one.comes_to_see(room.screen));
  const std::int64_t by = now_ns() + kPatienceNs;
  while (!(room.screen.idle() && room.screen.opens == 2 && one.source.width() == 320) &&
         now_ns() < by) {
    one.look(kNsPerMs);  // the other one may have opened it already
  }
  sleep_ms(50);
  stop = true;
  looks.join();
  CHECK(other.comes_to_see(room.screen));
  CHECK(one.source.width() == 320);
  CHECK(other.source.height() == 48);
  CHECK(room.screen.opens == 2);
  CHECK(one.reasons.size() == 1);
  CHECK(other.reasons.size() == 1);

  room.screen.tell(SourceLost{"gone", true});
  CHECK(one.look(kNsPerSec));
  CHECK(other.look(kNsPerSec));
  CHECK(one.losses == 1);
  CHECK(other.losses == 1);
  one.open();
  CHECK(room.screen.opens == 3);
  CHECK(other.look(kNsPerSec));  // is told to, and opens
  CHECK(room.screen.opens == 3);
  CHECK(one.comes_to_see(room.screen));
  CHECK(other.comes_to_see(room.screen));
}

TEST_CASE("one that cannot open anew is refused, and the other finds out") {
  Room room;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  other.open();
  room.screen.tell(GeometryChanged{"something"});
  room.screen.fails = 1;
  CHECK_THROWS_AS(one.look(kNsPerSec), Error);
  CHECK(other.look(kNsPerSec));
  CHECK(other.reasons.size() == 1);
  CHECK(other.comes_to_see(room.screen));
  one.open();
  CHECK(one.comes_to_see(room.screen));
  CHECK(room.screen.opens == 3);
}

TEST_CASE("the pointer apart is for those who want it, and drawn in it is another capture") {
  Room room;
  Watcher hidden(room.captures);
  Watcher apart(room.captures, CursorMode::kMetadata);
  hidden.open();
  CHECK(hidden.comes_to_see(room.screen));
  CHECK(room.screen.cursor == CursorMode::kHidden);
  apart.open();
  CHECK(room.screen.cursor == CursorMode::kMetadata);
  CHECK(room.screen.opens == 2);
  CHECK(apart.comes_to_see(room.screen));
  CHECK(hidden.look(kNsPerSec));  // opens again, and shares
  CHECK(hidden.opened == 2);
  CHECK(hidden.comes_to_see(room.screen));
  CHECK(room.screen.opens == 2);
  room.screen.tell(CursorUpdate{3, 4, false, nullptr});
  hidden.look(50 * kNsPerMs);
  CHECK(hidden.pointers == 0);
  CHECK(apart.look(0));
  CHECK(apart.pointers == 1);
  Watcher late(room.captures, CursorMode::kMetadata);
  late.open();
  CHECK(late.look(kNsPerSec));
  CHECK(late.pointers == 1);  // where it was, though it does not move
  CHECK(room.screen.opens == 2);

  Watcher embedded(room.captures, CursorMode::kEmbedded);
  Watcher elsewhere(room.captures, CursorMode::kMetadata);
  elsewhere.config.region = Rect{0, 0, 16, 16};
  embedded.open();
  CHECK(room.screen.opens == 3);
  elsewhere.open();
  CHECK(room.screen.opens == 4);
}

TEST_CASE("a source that throws is opened anew with the next stream that opens") {
  Room room;
  Watcher one(room.captures);
  one.open();
  CHECK(one.comes_to_see(room.screen));
  room.screen.throws = true;
  CHECK_THROWS_AS(one.look(kNsPerSec), Error);
  Watcher other(room.captures);
  other.open();
  CHECK(room.screen.opens == 2);
  CHECK(other.comes_to_see(room.screen));
  CHECK(one.look(kNsPerSec));
  CHECK(one.comes_to_see(room.screen));
  CHECK(room.screen.opens == 2);
}

TEST_CASE("a source stays while a stream of it may open again, and no longer") {
  Room room;
  {
    Watcher one(room.captures);
    room.screen.fails = 2;
    CHECK_THROWS_AS(one.open(), Error);
    CHECK_THROWS_AS(one.open(), Error);
    one.open();
    one.source.close();
    Watcher other(room.captures);
    other.open();
    CHECK(room.made == 1);
    one.config.display = "another";
    one.open();
    CHECK(room.made == 2);
  }
  Watcher later(room.captures);
  later.open();
  CHECK(room.made == 3);
}

TEST_CASE("four streams share it, a fifth is refused with the limit") {
  Room room;
  std::deque<Watcher> streams;
  for (int i = 0; i < 4; ++i) streams.emplace_back(room.captures).open();
  Watcher fifth(room.captures);
  try {
    fifth.open();
    FAIL("taken");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCapture);
    CHECK(std::string(error.what()).find('4') != std::string::npos);
  }
  streams.pop_back();
  fifth.open();
  CHECK(fifth.comes_to_see(room.screen));
}

TEST_CASE("pictures stay on the GPU for one stream alone") {
  Room room;
  room.screen.on_gpu = true;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  CHECK(one.source.textures() != nullptr);
  CHECK(one.look(kNsPerSec));
  CHECK(one.gpu_frames == 1);
  room.screen.draw(1, 1, 8);
  one.look(5 * kNsPerMs, now_ns() + kNever);
  other.open();
  CHECK(other.source.textures() == nullptr);
  CHECK(other.comes_to_see(room.screen));
  CHECK(one.comes_to_see(room.screen));
  CHECK(other.gpu_frames == 0);
  CHECK(room.screen.gpu_frames == one.gpu_frames);
  CHECK(one.opened == 1);
}

TEST_CASE("what the source says is in the log of every stream") {
  Room room;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  other.open();
  CHECK(one.log->drain().size() == 1);
  CHECK(other.log->drain().empty());
  room.screen.tell(SourceLost{"gone", true});
  CHECK(one.look(kNsPerSec));
  one.open();
  CHECK(one.log->drain().size() == 1);
  CHECK(other.log->drain().size() == 1);
}

TEST_CASE("streams that come, go and look at any rate end with the screen's picture") {
  std::mt19937 dice(20261127);
  Room room;
  std::atomic<bool> stop{false};
  const auto stream = [&](unsigned seed) {
    std::mt19937 own(seed);
    Watcher watcher(room.captures, seed % 2 == 0 ? CursorMode::kHidden : CursorMode::kMetadata);
    watcher.open();
    std::optional<Frame> slot;
    while (!stop) {
      watcher.look(static_cast<std::int64_t>(own() % 8) * kNsPerMs,
                   now_ns() + static_cast<std::int64_t>(own() % 12) * kNsPerMs);
      slot = std::move(watcher.newest);
      watcher.newest.reset();
      if (own() % 40 == 0) {
        watcher.source.close();
        watcher.open();
      }
      if (own() % 10 == 0) watcher.source.wake();
    }
    CHECK(watcher.comes_to_see(room.screen));
    CHECK(watcher.undamaged_changes == 0);
  };
  std::deque<std::thread> streams;
  for (unsigned i = 0; i < 3; ++i) streams.emplace_back(stream, i);
  const std::int64_t until = now_ns() + 2 * kNsPerSec;
  while (now_ns() < until) {
    for (auto i = dice() % 5; i > 0; --i)
      room.screen.draw(static_cast<int>(dice() % 10), static_cast<int>(dice() % 6),
                       static_cast<std::uint8_t>(dice() % 250));
    if (dice() % 100 == 0) room.screen.tell(GeometryChanged{"anew"});
    if (dice() % 100 == 0) room.screen.tell(SourceLost{"gone", true});
    if (dice() % 20 == 0) room.screen.tell(CursorUpdate{1, 1, false, nullptr});
    sleep_ms(static_cast<int>(dice() % 4));
  }
  stop = true;
  for (std::thread& each : streams) each.join();
  CHECK(room.screen.overlaps == 0);
  CHECK(room.screen.frames > 100);
}

}  // namespace kvm
