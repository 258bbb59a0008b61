// A source as a whole: GDI, our own encoder, units to a hub. tests/test_windows_hub.py watches it.
//
//   stream_desktop HOST CONTROL_PORT VIDEO_PORT IDENTITY SECRET
//
// With each line of standard input a window of known pixels wanders over a region of the desktop
// for three seconds; then one line of JSON says how that went. The end of standard input ends it,
// and so do two minutes.
#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#include "capture_support.hpp"
#include "hub_session.hpp"
#include "pipeline/pipeline.hpp"
#include "scene.hpp"

namespace {

using namespace kvm;

constexpr std::int64_t kPatienceNs = 2 * kNsPerMs;
constexpr std::int64_t kLimitNs = 120 * kNsPerSec;
constexpr std::chrono::milliseconds kRetry{100};

std::atomic<int> lines{0};
std::atomic<bool> ended{false};

void read_input() {
  for (int character = std::getchar(); character != EOF; character = std::getchar())
    if (character == '\n') ++lines;
  ended = true;
}

// From the first step of the scene to its last.
class Figures {
 public:
  void begin() {
    units_ = 0;
    cpu_ = test::cpu_seconds();
    began_ = now_ns();
  }
  void count() { ++units_; }
  void print(const Pipeline& pipeline, const test::Scene& scene) const {
    const double seconds = static_cast<double>(now_ns() - began_) / kNsPerSec;
    const double cpu = test::cpu_seconds() - cpu_;
    const PipelineStats stats = pipeline.stats();
    std::printf(
        "{\"capture\": \"%s\", \"encoder\": \"%s\", \"fps\": %.1f, \"cpu_ms\": %.2f, "
        "\"window\": [%d, %d, %d, %d], \"size\": [%d, %d], \"seed\": %u}\n",
        stats.capture.c_str(), stats.encoder.c_str(), units_ / seconds, 1000 * cpu / units_,
        scene.x(), scene.y(), test::kFirst.width, test::kFirst.height, test::kRegion.width,
        test::kRegion.height, test::Scene::kSeed);
    std::fflush(stdout);
  }

 private:
  int units_ = 0;
  double cpu_ = 0;
  std::int64_t began_ = 0;
};

void stream(const test::HubAddress& hub) {
  test::Scene scene;
  const auto pipeline = test::start_stream(test::scene_config());
  Figures figures;
  int done = 0;
  const std::int64_t limit = now_ns() + kLimitNs;
  const auto goes_on = [limit] { return !ended && now_ns() < limit; };
  while (goes_on()) {
    try {
      test::HubSession session(hub, *pipeline);
      while (goes_on()) {
        if (done < lines) {
          ++done;
          scene.begin();
          figures.begin();
        }
        if (scene.step()) figures.print(*pipeline, scene);
        if (session.turn(kPatienceNs)) figures.count();
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "stream_desktop: %s\n", error.what());
      std::this_thread::sleep_for(kRetry);
    }
  }
}

}  // namespace

int main(int count, char** words) {
  if (count != 6) {
    std::fprintf(stderr, "usage: stream_desktop HOST CONTROL_PORT VIDEO_PORT IDENTITY SECRET\n");
    return 2;
  }
  std::thread(read_input).detach();
  WSADATA sockets{};
  if (WSAStartup(MAKEWORD(2, 2), &sockets) != 0) {
    std::fprintf(stderr, "stream_desktop: no Winsock 2.2\n");
    return 1;
  }
  int status = 0;
  try {
    stream({words[1], words[2], words[3], words[4], words[5]});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stream_desktop: %s\n", error.what());
    status = 1;
  }
  WSACleanup();
  std::fflush(stdout);
  std::_Exit(status);  // a thread may still read standard input
}
