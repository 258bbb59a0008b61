// Desktop Duplication where it works, GDI where and while it does not: who is used when, and what
// is said about it.
#include <algorithm>
#include <climits>

#include "base/windows.hpp"
#include "scripted_source.hpp"

namespace kvm {
namespace {

using namespace test;

}  // namespace

TEST_CASE("what works is used: nothing is asked of GDI") {
  Pair pair;
  StreamConfig config;
  config.display = "B";
  pair.source->open(config);
  CHECK(pair.dxgi.opens == 1);
  CHECK(pair.dxgi.config.display == "B");
  CHECK(pair.gdi.opens == 0);
  CHECK(pair.source->description() == "dxgi");
  CHECK(pair.source->width() == 640);
  CHECK(pair.source->height() == 480);
  pair.dxgi.events.push_back(frame_of(640));
  const SourceEvent event = pair.wait();
  REQUIRE(std::holds_alternative<Frame>(event));
  CHECK(std::get<Frame>(event).width == 640);
  CHECK(pair.log->drain().empty());
}

TEST_CASE("GDI after exactly three failed opens; its name, size, pictures and the reason") {
  for (int failures = 0; failures <= 4; ++failures) {
    CAPTURE(failures);
    Pair pair;
    pair.dxgi.failures = failures;
    StreamConfig config;
    config.display = "B";
    pair.source->open(config);
    CHECK(pair.dxgi.opens == std::min(failures + 1, 3));
    const bool on_gdi = failures >= 3;
    CHECK(pair.dxgi.open == !on_gdi);
    CHECK(pair.gdi.open == on_gdi);
    CHECK(pair.gdi.opens == (on_gdi ? 1 : 0));
    CHECK(pair.source->width() == (on_gdi ? 320 : 640));
    CHECK(pair.source->height() == (on_gdi ? 200 : 480));
    const auto lines = pair.log->drain();
    if (!on_gdi) {
      CHECK(pair.source->description() == "dxgi");
      CHECK(lines.empty());
      continue;
    }
    CHECK(pair.gdi.config.display == "B");
    CHECK(pair.source->description() == "gdi; dxgi refuses, open 3");
    REQUIRE(lines.size() == 1);
    CHECK(has(lines.front().message, "GDI"));
    CHECK(has(lines.front().message, "dxgi refuses, open 3"));
    pair.gdi.events.push_back(frame_of(320));
    const SourceEvent event = pair.wait();
    REQUIRE(std::holds_alternative<Frame>(event));
    CHECK(std::get<Frame>(event).width == 320);
  }
}

TEST_CASE("a wrong configuration is nobody's failure: it is told at once") {
  Pair pair;
  pair.dxgi.failures = 1;
  pair.dxgi.kind = ErrorKind::kConfig;
  std::string message;
  try {
    pair.open();
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kConfig);
    message = error.what();
  }
  CHECK(message == "dxgi refuses, open 1");
  CHECK(pair.dxgi.opens == 1);
  CHECK(pair.gdi.opens == 0);
  CHECK(!pair.dxgi.open);
  pair.open();  // with a right one
  CHECK(pair.source->description() == "dxgi");
}

TEST_CASE("where GDI fails as well its reason is told, and nothing stays open") {
  Pair pair;
  pair.dxgi.failures = INT_MAX;
  pair.gdi.failures = 1;
  CHECK_THROWS_WITH_AS(pair.open(), "gdi refuses, open 1", Error);
  CHECK(!pair.dxgi.open);
  CHECK(!pair.gdi.open);
  pair.open();  // as the pipeline does while it retries
  CHECK(pair.gdi.open);
}

