#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "base/build_info.hpp"
#include "bindings/bindings.hpp"
#include "capture/source.hpp"
#include "encode/ladder.hpp"

namespace kvm::python {
namespace {

using namespace nanobind::literals;

using DisplayTuple = std::tuple<std::string, std::string, int, int, int, int, double, double, bool>;
using EncoderTuple = std::tuple<std::string, bool, bool, std::string>;
using CaptureTuple = std::tuple<std::string, bool, std::string>;

std::vector<DisplayTuple> displays(const std::string& x_display) {
  const nb::gil_scoped_release release;
  std::vector<DisplayTuple> result;
  for (const DisplayInfo& d : list_displays(x_display)) {
    result.emplace_back(d.id, d.name, d.bounds.x, d.bounds.y, d.bounds.width, d.bounds.height,
                        d.scale, d.refresh_hz, d.primary);
  }
  return result;
}

std::vector<EncoderTuple> encoders(const std::string& probe_path, const std::string& cache_dir) {
  const nb::gil_scoped_release release;
  Ladder ladder(default_candidates({.probe_path = probe_path, .cache_dir = cache_dir}),
                std::make_shared<LogRing>());
  std::vector<EncoderTuple> result;
  for (const EncoderInfo& e : ladder.list())
    result.emplace_back(e.name, e.hardware, e.available, e.reason);
  return result;
}

std::vector<CaptureTuple> captures(const std::string& x_display) {
  const nb::gil_scoped_release release;
  std::vector<CaptureTuple> result;
  for (const CaptureInfo& c : list_captures(x_display))
    result.emplace_back(c.name, c.available, c.reason);
  return result;
}

std::tuple<int, int, nb::bytes> screenshot(
    const std::string& display, const std::optional<std::tuple<int, int, int, int>>& region,
    int width, int height, const std::string& cursor, const std::string& source) {
  StreamConfig config;
  config.display = display;
  if (region) config.region = std::apply([](auto... side) { return Rect{side...}; }, *region);
  config.width = width;
  config.height = height;
  config.cursor = parse_cursor(cursor);
  config.source = parse_source(source);
  Screenshot shot;
  {
    const nb::gil_scoped_release release;
    shot = take_screenshot(config, std::make_shared<LogRing>());
  }
  return {shot.width, shot.height,
          nb::bytes(reinterpret_cast<const char*>(shot.bgra.data()), shot.bgra.size())};
}

}  // namespace

void bind_system(nb::module_& m) {
  m.def("displays", &displays, "x_display"_a = "",
        "Monitors: (id, name, x, y, width, height, scale, refresh_hz, primary). Raises "
        "CaptureError.");
  m.def("encoders", &encoders, "probe_path"_a = "", "cache_dir"_a = "",
        "Encoders in order of preference: (name, hardware, available, reason).");
  m.def("captures", &captures, "x_display"_a = "",
        "Captures, best first: (name, available, reason).");
  m.def("build_info", &build_info, "Facts for doctor.");
  m.def("screenshot", &screenshot, nb::kw_only(), "display"_a = "", "region"_a = nb::none(),
        "width"_a = 0, "height"_a = 0, "cursor"_a = "embedded", "source"_a = "screen",
        "One picture now: (width, height, BGRA bytes). Raises CaptureError or ConfigError.");
}

}  // namespace kvm::python
