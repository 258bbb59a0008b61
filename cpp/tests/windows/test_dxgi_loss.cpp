// DXGI capture: what Windows takes away, and how it comes back.
#include <climits>
#include <thread>

#include "base/error.hpp"
#include "dxgi_support.hpp"

namespace kvm {
namespace {

using namespace test;

constexpr auto kAbandoned = static_cast<HRESULT>(WAIT_ABANDONED);  // a success code, of all things

// Frames before and after are right, and nothing is left over.
void check_recovers(Stage& stage) {
  CHECK(stage.settles());
  CHECK(stage.viewer.losses.empty());
  stage.compose({Fill{{20, 20, 50, 30}, 71}, Move{{60, 40, 30, 30}, 25, 25}});
  CHECK(stage.settles());
  CHECK(stage.viewer.undamaged_changes == 0);
  CHECK(stage.output.timing().wrong_calls == 0);
  stage.source.close();
  CHECK(stage.desktop->live() == 0);
}

}  // namespace

TEST_CASE("each way to lose a duplication is recovered from, and the picture is right") {
  for (const HRESULT code :
       {DXGI_ERROR_ACCESS_LOST, DXGI_ERROR_ACCESS_DENIED, E_ACCESSDENIED, kAbandoned,
        DXGI_ERROR_DEVICE_REMOVED, DXGI_ERROR_DEVICE_RESET, DXGI_ERROR_DEVICE_HUNG,
        DXGI_ERROR_SESSION_DISCONNECTED, DXGI_ERROR_INVALID_CALL, E_FAIL}) {
    CAPTURE(code);
    for (const Start start : {Start::kPicture, Start::kIdlePicture, Start::kBlack}) {
      CAPTURE(static_cast<int>(start));
      Stage stage;
      stage.begin();
      stage.output.start_with(start);
      // Changes that nobody is told of, as the duplication is gone before.
      stage.output.lose(code);
      stage.compose({Fill{{100, 50, 90, 60}, 70}});
      if (start == Start::kBlack) {
        stage.viewer.look_until_still();
        stage.compose({Fill{{0, 0, 16, 16}, 72}});
      }
      check_recovers(stage);
    }
  }
}

TEST_CASE("ACCESS_LOST comes to a source that waits, and it goes on in the same wait") {
  Stage stage;
  stage.begin();
  std::thread loses([&] {
    Sleep(40);
    stage.output.lose(DXGI_ERROR_ACCESS_LOST);
    Sleep(20);
    stage.compose({Fill{{0, 0, 90, 60}, 70}});
  });
  stage.viewer.look(2 * kNsPerSec);
  loses.join();
  check_recovers(stage);
}

TEST_CASE("a new duplication that stays black leaves the last picture where it is") {
  Stage stage;
  stage.begin();
  stage.output.start_with(Start::kBlack);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  const std::int64_t until = now_ns() + 1500 * kNsPerMs;
  while (now_ns() < until) stage.viewer.look(50 * kNsPerMs);
  CHECK(stage.viewer.frames == 0);
  stage.compose({Fill{{0, 0, 16, 16}, 72}});
  check_recovers(stage);
}

TEST_CASE("DEVICE_REMOVED: the next duplication is on another device, the old one is let go") {
  Stage stage({}, CursorMode::kEmbedded);
  stage.begin();
  stage.set_shape(masked_pointer(20, 20, {0, 0}, 5));
  stage.move_pointer(30, 30);
  REQUIRE(stage.settles());
  stage.desktop->remove_device();
  check_recovers(stage);
  CHECK(stage.desktop->device_references() == 0);
}

TEST_CASE("a duplication that is refused for a while is asked for again") {
  for (const HRESULT code : {DXGI_ERROR_NOT_CURRENTLY_AVAILABLE, DXGI_ERROR_SESSION_DISCONNECTED,
                             E_INVALIDARG, DXGI_ERROR_MODE_CHANGE_IN_PROGRESS}) {
    CAPTURE(code);
    Stage stage;
    stage.begin();
    stage.output.refuse(code, 2);
    stage.output.lose(DXGI_ERROR_ACCESS_LOST);
    check_recovers(stage);
  }
}

TEST_CASE("secure desktop: the last picture stays, it is said once, and it comes back by itself") {
  Stage stage;
  stage.begin();
  const int asked = stage.output.duplicate_calls();
  stage.output.refuse(E_ACCESSDENIED, INT_MAX);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  const std::int64_t until = now_ns() + 1500 * kNsPerMs;
  while (now_ns() < until) {
    stage.viewer.look(50 * kNsPerMs);
    stage.said("");
  }
  CHECK(stage.viewer.frames == 0);
  CHECK(stage.viewer.losses.empty());
  CHECK(stage.viewer.opened() == 1);
  const int tries = stage.output.duplicate_calls() - asked;
  CHECK(tries >= 2);
  CHECK(tries <= 60);  // it is asked for again, not in a loop without end
  CHECK(stage.said("secure desktop") == 1);
  stage.output.refuse(S_OK, 0);
  stage.compose({Fill{{0, 0, 64, 64}, 9}});
  check_recovers(stage);
}

TEST_CASE("the last picture before a secure desktop is whole, though nobody wanted it in time") {
  Stage stage({}, CursorMode::kMetadata);
  stage.begin();
  stage.compose({Move{{60, 40, 100, 80}, 50, 30}, Fill{{20, 20, 40, 90}, 70}});
  const std::int64_t taken = now_ns() + kPatienceNs;
  while (!stage.output.idle() && now_ns() < taken)
    static_cast<void>(stage.source.wait(INT64_MAX, now_ns() + 10 * kNsPerMs));
  stage.output.refuse(E_ACCESSDENIED, INT_MAX);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  const std::int64_t until = now_ns() + 300 * kNsPerMs;
  while (now_ns() < until)
    static_cast<void>(stage.source.wait(INT64_MAX, now_ns() + 20 * kNsPerMs));
  CHECK(stage.viewer.pixels() != stage.expected());
  stage.viewer.look_until_still();
  CHECK(stage.viewer.pixels() == stage.expected());
  CHECK(stage.viewer.undamaged_changes == 0);
}

TEST_CASE("a secure desktop while opening is waited for, or refused with a reason") {
  Stage stage;
  stage.output.refuse(E_ACCESSDENIED, INT_MAX);
  try {
    stage.viewer.open();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCapture);
    CHECK(std::string(error.what()).size() > 20);
    stage.output.refuse(S_OK, 0);
    stage.viewer.open();
  }
  stage.output.refuse(S_OK, 0);
  check_recovers(stage);
}

