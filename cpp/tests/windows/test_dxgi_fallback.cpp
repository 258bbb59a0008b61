// Desktop Duplication where it works, GDI where and while it does not: who is used when, and what
// is said about it.
#include <climits>
#include <deque>
#include <thread>

#include "base/error.hpp"
#include "base/wake_event.hpp"
#include "base/windows.hpp"
#include "capture/dxgi/fallback_source.hpp"
#include "dxgi_support.hpp"

namespace kvm {
namespace {

using namespace test;

constexpr std::int64_t kRetryNs = 30 * kNsPerMs;
constexpr std::int64_t kNever = 3600 * kNsPerSec;

// What a scripted source is to do, and what was done with it. Outlives the source.
struct Script {
  std::string name;
  int width = 0;
  int height = 0;
  int failures = 0;  // of the next opens
  ErrorKind kind = ErrorKind::kCapture;
  std::deque<SourceEvent> events;       // of the next waits
  std::int64_t dawdles_after_wake = 0;  // before its wait returns

  int opens = 0;  // tried
  bool open = false;
  bool destroyed = false;
  StreamConfig config;
};

class Scripted final : public FrameSource {
 public:
  explicit Scripted(Script& script) : script_(script) {}
  ~Scripted() override { script_.destroyed = true; }

  [[nodiscard]] std::string description() const override { return script_.name; }
  void open(const StreamConfig& config) override {
    ++script_.opens;
    CHECK(!script_.open);
    script_.config = config;
    if (script_.failures > 0) {
      --script_.failures;
      throw Error(script_.kind, script_.name + " refuses, open " + std::to_string(script_.opens));
    }
    script_.open = true;
  }
  [[nodiscard]] int width() const override { return script_.width; }
  [[nodiscard]] int height() const override { return script_.height; }
  [[nodiscard]] SourceEvent wait(std::int64_t, std::int64_t deadline_ns) override {
    CHECK(script_.open);
    if (!script_.events.empty()) {
      SourceEvent event = std::move(script_.events.front());
      script_.events.pop_front();
      return event;
    }
    if (wake_.wait(-1, deadline_ns)) wake_.wait(-1, now_ns() + script_.dawdles_after_wake);
    return Timeout{};
  }
  void wake() override { wake_.set(); }
  void close() override { script_.open = false; }

 private:
  Script& script_;
  WakeEvent wake_;
};

// The two, and what chooses between them.
struct Pair {
  explicit Pair(std::int64_t retry_ns = kNever)
      : source(std::make_unique<dxgi::FallbackSource>(
            std::make_unique<Scripted>(dxgi), std::make_unique<Scripted>(gdi), log, retry_ns)) {}

  void open() { source->open({}); }
  SourceEvent wait(std::int64_t timeout_ns = kPatienceNs) {
    return source->wait(0, now_ns() + timeout_ns);
  }

