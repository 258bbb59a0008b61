#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <optional>
#include <tuple>

#include "base/clock.hpp"
#include "bindings/bindings.hpp"
#include "bindings/packet_object.hpp"
#include "pipeline/pipeline.hpp"

namespace kvm::python {
namespace {

using namespace nanobind::literals;
using RegionTuple = std::tuple<int, int, int, int>;

// A blocked call looks for Ctrl-C this often; the wait itself holds no GIL.
constexpr std::int64_t kSignalCheckNs = 200 * kNsPerMs;

std::optional<Rect> to_rect(const std::optional<RegionTuple>& region) {
  if (!region) return std::nullopt;
  const auto& [x, y, width, height] = *region;
  return Rect{x, y, width, height};
}

// Calls that are in wait_in_slices() now. A daemon thread that comes back for the GIL after the
// interpreter has begun to finalize is ended in the middle of C++, which ends the process: so exit
// waits until none is left.
std::atomic<int> waiting_calls{0};

struct CountedCall {
  CountedCall() { ++waiting_calls; }
  ~CountedCall() { --waiting_calls; }
  CountedCall(const CountedCall&) = delete;
  CountedCall& operator=(const CountedCall&) = delete;
};

// Calls wait(slice_ns), GIL released, until it gives something, the time-out is over, or a signal
// handler raised.
template <typename Wait>
auto wait_in_slices(std::optional<double> timeout, Wait&& wait) {
  const CountedCall counted;
  const bool for_ever = !timeout.has_value();
  const std::int64_t deadline =
      for_ever ? 0 : now_ns() + static_cast<std::int64_t>(std::clamp(*timeout, 0.0, 1e9) * 1e9);
  while (true) {
    const std::int64_t left =
        for_ever ? kSignalCheckNs : std::max<std::int64_t>(0, deadline - now_ns());
    decltype(wait(left)) result{};
    {
      const nb::gil_scoped_release release;
      result = wait(std::min(left, kSignalCheckNs));
    }
    if (result) return result;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!for_ever && now_ns() >= deadline) return result;
  }
}

std::unique_ptr<Pipeline> make_pipeline(
    const std::string& display, const std::optional<RegionTuple>& region, int width, int height,
    double fps, int bitrate, double crf, const std::string& preset, const std::string& tune,
    bool use_hardware_encoder, const std::string& encoder, const std::string& chroma,
    const std::string& cursor, double keyframe_interval, const std::string& source,
    const std::string& probe_path, const std::string& cache_dir) {
  StreamConfig config;
  config.source = parse_source(source);
  config.display = display;
  config.region = to_rect(region);
  config.width = width;
  config.height = height;
  config.fps = fps;
  config.bitrate = bitrate;
  config.crf = crf;
  config.preset = preset;
  config.tune = tune;
  config.use_hardware_encoder = use_hardware_encoder;
  config.encoder = encoder;
  config.chroma = parse_chroma(chroma);
  config.cursor = parse_cursor(cursor);
  config.keyframe_interval = keyframe_interval;
  auto log = std::make_shared<LogRing>();
  const nb::gil_scoped_release release;  // Windows takes its time to name its adapters
  Ladder ladder(
      default_candidates({.probe_path = probe_path, .cache_dir = cache_dir, .display = display}),
      log);
  return std::make_unique<Pipeline>(
      std::move(config), [log](const StreamConfig& c) { return make_source(c, log); },
      std::move(ladder), log);
}

nb::dict stats_dict(const PipelineStats& stats) {
  nb::dict d;
  const StatsSnapshot& rates = stats.rates;
  d["fps"] = rates.fps;
  d["bitrate"] = rates.bitrate;
  d["frames"] = rates.frames;
  d["keyframes"] = rates.keyframes;
  d["refinements"] = rates.refinements;
  d["bytes"] = rates.bytes;
  d["captured"] = rates.captured;
  d["dropped"] = rates.dropped;
  d["generation"] = stats.generation;
  d["encoder"] = stats.encoder;
  d["capture"] = stats.capture;
  d["width"] = stats.width;
  d["height"] = stats.height;
  d["notes"] = stats.notes;
  d["capture_ms_p50"] = rates.capture.p50_ms;
  d["capture_ms_p95"] = rates.capture.p95_ms;
  d["convert_ms_p50"] = rates.convert.p50_ms;
  d["convert_ms_p95"] = rates.convert.p95_ms;
  d["encode_ms_p50"] = rates.encode.p50_ms;
  d["encode_ms_p95"] = rates.encode.p95_ms;
  d["latency_ms_p50"] = rates.latency.p50_ms;
  d["latency_ms_p95"] = rates.latency.p95_ms;
  nb::list queues;
  for (const QueueState& state : stats.queues) {
    nb::dict queue;
    queue["size"] = state.size;
    queue["capacity"] = state.capacity;
    queue["dropped"] = state.dropped;
    queue["oldest_ms"] = static_cast<double>(state.oldest_ns) / 1e6;
    queues.append(queue);
  }
  d["queue"] = queues;
  return d;
}

nb::object cursor_tuple(const std::optional<CursorState>& state) {
  if (!state) return nb::none();
  static const CursorShape none;
  const CursorUpdate& update = state->update;
  const CursorShape& shape = update.shape ? *update.shape : none;
  return nb::make_tuple(
      state->serial, update.x, update.y, update.visible, shape.serial, shape.width, shape.height,
      shape.hot_x, shape.hot_y,
      nb::bytes(reinterpret_cast<const char*>(shape.bgra.data()), shape.bgra.size()));
}

}  // namespace