TEST_CASE("not current: outputs are looked at again, and what stays the same goes on") {
  Stage stage;
  stage.begin();
  stage.desktop->add("B", {{256, 0, 64, 64}});
  const std::int64_t deadline = now_ns() + kPatienceNs;
  while (!stage.desktop->is_current() && now_ns() < deadline) stage.viewer.look(20 * kNsPerMs);
  CHECK(stage.desktop->is_current());
  CHECK(stage.viewer.opened() == 1);
  check_recovers(stage);
}

TEST_CASE("a change of size is a new generation, with the new size and the whole picture") {
  Stage stage;
  stage.begin();
  for (const Rect& bounds : {Rect{0, 0, 200, 120}, Rect{0, 0, 201, 121}, Rect{0, 0, 256, 160}}) {
    const auto before = stage.viewer.reasons.size();
    stage.set_mode({bounds}, 30);
    CHECK(stage.settles());
    CHECK(stage.viewer.reasons.size() == before + 1);
    CHECK(stage.source.width() == bounds.width);
    CHECK(stage.source.height() == bounds.height);
    CHECK(!stage.viewer.reasons.back().empty());
  }
  CHECK(stage.viewer.opened() == 4);
  check_recovers(stage);
}

TEST_CASE("a turned monitor is a new generation") {
  Stage stage({{0, 0, 200, 120}}, CursorMode::kEmbedded);
  stage.begin();
  stage.set_shape(masked_pointer(20, 20, {0, 0}, 5));
  stage.move_pointer(30, 30);
  stage.set_mode({{0, 0, 120, 200}, DXGI_MODE_ROTATION_ROTATE90}, 30);
  CHECK(stage.settles());
  CHECK(stage.viewer.opened() == 2);
  // The size stays, what is up does not.
  stage.set_mode({{0, 0, 120, 200}, DXGI_MODE_ROTATION_ROTATE270}, 31);
  check_recovers(stage);
}

TEST_CASE("a change of format, HDR on and off, goes on with the right picture") {
  Stage stage;
  stage.begin();
  stage.set_mode({{0, 0, 256, 160}, DXGI_MODE_ROTATION_IDENTITY, true, 200.0F}, 40);
  CHECK(stage.settles(2));
  stage.set_mode({{0, 0, 256, 160}}, 41);
  check_recovers(stage);
}

TEST_CASE("a loss while a frame is held") {
  Stage stage;
  stage.begin();
  stage.compose({Fill{{90, 90, 20, 20}, 60}});
  REQUIRE(stage.settles());
  REQUIRE(stage.output.held());
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  check_recovers(stage);
}