TEST_CASE(
    "on GDI, Desktop Duplication is tried at each interval and used once it shows a picture") {
  Pair pair(kRetryNs);
  pair.dxgi.failures = INT_MAX;
  pair.open();
  const std::int64_t opened = now_ns();
  REQUIRE(pair.dxgi.opens == 3);
  // Not before.
  CHECK(std::holds_alternative<Timeout>(pair.wait(5 * kNsPerMs)));
  CHECK((pair.dxgi.opens == 3 || now_ns() - opened >= kRetryNs));
  CHECK(std::holds_alternative<Timeout>(pair.wait(5 * kRetryNs)));
  const int tries = pair.dxgi.opens - 3;
  CHECK(tries >= 1);
  CHECK(tries <= (now_ns() - opened) / kRetryNs);
  CHECK(has(pair.source->description(), "open " + std::to_string(pair.dxgi.opens)));  // the newest
  CHECK(pair.gdi.opens == 1);
  CHECK(pair.gdi.open);
  CHECK(pair.log->drain().size() == 1);  // it is not told each time

  pair.dxgi.failures = 0;
  pair.dxgi.shows = true;
  const SourceEvent event = pair.wait();
  REQUIRE(std::holds_alternative<GeometryChanged>(event));
  CHECK(!std::get<GeometryChanged>(event).reason.empty());
  CHECK(!pair.dxgi.open);  // an output can be duplicated once
  pair.open();
  CHECK(pair.dxgi.open);
  CHECK(!pair.gdi.open);
  CHECK(pair.source->description() == "dxgi");
  CHECK(pair.source->width() == 640);
  CHECK(has(pair.log->drain().back().message, "works again"));
}

TEST_CASE("pictures of GDI do not keep it from being tried") {
  Pair pair(kRetryNs);
  pair.dxgi.failures = 3;
  pair.dxgi.shows = true;
  pair.open();
  for (int i = 0; i < 1000; ++i) pair.gdi.events.push_back(frame_of(320));
  const std::int64_t deadline = now_ns() + kPatienceNs;
  bool changed = false;
  while (!changed && now_ns() < deadline) {
    Sleep(1);
    changed = std::holds_alternative<GeometryChanged>(pair.wait(0));
  }
  CHECK(changed);
}

TEST_CASE("the interval is 5 s unless a test says otherwise, and a picture may take 3 s") {
  CHECK(FallbackSource::Patience{}.picture_ns == 3 * kNsPerSec);
  Script dxgi("dxgi");
  Script gdi("gdi");
  dxgi.failures = INT_MAX;
  FallbackSource source(std::make_unique<Scripted>(dxgi), std::make_unique<Scripted>(gdi),
                        std::make_shared<LogRing>());
  source.open({});
  const std::int64_t opened = now_ns();
  while (dxgi.opens == 3 && now_ns() - opened < 2 * kPatienceNs)
    static_cast<void>(source.wait(0, now_ns() + 250 * kNsPerMs));
  CHECK(now_ns() - opened >= 5 * kNsPerSec);
  CHECK(now_ns() - opened < 8 * kNsPerSec);
  CHECK(dxgi.opens == 4);
}

TEST_CASE("a retry that opens and then fails is three failures again, and GDI") {
  Pair pair(kRetryNs);
  pair.dxgi.failures = 3;
  pair.dxgi.shows = true;
  pair.open();
  REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
  pair.dxgi.failures = 3;
  pair.open();
  CHECK(pair.dxgi.opens == 7);
  CHECK(pair.gdi.open);
  CHECK(pair.source->description() == "gdi; dxgi refuses, open 7");
}

TEST_CASE("Desktop Duplication that is lost becomes a new generation, by GDI") {
  for (const bool retryable : {true, false}) {
    Pair pair;
    pair.open();
    pair.dxgi.events.push_back(SourceLost{"the desktop is gone", retryable});
    REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
    pair.open();
    CHECK(pair.dxgi.opens == 1);
    CHECK(!pair.dxgi.open);
    CHECK(pair.gdi.open);
    CHECK(pair.source->description() == "gdi; the desktop is gone");
    CHECK(pair.source->width() == 320);
    CHECK(has(pair.log->drain().back().message, "the desktop is gone"));
  }
}

