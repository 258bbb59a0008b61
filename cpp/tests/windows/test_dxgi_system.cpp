// The system's own duplicator, as far as it goes without a duplication: Wine has DXGI's adapters,
// outputs and devices.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "base/error.hpp"
#include "capture/dxgi/dxgi_source.hpp"
#include "capture/dxgi/fallback_source.hpp"
#include "capture/gdi/gdi_source.hpp"
#include "capture/gdi/handles.hpp"
#include "fake_factory.hpp"

namespace kvm {
namespace {

using namespace test;

std::string primary() {
  for (const DisplayInfo& monitor : list_displays(""))
    if (monitor.primary) return monitor.id;
  return "";
}

std::vector<DPI_AWARENESS_CONTEXT> asked;
DPI_AWARENESS_CONTEXT WINAPI knows_v1_alone(DPI_AWARENESS_CONTEXT context) {
  asked.push_back(context);
  return context == DPI_AWARENESS_CONTEXT_PER_MONITOR_AWARE_V2 ? nullptr
                                                               : DPI_AWARENESS_CONTEXT_UNAWARE;
}

// What programs are that declare nothing; Wine takes them for aware.
struct UnawareThread {
  UnawareThread() : before(SetThreadDpiAwarenessContext(DPI_AWARENESS_CONTEXT_UNAWARE)) {}
  ~UnawareThread() { SetThreadDpiAwarenessContext(before); }
  DPI_AWARENESS_CONTEXT before;
};

void check_unaware() {
  CHECK(!is_dpi_aware());
}

}  // namespace

TEST_CASE("the D3D11 device is kept from one attempt to the next") {
  FactoryScript script;
  {
    const auto duplicator = dxgi::system_duplicator(scripted_calls(script));
    REQUIRE(!duplicator->monitors().empty());
    for (int i = 0; i < 5; ++i) {
      dxgi::Duplicated none;
      CHECK(duplicator->duplicate(primary(), none) != S_OK);  // Wine has none
      CHECK(!none.device);
      CHECK(!none.duplication);
    }
    CHECK(script.factories >= 5);
    CHECK(script.devices == 1);
  }
  CHECK(script.live == 0);
}

TEST_CASE("a change of outputs is seen, whatever was duplicated since") {
  FactoryScript script;
  const auto duplicator = dxgi::system_duplicator(scripted_calls(script));
  static_cast<void>(duplicator->monitors());
  CHECK(duplicator->is_current());
  dxgi::Duplicated none;
  static_cast<void>(duplicator->duplicate(primary(), none));
  CHECK(duplicator->is_current());
  ++script.generation;
  CHECK(!duplicator->is_current());
  static_cast<void>(duplicator->duplicate(primary(), none));
  CHECK(!duplicator->is_current());
  static_cast<void>(duplicator->monitors());
  CHECK(duplicator->is_current());
}

TEST_CASE("monitors have the order of displays(), and those that DXGI lacks are served by GDI") {
  FactoryScript script;
  auto calls = scripted_calls(script);
  calls.list_monitors = [] {
    std::vector<DisplayInfo> monitors = list_displays("");
    DisplayInfo other = monitors.front();
    other.id = other.name = "ELSEWHERE";
    other.primary = false;
    other.bounds.x -= other.bounds.width;
    monitors.insert(monitors.begin(), other);
    return monitors;
  };
  const auto duplicator = dxgi::system_duplicator(calls);
  const auto monitors = duplicator->monitors();
  REQUIRE(monitors.size() == list_displays("").size() + 1);
  CHECK(monitors[0].id == "ELSEWHERE");
  CHECK(monitors[1].id == list_displays("")[0].id);
  dxgi::Duplicated none;
  CHECK(duplicator->duplicate("ELSEWHERE", none) == DXGI_ERROR_NOT_FOUND);

  for (const char* display : {"ELSEWHERE", "0"}) {
    dxgi::DxgiSource source(std::make_shared<LogRing>(), dxgi::system_duplicator(calls));
    StreamConfig config;
    config.display = display;
    try {
      source.open(config);
      FAIL("a monitor that DXGI lacks is duplicated");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kCapture);  // so that GDI is asked
      CHECK(std::string(error.what()).find("ELSEWHERE") != std::string::npos);
    }
  }
  // A session whose adapters are all GDI's alone.
  script.has_adapters = false;
  auto log = std::make_shared<LogRing>();
  dxgi::FallbackSource source(
      std::make_unique<dxgi::DxgiSource>(log, dxgi::system_duplicator(scripted_calls(script))),
      std::make_unique<gdi::GdiSource>(log), log);
  StreamConfig config;
  config.display = primary();
  source.open(config);
  CHECK(source.description().starts_with("gdi"));
  CHECK(source.width() > 0);
}

TEST_CASE("DXGI is asked by a thread that is aware of each monitor's DPI, and only then is it so") {
  const UnawareThread unaware;
  check_unaware();
  FactoryScript script;
  const auto duplicator = dxgi::system_duplicator(scripted_calls(script));
  static_cast<void>(duplicator->monitors());
  check_unaware();
  dxgi::Duplicated none;
  static_cast<void>(duplicator->duplicate(primary(), none));
  check_unaware();
  CHECK(script.devices == 1);
  CHECK(script.unaware_looks == 0);
}

TEST_CASE(
    "GDI leaves the thread's DPI awareness as it was, in whatever order sources open and close") {
  const UnawareThread unaware;
  check_unaware();
  StreamConfig config;
  config.region = Rect{0, 0, 64, 48};
  gdi::GdiSource old(std::make_shared<LogRing>());
  old.open(config);
  check_unaware();
  gdi::GdiSource fresh(std::make_shared<LogRing>());
  fresh.open(config);
  CHECK(std::holds_alternative<Frame>(fresh.wait(0, now_ns() + 10 * kNsPerSec)));
  check_unaware();
  old.close();
  check_unaware();
  fresh.close();
  check_unaware();
}

TEST_CASE("where Windows refuses version 2 of per-monitor awareness, version 1 is asked for") {
  {
    const gdi::DpiAware aware(knows_v1_alone);
    REQUIRE(asked.size() == 2);
    CHECK(asked[0] == DPI_AWARENESS_CONTEXT_PER_MONITOR_AWARE_V2);
    CHECK(asked[1] == DPI_AWARENESS_CONTEXT_PER_MONITOR_AWARE);
  }
  REQUIRE(asked.size() == 3);
  CHECK(asked[2] == DPI_AWARENESS_CONTEXT_UNAWARE);
}

}  // namespace kvm
