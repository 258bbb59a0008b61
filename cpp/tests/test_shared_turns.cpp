// Which of the streams that share a capture calls it, when, and how the others hear of it.
#include <thread>

#include "shared_screen.hpp"

namespace kvm {

using namespace test;

TEST_CASE("one that wants a picture sooner than the one that captures gets it") {
  Room room;
  Watcher lead(room.captures);
  Watcher sooner(room.captures);
  lead.open();
  sooner.open();
  CHECK(lead.comes_to_see(room.screen));
  CHECK(sooner.comes_to_see(room.screen));
  std::thread waits([&] { CHECK(!lead.look(kPatienceNs, now_ns() + kNever)); });
  sleep_ms(50);
  room.screen.draw(1, 1, 9);
  const std::int64_t asked = now_ns();
  CHECK(sooner.comes_to_see(room.screen));
  CHECK(now_ns() - asked < kNsPerSec);

  // And where it changes its mind.
  std::thread draws([&] {
    sleep_ms(50);
    room.screen.tell(CursorUpdate{1, 1, false, nullptr});  // from here on nobody wants one
    sleep_ms(50);
    room.screen.draw(2, 1, 9);
  });
  CHECK(!sooner.look(200 * kNsPerMs, now_ns() + kNever));
  draws.join();
  const std::int64_t again = now_ns();
  CHECK(sooner.look(kPatienceNs));
  CHECK(now_ns() - again < kNsPerSec);
  CHECK(sooner.tiles == room.screen.tiles());
  lead.source.wake();
  waits.join();
}

TEST_CASE("a stream that keeps its pictures and looks no more holds nobody back") {
  Room room;
  Watcher stopped(room.captures);
  Watcher other(room.captures);
  stopped.open();
  CHECK(stopped.comes_to_see(room.screen));
  Frame kept = std::move(*stopped.newest);
  room.screen.draw(0, 0, 5);
  CHECK(stopped.comes_to_see(room.screen));
  const std::uint8_t pixel = kept.planes().data[0][0];
  other.open();
  std::optional<Frame> slot;
  for (int i = 0; i < 200; ++i) {
    room.screen.draw(i % 10, i % 6, static_cast<std::uint8_t>(10 + i));
    const std::int64_t asked = now_ns();
    CHECK(other.comes_to_see(room.screen));
    CHECK(now_ns() - asked < kNsPerSec);
    slot = std::move(other.newest);
  }
  CHECK(kept.planes().data[0][0] == pixel);
  CHECK(stopped.newest->planes().data[0][0] == 5);
  CHECK(stopped.comes_to_see(room.screen));
  CHECK(stopped.undamaged_changes + other.undamaged_changes == 0);
}

TEST_CASE("a stream that joins, or wants one again after long, gets the picture of now") {
  Room room;
  Watcher idle(room.captures);
  Watcher other(room.captures);
  idle.open();
  CHECK(idle.comes_to_see(room.screen));
  sleep_ms(80);
  room.screen.draw(2, 2, 99);  // which nobody wants
  CHECK(!idle.look(30 * kNsPerMs, now_ns() + kNever));
  for (const bool led : {false, true}) {
    std::thread waits;
    if (led) {
      waits = std::thread([&] { CHECK(!idle.look(kPatienceNs, now_ns() + kNever)); });
      sleep_ms(80);
      room.screen.draw(4, 2, 98);
    }
    const std::int64_t joined = now_ns();
    other.open();
    CHECK(now_ns() - joined < kNsPerSec);
    const int before = other.frames;
    CHECK(other.look(kPatienceNs, 0));
    CHECK(other.newest->times.damaged >= joined);
    CHECK(other.newest->times.captured >= other.newest->times.damaged);
    CHECK(other.tiles == room.screen.tiles());
    CHECK(other.frames == before + 1);
    if (!led) continue;
    idle.source.wake();
    waits.join();
  }
}

TEST_CASE("a poll answers at once, whoever captures") {
  Room room;
  Watcher waits(room.captures);
  Watcher polls(room.captures);
  waits.open();
  CHECK(waits.comes_to_see(room.screen));
  std::thread leads([&] { CHECK(!waits.look(kPatienceNs)); });
  sleep_ms(100);
  polls.open();
  const std::int64_t asked = now_ns();
  CHECK(polls.look(0));  // a picture that is old, but there is no other
  CHECK(!polls.look(0));
  CHECK(now_ns() - asked < kNsPerSec);
  CHECK(polls.tiles == room.screen.tiles());
  waits.source.wake();
  leads.join();
}

TEST_CASE("a still screen is work for nobody, however many wait") {
  Room room;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  other.open();
  CHECK(one.comes_to_see(room.screen));
  CHECK(other.comes_to_see(room.screen));
  sleep_ms(80);
  const int before = room.screen.waits;
  std::thread first([&] { CHECK(!one.look(kPatienceNs)); });
  std::thread second([&] { CHECK(!other.look(kPatienceNs)); });
  sleep_ms(300);
  CHECK(room.screen.waits - before <= 3);
  one.source.wake();
  other.source.wake();
  first.join();
  second.join();
  // One that has not looked for long does not disturb the one that would have seen a change.
  room.screen.draw(1, 1, 44);
  CHECK(one.comes_to_see(room.screen));
  std::thread watches([&] { CHECK(!one.look(kPatienceNs)); });
  sleep_ms(120);
  const int watched = room.screen.waits;
  const std::int64_t asked = now_ns();
  CHECK(other.look(kPatienceNs));
  CHECK(other.tiles == room.screen.tiles());
  CHECK(now_ns() - asked < kNsPerSec);
  CHECK(room.screen.waits == watched);
  one.source.wake();
  watches.join();
}

TEST_CASE("wake() ends the wait of its own stream alone, whoever captures") {
  Room room;
  Watcher one(room.captures);
  Watcher other(room.captures);
  one.open();
  other.open();
  CHECK(one.comes_to_see(room.screen));
  CHECK(other.comes_to_see(room.screen));
  for (int i = 0; i < 20; ++i) {
    std::atomic<bool> back{false};
    Watcher& woken = i % 2 == 0 ? one : other;
    Watcher& stays = i % 2 == 0 ? other : one;
    std::thread waits([&] {
      CHECK(!stays.look(kPatienceNs, now_ns() + kNever));
      back = true;
    });
    if (i % 4 < 2) sleep_ms(5);
    std::thread ends([&] { CHECK(!woken.look(kPatienceNs, now_ns() + kNever)); });
    if (i % 3 != 0) sleep_ms(5);
    const std::int64_t asked = now_ns();
    woken.source.wake();
    ends.join();
    CHECK(now_ns() - asked < kNsPerSec);
    CHECK(!back);
    stays.source.wake();
    waits.join();
  }
}

}  // namespace kvm
