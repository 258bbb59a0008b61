// A source as a whole: GDI, our own encoder, packets into a file. tests/test_windows_source.py
// decodes it elsewhere.
//
//   record_desktop OUT.h264
//
// A window of known pixels wanders over a region of the desktop for some seconds, then stands still
// until the stream has sharpened it. Prints one line of JSON.
#include <windows.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <memory>

#include "base/clock.hpp"
#include "capture/source.hpp"
#include "encode/ladder.hpp"
#include "pipeline/pipeline.hpp"
#include "window.hpp"

namespace {

using namespace kvm;

constexpr Rect kRegion{16, 32, 640, 480};
constexpr Rect kFirst{20, 40, 256, 192};  // of the desktop, as are those below
constexpr int kSteps = 180;
constexpr unsigned kSeed = 9;
constexpr std::int64_t kStepNs = kNsPerSec / 60;
constexpr std::int64_t kStillNs = 2500 * kNsPerMs;

double cpu_seconds() {
  FILETIME made{}, ended{}, kernel{}, user{};
  GetProcessTimes(GetCurrentProcess(), &made, &ended, &kernel, &user);
  const auto in_100_ns = [](const FILETIME& time) {
    return static_cast<double>(std::uint64_t{time.dwHighDateTime} << 32 | time.dwLowDateTime);
  };
  return (in_100_ns(kernel) + in_100_ns(user)) / 1e7;
}

int record(const char* path) {
  std::ofstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "%s cannot be written: name a file in a folder that exists\n", path);
    return 1;
  }
  test::Window window(kFirst, kSeed);
  StreamConfig config;
  config.region = kRegion;
  config.cursor = CursorMode::kHidden;
  config.crf = 12;
  config.bitrate = 60'000'000;
  auto log = std::make_shared<LogRing>();
  Pipeline pipeline(
      config, [&](const StreamConfig& wanted) { return make_source(wanted, log); },
      Ladder(default_candidates({}), log), log);
  pipeline.start();
  const auto subscription = pipeline.subscribe(64);
  const double cpu_before = cpu_seconds();
  const std::int64_t began = now_ns();
  int x = kFirst.x;
  int y = kFirst.y;
  int step = 0;
  int packets = 0;
  int moving = 0;
  double moving_cpu = 0;
  double moving_seconds = 0;
  for (std::int64_t due = began; now_ns() < began + kSteps * kStepNs + kStillNs;) {
    if (step < kSteps && now_ns() >= due) {
      x += step < kSteps / 2 ? 2 : -1;
      y += 1;
      window.move(x, y);
      due += kStepNs;
      if (++step == kSteps) {
        moving = packets;
        moving_cpu = cpu_seconds() - cpu_before;
        moving_seconds = static_cast<double>(now_ns() - began) / kNsPerSec;
      }
    }
    const PacketPtr packet = subscription->next(2 * kNsPerMs);
    if (!packet) continue;
    file.write(reinterpret_cast<const char*>(packet->data.data()),
               static_cast<std::streamsize>(packet->data.size()));
    ++packets;
  }
  file.close();
  if (!file) {
    std::fprintf(stderr, "%s was not written to the end: free space on its disk\n", path);
    return 1;
  }
  std::printf(
      "{\"packets\": %d, \"capture\": \"%s\", \"encoder\": \"%s\", \"fps\": %.1f, \"cpu_ms\": "
      "%.2f, "
      "\"window\": [%d, %d, %d, %d], \"size\": [%d, %d], \"seed\": %u}\n",
      packets, pipeline.stats().capture.c_str(), pipeline.stats().encoder.c_str(),
      moving / moving_seconds, 1000 * moving_cpu / moving, x - kRegion.x, y - kRegion.y,
      kFirst.width, kFirst.height, kRegion.width, kRegion.height, kSeed);
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: record_desktop OUT.h264\n");
    return 2;
  }
  try {
    return record(words[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "record_desktop: %s\n", error.what());
    return 1;
  }
}
