// A source as a whole: GDI, our own encoder, packets into a file. tests/test_windows_source.py
// decodes it elsewhere.
//
//   record_desktop OUT.h264
//
// A window of known pixels wanders over a region of the desktop for some seconds, then stands still
// until the stream has sharpened it. Prints one line of JSON.
#include <cstdio>
#include <exception>
#include <fstream>
#include <memory>

#include "base/clock.hpp"
#include "capture_support.hpp"
#include "pipeline/pipeline.hpp"
#include "scene.hpp"

namespace {

using namespace kvm;

constexpr std::int64_t kStillNs = 2500 * kNsPerMs;

int record(const char* path) {
  std::ofstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "%s cannot be written: name a file in a folder that exists\n", path);
    return 1;
  }
  test::Scene scene;
  const auto pipeline = test::start_stream(test::scene_config());
  const auto subscription = pipeline->subscribe(64);
  const double cpu_before = test::cpu_seconds();
  const std::int64_t began = now_ns();
  std::int64_t ends = INT64_MAX;
  int packets = 0;
  int moving = 0;
  double moving_cpu = 0;
  double moving_seconds = 0;
  scene.begin();
  while (now_ns() < ends) {
    if (scene.step()) {
      ends = now_ns() + kStillNs;
      moving = packets;
      moving_cpu = test::cpu_seconds() - cpu_before;
      moving_seconds = static_cast<double>(now_ns() - began) / kNsPerSec;
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
      packets, pipeline->stats().capture.c_str(), pipeline->stats().encoder.c_str(),
      moving / moving_seconds, 1000 * moving_cpu / moving, scene.x(), scene.y(), test::kFirst.width,
      test::kFirst.height, test::kRegion.width, test::kRegion.height, test::Scene::kSeed);
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
