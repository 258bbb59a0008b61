// DXGI capture: manners towards Windows, several monitors, waking, opening and closing.
#include <thread>

#include "base/error.hpp"
#include "dxgi_support.hpp"

namespace kvm {
namespace {

using namespace test;

// From a wake() by another thread, `delay_ms` into a wait, to the end of that wait.
std::int64_t wake_takes(Stage& stage, int delay_ms) {
  std::int64_t woken = 0;
  std::thread wakes([&] {
    Sleep(static_cast<DWORD>(delay_ms));
    woken = now_ns();
    stage.source.wake();
  });
  const SourceEvent event = stage.source.wait(0, now_ns() + kPatienceNs);
  const std::int64_t back = now_ns();
  wakes.join();
  CHECK(std::holds_alternative<Timeout>(event));
  return back - woken;
}

}  // namespace

TEST_CASE("a frame is released just before the next one is acquired") {
  Stage stage;
  stage.begin();
  for (unsigned i = 0; i < 10; ++i) {
    stage.compose({Fill{{10, 10, 50, 50}, 2 + i}});
    REQUIRE(stage.settles());
    CHECK(stage.output.held());
    Sleep(15);
  }
  const auto timing = stage.output.timing();
  CHECK(timing.frames >= 10);
  CHECK(timing.wrong_calls == 0);
  // Some scheduling aside, nothing is done between the two calls: no rest, which is 10 ms.
  CHECK(timing.longest_unheld_ns < 8 * kNsPerMs);
}

TEST_CASE("after a time-out the device's lock is left alone for about 10 ms") {
  Stage stage;
  stage.begin();
  const std::int64_t until = now_ns() + kNsPerSec;
  while (now_ns() < until) stage.viewer.look(300 * kNsPerMs);
  const auto timing = stage.output.timing();
  CHECK(timing.acquires >= 2);
  CHECK(timing.acquires < 250);
  CHECK(timing.shortest_rest_ns >= 8 * kNsPerMs);
  CHECK(timing.shortest_rest_ns != INT64_MAX);
  CHECK(timing.longest_wait_ms <= 200);
}

TEST_CASE("a change while resting is seen soon") {
  Stage stage;
  stage.begin();
  std::int64_t worst = 0;
  for (unsigned i = 0; i < 20; ++i) {
    std::int64_t shown = 0;
    std::thread shows([&] {
      Sleep(40 + i % 10);
      shown = now_ns();
      stage.output.compose(std::vector<Update>{Fill{{10, 10, 50, 50}, 2 + i}});
    });
    stage.viewer.forget();
    while (stage.viewer.frames == 0) stage.viewer.look(kPatienceNs);
    const std::int64_t seen = now_ns();
    shows.join();
    worst = std::max(worst, seen - shown);
  }
  CHECK(worst < 60 * kNsPerMs);  // rest, tests of a shared machine
}

TEST_CASE("wake() from another thread ends a wait at once") {
  Stage stage;
  stage.begin();
  for (int i = 0; i < 5; ++i) {
    const std::int64_t took = wake_takes(stage, 30 + 7 * i);
    CHECK(took < 100 * kNsPerMs);
    CHECK(took >= 0);
  }
}

TEST_CASE("wake() ends the wait of a source that has lost its desktop, too") {
  Stage stage;
  stage.begin();
  stage.output.refuse(E_ACCESSDENIED, INT32_MAX);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  stage.viewer.look(300 * kNsPerMs);
  CHECK(wake_takes(stage, 50) < 100 * kNsPerMs);
}

TEST_CASE("wake() ends the wait of a source whose duplications are lost at once, too") {
  Stage stage;
  stage.begin();
  stage.output.lose_each(true);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  stage.viewer.look(300 * kNsPerMs);
  for (int i = 0; i < 5; ++i) CHECK(wake_takes(stage, 30 + 13 * i) < 100 * kNsPerMs);
}

TEST_CASE("a wait ends at its deadline") {
  Stage stage;
  stage.begin();
  for (const std::int64_t wanted : {0, 5, 30, 120}) {
    const std::int64_t before = now_ns();
    CHECK(std::holds_alternative<Timeout>(stage.source.wait(0, before + wanted * kNsPerMs)));
    CHECK(now_ns() - before < (wanted + 60) * kNsPerMs);
    CHECK(now_ns() - before >= (wanted - 2) * kNsPerMs);
  }
}

TEST_CASE("protected content is reported once") {
  Stage stage;
  stage.begin();
  CHECK(stage.said("protected") == 0);
  stage.output.protect(true);
  for (unsigned i = 0; i < 5; ++i) {
    stage.compose({Fill{{10, 10, 50, 50}, 2 + i}});
    CHECK(stage.settles());
  }
  CHECK(stage.said("protected") == 1);
}

TEST_CASE("monitors with negative origins: each is captured by its name, from its own corner") {
  Stage stage({{0, 0, 120, 90}}, CursorMode::kEmbedded);
  auto& left = stage.desktop->add("B", {{-200, -50, 200, 140}}, 60);
  ModelDesktop seen(200, 140, 60);
  StreamConfig config;
  config.display = "B";
  config.cursor = CursorMode::kEmbedded;
  dxgi::DxgiSource source(stage.log, std::make_unique<FakeDuplicator>(stage.desktop));
  Viewer viewer(source, config);
  stage.begin();
  viewer.open();
  CHECK(source.width() == 200);
  const auto both_right = [&] {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (now_ns() < deadline && difference(viewer.pixels(), seen.picture(true)) != 0)
      viewer.look(20 * kNsPerMs);
    return difference(viewer.pixels(), seen.picture(true)) == 0 && stage.settles();
  };
  CHECK(both_right());
  const PointerShape shape = masked_pointer(16, 16, {0, 0}, 3);
  seen.set_shape(shape);
  left.set_shape(shape);
  seen.move_pointer(10, 10, true);
  left.move_pointer(10, 10, true);
  const std::vector<Update> updates{Fill{{0, 0, 50, 50}, 61}, Move{{100, 60, 30, 30}, 70, 10}};
  for (const Update& update : updates) seen.apply(update);
  left.compose(updates);
  stage.compose({Fill{{0, 0, 50, 50}, 62}});
  CHECK(both_right());
  CHECK(viewer.undamaged_changes == 0);
}

TEST_CASE("a region of a monitor with a negative origin") {
  Stage stage({{-300, -100, 200, 140}}, CursorMode::kHidden, Start::kPicture, Rect{10, 20, 60, 50});
  stage.begin();
  stage.compose({Fill{{0, 0, 40, 40}, 5}});
  CHECK(stage.settles());
}

TEST_CASE("an unplugged monitor gives way to the primary one until it returns") {
  Stage stage(Mode{{0, 0, 120, 90}});
  stage.desktop->add("B", {{120, 0, 200, 140}}, 60);
  StreamConfig config;
  config.display = "B";
  config.cursor = CursorMode::kHidden;
  dxgi::DxgiSource source(stage.log, std::make_unique<FakeDuplicator>(stage.desktop));
  Viewer viewer(source, config);
  viewer.open();
  const auto sees = [&](const ModelDesktop& model) {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (now_ns() < deadline && difference(viewer.pixels(), model.picture(false)) != 0)
      viewer.look(20 * kNsPerMs);
    return difference(viewer.pixels(), model.picture(false)) == 0;
  };
  CHECK(sees(ModelDesktop(200, 140, 60)));
  stage.desktop->remove("B");
  CHECK(sees(stage.model));
  stage.desktop->add("B", {{120, 0, 180, 130}}, 61);
  CHECK(sees(ModelDesktop(180, 130, 61)));
  CHECK(viewer.losses.empty());
}

TEST_CASE("close and open again, as often as wanted; closing twice is nothing") {
  Stage stage;
  for (unsigned i = 0; i < 5; ++i) {
    stage.viewer.open();
    REQUIRE(stage.settles());
    stage.compose({Fill{{10, 10, 50, 50}, 2 + i}});
    CHECK(stage.settles());
    stage.source.close();
    stage.source.close();
    CHECK(stage.desktop->live() == 0);
    CHECK(stage.desktop->device_references() == 0);
    stage.compose({Fill{{60, 60, 50, 50}, 20 + i}});  // while nobody looks
  }
  CHECK(stage.output.timing().wrong_calls == 0);
}

TEST_CASE("the destructor lets go of everything, a held frame and a kept picture included") {
  auto desktop = std::make_shared<FakeDesktop>();
  auto& output = desktop->add("A", {});
  Frame kept;
  {
    dxgi::DxgiSource source(std::make_shared<LogRing>(), std::make_unique<FakeDuplicator>(desktop));
    source.open({});
    SourceEvent event = source.wait(0, now_ns() + kPatienceNs);
    while (!std::holds_alternative<Frame>(event)) event = source.wait(0, now_ns() + kPatienceNs);
    kept = std::move(std::get<Frame>(event));
    CHECK(output.held());
    CHECK(desktop->live() == 1);
  }
  CHECK(!output.held());
  CHECK(desktop->live() == 0);
  CHECK(desktop->device_references() == 0);
  const std::uint8_t* p = kept.planes().data[0];
  CHECK((p[0] | std::uint32_t{p[1]} << 8 | std::uint32_t{p[2]} << 16) == colour_at(0, 0, 1));
}

TEST_CASE("its name says what is in use") {
  Stage stage;
  stage.begin();
  CHECK(stage.source.description().starts_with("dxgi"));
}

}  // namespace kvm