TEST_CASE("what else the one in use says is passed on, a loss of GDI too") {
  Pair pair;
  pair.open();
  pair.dxgi.events.push_back(GeometryChanged{"1024x768 now"});
  const SourceEvent changed = pair.wait();
  REQUIRE(std::holds_alternative<GeometryChanged>(changed));
  CHECK(std::get<GeometryChanged>(changed).reason == "1024x768 now");
  pair.dxgi.events.push_back(CursorUpdate{7, 8, false, nullptr});
  const SourceEvent cursor = pair.wait();
  REQUIRE(std::holds_alternative<CursorUpdate>(cursor));
  CHECK(std::get<CursorUpdate>(cursor).x == 7);

  pair.dxgi.events.push_back(SourceLost{"gone", true});
  REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
  pair.open();
  pair.gdi.events.push_back(CursorUpdate{9, 8, false, nullptr});
  CHECK(std::holds_alternative<CursorUpdate>(pair.wait()));
  pair.gdi.events.push_back(GeometryChanged{"800x600 now"});
  CHECK(std::holds_alternative<GeometryChanged>(pair.wait()));
  pair.gdi.events.push_back(SourceLost{"no screen", false});
  const SourceEvent lost = pair.wait();
  REQUIRE(std::holds_alternative<SourceLost>(lost));
  CHECK(std::get<SourceLost>(lost).reason == "no screen");
  CHECK(!std::get<SourceLost>(lost).retryable);
}

TEST_CASE("wake() from another thread ends a wait on either") {
  Pair pair;
  pair.open();
  check_wakes(*pair.source);
  pair.dxgi.events.push_back(SourceLost{"gone", true});
  REQUIRE(std::holds_alternative<GeometryChanged>(pair.wait()));
  pair.open();
  // Both were woken, so one wait after the change may end early.
  CHECK(std::holds_alternative<Timeout>(pair.wait(0)));
  check_wakes(*pair.source);
  check_wakes(*pair.source);
}

TEST_CASE("a wake() at the very moment of a try is not lost") {
  Pair pair(2 * kRetryNs);
  pair.dxgi.failures = INT_MAX;
  pair.open();
  pair.gdi.dawdles_after_wake = 4 * kRetryNs;  // until long after that moment
  check_wakes(*pair.source);
}

TEST_CASE("a wait ends at its deadline on either, however often the other is tried") {
  Pair pair(kRetryNs);
  const auto check_deadlines = [&] {
    for (const std::int64_t ms : {0, 5, 100}) {
      const std::int64_t before = now_ns();
      CHECK(std::holds_alternative<Timeout>(pair.wait(ms * kNsPerMs)));
      CHECK(now_ns() - before >= (ms - 2) * kNsPerMs);
      CHECK(now_ns() - before < (ms + 80) * kNsPerMs);
    }
  };
  pair.open();
  check_deadlines();
  pair.dxgi.failures = INT_MAX;
  pair.open();
  REQUIRE(pair.gdi.open);
  check_deadlines();
}

TEST_CASE("close() closes both, twice is nothing, and the destructor does it too") {
  for (const bool on_gdi : {false, true}) {
    Pair pair;
    pair.dxgi.failures = on_gdi ? 3 : 0;
    pair.open();
    CHECK(pair.gdi.open == on_gdi);
    pair.source->close();
    CHECK(!pair.dxgi.open);
    CHECK(!pair.gdi.open);
    pair.source->close();
    pair.open();
    CHECK((pair.dxgi.open || pair.gdi.open));
    pair.source.reset();
    CHECK(!pair.dxgi.open);
    CHECK(!pair.gdi.open);
    CHECK(pair.dxgi.destroyed);
    CHECK(pair.gdi.destroyed);
  }
}

}  // namespace kvm
