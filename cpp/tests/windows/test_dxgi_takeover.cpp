// Desktop Duplication or GDI: the screen is kept awake, and real sources take over from each other.
#include <climits>
#include <thread>

#include "base/error.hpp"
#include "base/windows.hpp"
#include "dxgi_support.hpp"
#include "scripted_source.hpp"

namespace kvm {
namespace {

using namespace test;

// Of this thread. Windows tells it to whoever sets another one.
EXECUTION_STATE execution_state() {
  const EXECUTION_STATE state = SetThreadExecutionState(ES_CONTINUOUS);
  SetThreadExecutionState(state);
  return state;
}

}  // namespace

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
      Pair failing;
      failing.dxgi.failures = failing.gdi.failures = 3;
      CHECK_THROWS_AS(failing.open(), Error);
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
  FallbackSource source(
      std::make_unique<dxgi::DxgiSource>(log, std::make_unique<FakeDuplicator>(desktop)),
      std::make_unique<dxgi::DxgiSource>(log, std::make_unique<FakeDuplicator>(other_desktop)), log,
      FallbackSource::Patience{3 * kRetryNs});
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
  const std::int64_t tried_by = now_ns() + kPatienceNs;
  while (output.duplicate_calls() == 3 && now_ns() < tried_by) viewer.look(20 * kNsPerMs);
  CHECK(output.duplicate_calls() == 4);
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

TEST_CASE("a monitor that is gone is told once, whichever source stands in, and tries go on") {
  auto log = std::make_shared<LogRing>();
  auto desktop = std::make_shared<FakeDesktop>();
  auto other_desktop = std::make_shared<FakeDesktop>();  // the same to GDI
  auto& primary = desktop->add("A", {{0, 0, 120, 90}}, 1);
  other_desktop->add("A", {{0, 0, 120, 90}}, 1);
  const auto plug = [&](bool in) {
    for (const auto& each : {desktop, other_desktop}) {
      if (in) {
        each->add("B", {{120, 0, 200, 140}}, 2);
      } else {
        each->remove("B");
      }
    }
  };
  plug(true);
  const auto memory = std::make_shared<AreaMemory>();
  FallbackSource source(
      std::make_unique<dxgi::DxgiSource>(log, std::make_unique<FakeDuplicator>(desktop), memory),
      std::make_unique<dxgi::DxgiSource>(log, std::make_unique<FakeDuplicator>(other_desktop),
                                         memory),
      log, FallbackSource::Patience{kRetryNs});
  StreamConfig config;
  config.display = "B";
  config.cursor = CursorMode::kHidden;
  Viewer viewer(source, config);
  const auto sees = [&](const ModelDesktop& wanted) {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (difference(viewer.pixels(), wanted.picture(false)) != 0 && now_ns() < deadline)
      viewer.look(20 * kNsPerMs);
    return difference(viewer.pixels(), wanted.picture(false)) == 0;
  };
  std::vector<std::string> lines;
  const auto told = [&] {
    for (auto& line : log->drain()) lines.push_back(std::move(line.message));
    return std::count_if(lines.begin(), lines.end(),
                         [](const auto& line) { return has(line, "monitor 'B' is gone"); });
  };
  viewer.open();
  CHECK(sees(ModelDesktop(200, 140, 2)));
  CHECK(told() == 0);

  primary.refuse(DXGI_ERROR_UNSUPPORTED, INT_MAX);
  plug(false);
  CHECK(sees(ModelDesktop(120, 90, 1)));
  CHECK(has(source.description(), "; "));  // by the second one
  const int asked = primary.duplicate_calls();
  const std::int64_t tried_by = now_ns() + kPatienceNs;
  while (primary.duplicate_calls() < asked + 3 && now_ns() < tried_by) viewer.look(20 * kNsPerMs);
  CHECK(primary.duplicate_calls() >= asked + 3);
  CHECK(told() == 1);
  primary.refuse(S_OK, 0);
  while (has(source.description(), "; ") && now_ns() < tried_by) viewer.look(20 * kNsPerMs);
  CHECK(sees(ModelDesktop(120, 90, 1)));
  CHECK(source.description() == "dxgi (Desktop Duplication)");
  CHECK(told() == 1);

  plug(true);
  CHECK(sees(ModelDesktop(200, 140, 2)));
  plug(false);
  CHECK(sees(ModelDesktop(120, 90, 1)));
  CHECK(told() == 2);
  CHECK(viewer.losses.empty());
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
  CHECK(has(message, "another stream of this process duplicates this monitor"));

  Script gdi("gdi");
  FallbackSource fallback(another(), std::make_unique<Scripted>(gdi), stage.log,
                          FallbackSource::Patience{kRetryNs});
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
