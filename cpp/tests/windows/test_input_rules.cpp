// What is sent, to a desktop of our own: layouts of monitors, elevated windows, leases, left-handed
// mice.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>

#include "input/absolute.hpp"
#include "input/sendinput.hpp"

namespace kvm {
namespace {

using input::Aim;
using input::to_absolute;

// The events that it was given; the test keeps the pointer, the injector the object.
struct Made final : input::Desktop {
  std::vector<INPUT> sent;
  Rect all{0, 0, 1920, 1080};
  std::size_t takes = 1000;
  bool swapped = false;
  bool elevated = false;

  std::size_t send(std::span<const INPUT> events) noexcept override {
    const std::size_t taken = std::min(events.size(), takes);
    if (!elevated)
      sent.insert(sent.end(), events.begin(), events.begin() + static_cast<std::ptrdiff_t>(taken));
    return taken;  // UIPI keeps events back without a word
  }
  WORD virtual_key(WORD) noexcept override { return 0; }
  Rect bounds() noexcept override { return all; }
  bool locked_on(int) noexcept override { return false; }
  bool buttons_swapped() noexcept override { return swapped; }
  input::KeyRepeat key_repeat() noexcept override { return {0, 0}; }  // 250 ms, 2.5 a second
  bool out_of_reach(Aim) noexcept override { return elevated; }
};

struct Hands {
  Made* desktop = nullptr;
  input::SendInputInjector hands;
  Hands() : Hands(std::make_unique<Made>()) {}
  explicit Hands(std::unique_ptr<Made> made) : desktop(made.get()), hands(std::move(made)) {}
};

bool is_up(const INPUT& event) {
  return event.type == INPUT_KEYBOARD && (event.ki.dwFlags & KEYEVENTF_KEYUP) != 0;
}

}  // namespace

TEST_CASE("the place that Windows makes of it is the one that was meant, by any way of rounding") {
  for (const int size : {1, 2, 3, 640, 1023, 1366, 1920, 3840, 4097, 7680, 11520, 16384, 32768}) {
    CAPTURE(size);
    for (const int origin : {0, -1920, 77}) {
      int wrong = 0;
      for (int pixel = 0; pixel < size; ++pixel) {
        const std::int64_t v = to_absolute(origin + pixel, origin, size);
        const std::int64_t last = size - 1;
        wrong += v < 0 || v > 65535 || v * size / 65536 != pixel || v * last / 65535 != pixel ||
                 (2 * v * last + 65535) / (2 * 65535) != pixel;
      }
      CHECK(wrong == 0);
    }
  }
  CHECK(to_absolute(-1921, -1920, 3840) == 0);
  CHECK(to_absolute(5000, -1920, 3840) == 65535);
}

TEST_CASE("absolute motion is laid over all monitors, also left of and above the primary one") {
  Hands test;
  // 1920×1080 at 100 %, 3840×2160 at 200 % to its left and higher: physical pixels, no scale.
  test.desktop->all = {-3840, -540, 5760, 2160};
  for (const auto& [x, y] :
       {std::pair{-3840, -540}, {-1, 0}, {0, 0}, {1919, 1079}, {-3840, 1619}}) {
    test.desktop->sent.clear();
    CHECK(test.hands.move(x, y) == "");
    REQUIRE(test.desktop->sent.size() == 1);
    const MOUSEINPUT& event = test.desktop->sent[0].mi;
    CHECK(event.dwFlags == (MOUSEEVENTF_MOVE | MOUSEEVENTF_ABSOLUTE | MOUSEEVENTF_VIRTUALDESK));
    CHECK(event.dx * 5760 / 65536 - 3840 == x);
    CHECK(event.dy * 2160 / 65536 - 540 == y);
  }
}

TEST_CASE("an elevated window in front is reported, and what it kept down goes up after it") {
  Hands test;
  CHECK(test.hands.key(30, true) == "");
  test.desktop->elevated = true;
  CHECK(test.hands.key(48, true).find("administrator") != std::string::npos);
  CHECK(test.hands.button(0x110, true).find("administrator") != std::string::npos);
  CHECK(test.hands.text("x").find("administrator") != std::string::npos);
  CHECK(test.hands.release_all().find("administrator") != std::string::npos);
  CHECK(test.hands.held().empty());
  CHECK(test.desktop->sent.size() == 1);
  CHECK(test.hands.tick() != "");
  CHECK(test.hands.next_tick() <= now_ns() + 250 * kNsPerMs);
  test.desktop->elevated = false;
  CHECK(test.hands.tick() == "");
  CHECK(test.desktop->sent.size() == 4);  // one press, three releases
  CHECK(is_up(test.desktop->sent[1]) + is_up(test.desktop->sent[2]) +
            is_up(test.desktop->sent[3]) ==
        2);
  CHECK(test.hands.next_tick() == input::kNever);
}

TEST_CASE("a desktop that takes nothing is an error that says how much it took") {
  Hands test;
  test.desktop->takes = 0;
  CHECK(test.hands.wheel(120, 120).find("0 of 2") != std::string::npos);
  CHECK(test.hands.wheel(0, 0) == "");
}

TEST_CASE("a lease that nobody renews ends, one that is renewed does not") {
  Hands test;
  constexpr std::int64_t kStart = 100 * kNsPerSec;
  test.hands.key(42, true, kStart);
  test.hands.key(29, true, kStart);
  CHECK(test.hands.next_tick() == kStart + input::kLeaseNs);
  test.hands.renew(std::vector<unsigned>{42, 31}, kStart + 2 * kNsPerSec);
  CHECK(test.hands.held() == std::vector<unsigned>{42});  // 29 went up, 31 did not go down
  test.hands.tick(kStart + 4 * kNsPerSec);
  CHECK(test.hands.held() == std::vector<unsigned>{42});
  test.hands.tick(kStart + 5 * kNsPerSec);
  CHECK(test.hands.held().empty());
  CHECK(std::ranges::count_if(test.desktop->sent, is_up) == 2);
}

TEST_CASE("the last key repeats, modifiers do not, and a release ends it") {
  Hands test;
  constexpr std::int64_t kStart = 100 * kNsPerSec;
  test.hands.key(30, true, kStart);
  test.hands.key(42, true, kStart);
  test.hands.key(30, true, kStart);  // the browser's own repeat
  CHECK(test.desktop->sent.size() == 2);
  CHECK(test.hands.next_tick() == kStart + 250 * kNsPerMs);
  test.hands.tick(kStart + 250 * kNsPerMs);
  CHECK(test.hands.next_tick() == kStart + 650 * kNsPerMs);
  test.hands.key(48, true, kStart + 300 * kNsPerMs);
  test.hands.tick(kStart + 550 * kNsPerMs);
  REQUIRE(test.desktop->sent.size() == 5);
  CHECK(test.desktop->sent[2].ki.wScan == 30);
  CHECK(test.desktop->sent[4].ki.wScan == 48);
  test.hands.key(48, false, kStart + 600 * kNsPerMs);
  CHECK(test.hands.next_tick() == kStart + input::kLeaseNs);
}

TEST_CASE("a left-handed mouse: the primary button stays the primary one, also when that changes") {
  Hands test;
  test.desktop->swapped = true;
  test.hands.button(0x110, true);
  test.desktop->swapped = false;
  test.hands.button(0x110, false);
  REQUIRE(test.desktop->sent.size() == 2);
  CHECK(test.desktop->sent[0].mi.dwFlags == MOUSEEVENTF_RIGHTDOWN);
  CHECK(test.desktop->sent[1].mi.dwFlags == MOUSEEVENTF_RIGHTUP);
}

TEST_CASE("astral characters are sent as two units, and broken UTF-8 as a replacement") {
  Hands test;
  test.hands.text("\xf0\x9f\x99\x82\xff");
  std::vector<WORD> units;
  for (const INPUT& event : test.desktop->sent) {
    CHECK((event.ki.dwFlags & KEYEVENTF_UNICODE) != 0);
    if (!is_up(event)) units.push_back(event.ki.wScan);
  }
  CHECK(units == std::vector<WORD>{0xd83d, 0xde42, 0xfffd});
}

}  // namespace kvm