void bind_pipeline(nb::module_& m) {
  m.def(
      "waiting_calls", [] { return waiting_calls.load(); },
      "Calls of next() and next_cursor() that have not returned to Python yet.");

  nb::class_<Subscription>(m, "Subscription", "One consumer's bounded queue of packets.")
      .def(
          "next",
          [](Subscription& self, std::optional<double> timeout) -> std::optional<PacketObject> {
            PacketPtr packet =
                wait_in_slices(timeout, [&](std::int64_t slice) { return self.next(slice); });
            if (!packet) return std::nullopt;
            return PacketObject{std::move(packet)};
          },
          "timeout"_a = nb::none(),
          "The next packet; None after `timeout` seconds (None = no limit).")
      .def("close", &Subscription::close, nb::call_guard<nb::gil_scoped_release>(),
           "Idempotent; ends a blocked next().")
      .def_prop_ro("dropped", [](const Subscription& self) { return self.state().dropped; })
      .def_prop_ro("queued", [](const Subscription& self) { return self.state().size; });

  nb::class_<Pipeline>(m, "Pipeline",
                       "Capture, convert, encode: two threads that never take the GIL.")
      .def(nb::new_(&make_pipeline), nb::kw_only(), "display"_a = "", "region"_a = nb::none(),
           "width"_a = 0, "height"_a = 0, "fps"_a = 60.0, "bitrate"_a = 6'000'000, "crf"_a = 23.0,
           "preset"_a = "ultrafast", "tune"_a = "zerolatency", "use_hardware_encoder"_a = true,
           "encoder"_a = "auto", "chroma"_a = "420", "cursor"_a = "embedded",
           "keyframe_interval"_a = 0.0, "source"_a = "screen", "probe_path"_a = "",
           "cache_dir"_a = "")
      .def("start", &Pipeline::start, nb::call_guard<nb::gil_scoped_release>(),
           "Opens capture and encoder and starts the threads. Raises CaptureError, ConfigError or "
           "EncoderUnavailable.")
      .def("stop", &Pipeline::stop, nb::call_guard<nb::gil_scoped_release>(),
           "Asks the threads to end; idempotent.")
      .def("join", &Pipeline::join, nb::call_guard<nb::gil_scoped_release>(),
           "Waits for the threads; idempotent.")
      .def("subscribe", &Pipeline::subscribe, "capacity"_a = 8,
           nb::call_guard<nb::gil_scoped_release>(),
           "A queue of at most `capacity` packets, the first of them a keyframe.")
      .def(
          "update",
          [](Pipeline& self, std::optional<int> bitrate, std::optional<double> fps,
             std::optional<double> crf, std::optional<std::string> display,
             const std::optional<RegionTuple>& region) {
            const nb::gil_scoped_release release;
            self.update({fps, bitrate, crf, std::move(display), to_rect(region)});
          },
          nb::kw_only(), "bitrate"_a = nb::none(), "fps"_a = nb::none(), "crf"_a = nb::none(),
          "display"_a = nb::none(), "region"_a = nb::none(),
          "Live changes; None leaves as is, region (0, 0, 0, 0) is the whole display.")
      .def("request_keyframe", &Pipeline::request_keyframe,
           nb::call_guard<nb::gil_scoped_release>(), "At most one keyframe per 0.5 s comes of it.")
      .def(
          "stats", [](const Pipeline& self) { return stats_dict(self.stats()); },
          nb::sig("def stats(self) -> dict[str, object]"))
      .def(
          "cursor", [](const Pipeline& self) { return cursor_tuple(self.cursor()); },
          nb::sig("def cursor(self) -> tuple[int, int, int, bool, int, int, int, int, int, bytes] "
                  "| None"))
      .def(
          "next_cursor",
          [](Pipeline& self, std::uint64_t after, std::optional<double> timeout) {
            return cursor_tuple(wait_in_slices(
                timeout, [&](std::int64_t slice) { return self.next_cursor(after, slice); }));
          },
          nb::sig("def next_cursor(self, after: int, timeout: float | None = None) -> "
                  "tuple[int, int, int, bool, int, int, int, int, int, bytes] | None"),
          "after"_a, "timeout"_a = nb::none())
      .def(
          "thumbnail",
          [](Pipeline& self, int max_width) {
            std::vector<std::uint8_t> jpeg;
            {
              const nb::gil_scoped_release release;
              jpeg = self.thumbnail(max_width);
            }
            return nb::bytes(reinterpret_cast<const char*>(jpeg.data()), jpeg.size());
          },
          "max_width"_a = 320, "JPEG of the newest picture; b'' before the first.")
      .def("drain_logs",
           [](Pipeline& self) {
             std::vector<std::tuple<int, std::string, std::string>> lines;
             for (LogLine& line : self.log().drain()) {
               lines.emplace_back(static_cast<int>(line.level), std::move(line.component),
                                  std::move(line.message));
             }
             return lines;
           })
      .def_prop_ro("width", [](const Pipeline& self) { return self.stats().width; })
      .def_prop_ro("height", [](const Pipeline& self) { return self.stats().height; })
      .def_prop_ro("generation", [](const Pipeline& self) { return self.stats().generation; });
}

}  // namespace kvm::python