  Script dxgi{.name = "dxgi", .width = 640, .height = 480};
  Script gdi{.name = "gdi", .width = 320, .height = 200};
  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  std::unique_ptr<dxgi::FallbackSource> source;
};

Frame frame_of(int width) {
  Frame frame;
  frame.width = width;
  return frame;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Of this thread. Windows tells it to whoever sets another one.
EXECUTION_STATE execution_state() {
  const EXECUTION_STATE state = SetThreadExecutionState(ES_CONTINUOUS);
  SetThreadExecutionState(state);
  return state;
}

// wake() comes while the source waits, and ends that wait.
void check_wakes(FrameSource& source) {
  std::int64_t woken = 0;
  std::thread wakes([&] {
    Sleep(30);
    woken = now_ns();
    source.wake();
  });
  const SourceEvent event = source.wait(0, now_ns() + kPatienceNs);
  const std::int64_t back = now_ns();
  wakes.join();
  CHECK(std::holds_alternative<Timeout>(event));
  CHECK(back >= woken);
  CHECK(back - woken < kNsPerSec);
}

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

TEST_CASE("where GDI fails as well its reason is told, and nothing stays open or awake") {
  SetThreadExecutionState(ES_CONTINUOUS);
  Pair pair;
  pair.dxgi.failures = INT_MAX;
  pair.gdi.failures = 1;
  CHECK_THROWS_WITH_AS(pair.open(), "gdi refuses, open 1", Error);
  CHECK(!pair.dxgi.open);
  CHECK(!pair.gdi.open);
  CHECK(execution_state() == ES_CONTINUOUS);
  pair.open();  // as the pipeline does while it retries
  CHECK(pair.gdi.open);
}

TEST_CASE("on GDI, Desktop Duplication is tried at each interval and used once it opens") {
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

TEST_CASE("the interval is 5 s unless a test says otherwise") {
  Script dxgi{.name = "dxgi", .failures = INT_MAX};
  Script gdi{.name = "gdi"};
  dxgi::FallbackSource source(std::make_unique<Scripted>(dxgi), std::make_unique<Scripted>(gdi),
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

TEST_CASE("the screen is kept awake while one is open, and the state before comes back") {
  for (const EXECUTION_STATE before : {DWORD{ES_CONTINUOUS}, ES_CONTINUOUS | ES_SYSTEM_REQUIRED}) {
    SetThreadExecutionState(before);
    for (const bool on_gdi : {false, true}) {
      Pair pair;
      pair.dxgi.failures = on_gdi ? 3 : 0;
      CHECK(execution_state() == before);
      pair.open();
      CHECK((execution_state() & ES_DISPLAY_REQUIRED) != 0);
      pair.open();  // again, as after GeometryChanged
      CHECK((execution_state() & ES_DISPLAY_REQUIRED) != 0);
      pair.source->close();
      CHECK(execution_state() == before);
      pair.source->close();
      CHECK(execution_state() == before);
      pair.open();
      pair.source.reset();
      CHECK(execution_state() == before);
    }
  }
  SetThreadExecutionState(ES_CONTINUOUS);
}

TEST_CASE("a new source that opens before the old one closes leaves the screen awake") {
  SetThreadExecutionState(ES_CONTINUOUS);
  Pair old;
  old.open();
  Pair fresh;
  fresh.open();
  old.source->close();
  CHECK((execution_state() & ES_DISPLAY_REQUIRED) != 0);
  fresh.source->close();
  CHECK(execution_state() == ES_CONTINUOUS);
}

TEST_CASE("a source that another thread destroys changes nothing of that thread's") {
  SetThreadExecutionState(ES_CONTINUOUS | ES_SYSTEM_REQUIRED);
  Pair pair;
  std::thread opens([&] { pair.open(); });
  opens.join();
  // Wine keeps one state for all threads: back to what Windows has for this one.
  SetThreadExecutionState(ES_CONTINUOUS | ES_SYSTEM_REQUIRED);
  pair.source.reset();
  CHECK(execution_state() == (ES_CONTINUOUS | ES_SYSTEM_REQUIRED));
  SetThreadExecutionState(ES_CONTINUOUS);
}

TEST_CASE("a real source whose output refuses gives way to the other and takes over again") {
  auto log = std::make_shared<LogRing>();
  auto desktop = std::make_shared<FakeDesktop>();
  auto& output = desktop->add("A", {}, 1);
  // What GDI would show, of another colour and size so that one sees who it is.
  auto other_desktop = std::make_shared<FakeDesktop>();
  auto& other_output = other_desktop->add("A", {{0, 0, 120, 90}}, 50);
  dxgi::FallbackSource source(
      std::make_unique<dxgi::DxgiSource>(log, std::make_unique<FakeDuplicator>(desktop)),
      std::make_unique<dxgi::DxgiSource>(log, std::make_unique<FakeDuplicator>(other_desktop)), log,
      3 * kRetryNs);
  StreamConfig config;
  config.cursor = CursorMode::kHidden;
  Viewer viewer(source, config);
  ModelDesktop model(256, 160, 1);
  ModelDesktop other(120, 90, 50);
  const auto sees = [&](const ModelDesktop& wanted) {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (difference(viewer.pixels(), wanted.picture(false)) != 0 && now_ns() < deadline)
      viewer.look(20 * kNsPerMs);
    return difference(viewer.pixels(), wanted.picture(false)) == 0;
  };

  output.refuse(DXGI_ERROR_UNSUPPORTED, INT_MAX);
  viewer.open();
  CHECK(output.duplicate_calls() == 3);
  CHECK(sees(other));
  CHECK(source.width() == 120);
  CHECK(has(source.description(), "Remote Desktop"));
  CHECK(has(source.description(), "0x887a0004"));
  const Update update = Fill{{5, 5, 40, 40}, 61};
  other.apply(update);
  other_output.compose({&update, 1});
  CHECK(sees(other));
  viewer.look_until_still();
  CHECK(output.duplicate_calls() >= 4);
  CHECK(viewer.opened() == 1);

  output.refuse(S_OK, 0);
  CHECK(sees(model));
  CHECK(viewer.opened() == 2);
  CHECK(source.width() == 256);
  CHECK(source.description() == "dxgi (Desktop Duplication)");
  CHECK(other_desktop->live() == 0);
  model.apply(update);
  output.compose({&update, 1});
  CHECK(sees(model));
  CHECK(viewer.undamaged_changes == 0);
  CHECK(viewer.losses.empty());
  source.close();
  CHECK(desktop->live() == 0);
  CHECK(output.timing().wrong_calls == 0);
}

TEST_CASE("a second stream of one output in a process is refused and says why; GDI serves it") {
  Stage stage;
  stage.begin();
  const auto another = [&] {
    return std::make_unique<dxgi::DxgiSource>(stage.log,
                                              std::make_unique<FakeDuplicator>(stage.desktop));
  };
  const auto second = another();
  std::string message;
  try {
    second->open(stage.config);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCapture);
    message = error.what();
  }
  CHECK(has(message, "monitor A cannot be duplicated"));
  CHECK(has(message, "another stream of this process duplicates this monitor; share that one"));

  Script gdi{.name = "gdi"};
  dxgi::FallbackSource fallback(another(), std::make_unique<Scripted>(gdi), stage.log, kRetryNs);
  fallback.open(stage.config);
  CHECK(gdi.open);
  CHECK(has(fallback.description(), "another stream of this process"));

  // The first one does not notice.
  stage.compose({Fill{{10, 10, 50, 50}, 2}});
  CHECK(stage.settles());
  CHECK(stage.viewer.opened() == 1);

  // And once it ends, the other has the output.
  CHECK(std::holds_alternative<Timeout>(fallback.wait(0, now_ns() + 3 * kRetryNs)));
  stage.source.close();
  CHECK(std::holds_alternative<GeometryChanged>(fallback.wait(0, now_ns() + kPatienceNs)));
  fallback.open(stage.config);
  CHECK(!gdi.open);
  CHECK(fallback.description() == "dxgi (Desktop Duplication)");
}

}  // namespace kvm