TEST_CASE("losses one after the other, with changes in between") {
  Stage stage({}, CursorMode::kEmbedded);
  stage.begin();
  stage.set_shape(monochrome_pointer(20, 20, {0, 0}, 5));
  for (unsigned i = 0; i < 12; ++i) {
    stage.move_pointer(static_cast<int>(i) * 9, 40);
    stage.compose({Fill{{static_cast<int>(i) * 10, 5, 20, 90}, 50 + i}});
    stage.output.lose(i % 2 == 0 ? DXGI_ERROR_ACCESS_LOST : kAbandoned);
    stage.compose({Fill{{static_cast<int>(i) * 7, 80, 30, 30}, 90 + i}});
    CHECK(stage.settles());
  }
  check_recovers(stage);
}

TEST_CASE("loss that never ends is given up after 10 s, and said why; a secure desktop never is") {
  Stage stage;
  Stage locked;
  for (Stage* each : {&stage, &locked}) {
    each->begin();
    each->output.refuse(each == &locked ? E_ACCESSDENIED : DXGI_ERROR_UNSUPPORTED, INT_MAX);
    each->output.lose(DXGI_ERROR_ACCESS_LOST);
  }
  const std::int64_t lost = now_ns();
  while (now_ns() - lost < 20 * kNsPerSec && stage.viewer.losses.empty()) {
    stage.viewer.look(50 * kNsPerMs);
    locked.viewer.look(50 * kNsPerMs);
  }
  REQUIRE(!stage.viewer.losses.empty());
  CHECK(now_ns() - lost >= 9 * kNsPerSec);
  CHECK(stage.viewer.losses.front().reason.size() > 10);
  stage.source.close();
  CHECK(stage.desktop->live() == 0);

  const std::int64_t longer = now_ns() + kNsPerSec;
  while (now_ns() < longer) locked.viewer.look(50 * kNsPerMs);
  CHECK(locked.viewer.losses.empty());
  CHECK(locked.viewer.opened() == 1);
  locked.output.refuse(S_OK, 0);
  check_recovers(locked);
}

TEST_CASE(
    "duplications that are lost one right after the other are paced, and given up after 10 s") {
  Stage stage;
  stage.begin();
  const int asked = stage.output.duplicate_calls();
  stage.output.lose_each(true);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  const std::int64_t lost = now_ns();
  while (now_ns() - lost < 15 * kNsPerSec && stage.viewer.losses.empty())
    stage.viewer.look(kNsPerSec);
  const std::int64_t took = now_ns() - lost;
  REQUIRE(stage.viewer.losses.size() == 1);
  CHECK(stage.viewer.losses.front().retryable);
  CHECK(stage.viewer.losses.front().reason.find("0x887a0026") != std::string::npos);
  CHECK(took >= 10 * kNsPerSec);
  CHECK(took < 12 * kNsPerSec);
  const int tries = stage.output.duplicate_calls() - asked;
  CHECK(tries >= 20);
  CHECK(tries <= 115);  // ten a second, and a few sooner
  CHECK(stage.viewer.frames == 0);
  stage.viewer.losses.clear();
  stage.output.lose_each(false);
  check_recovers(stage);
}

TEST_CASE("duplications that are lost after a picture each are paced, and none is given up") {
  Stage stage;
  stage.begin();
  const int asked = stage.output.duplicate_calls();
  const std::int64_t until = now_ns() + 2 * kNsPerSec;
  for (unsigned i = 0; now_ns() < until; ++i) {
    stage.output.lose(DXGI_ERROR_ACCESS_LOST);
    stage.compose({Fill{{20, 20, 50, 30}, 71 + i}});
    CHECK(stage.settles());
  }
  const int tries = stage.output.duplicate_calls() - asked;
  CHECK(tries >= 10);
  CHECK(tries <= 35);
  check_recovers(stage);
}

TEST_CASE("no desktop, no such monitor, a region outside: refused with what there is") {
  const auto refused = [](Stage& stage) -> std::string {
    try {
      stage.viewer.open();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  Stage region({}, CursorMode::kHidden, Start::kPicture, Rect{0, 0, 4000, 10});
  CHECK(refused(region).find("4000") != std::string::npos);
  Stage unsupported;
  unsupported.output.refuse(DXGI_ERROR_UNSUPPORTED, INT_MAX);
  CHECK(!refused(unsupported).empty());
  CHECK(unsupported.desktop->live() == 0);
  Stage empty;
  empty.desktop->remove("A");
  CHECK(!refused(empty).empty());
}

}  // namespace kvm
