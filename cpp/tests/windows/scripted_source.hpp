// Sources that do what a test says, and a FallbackSource that chooses between two of them.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/wake_event.hpp"
#include "base/windows.hpp"
#include "capture/dxgi/fallback_source.hpp"
#include "patience.hpp"

namespace kvm::test {

using dxgi::FallbackSource;

inline constexpr std::int64_t kRetryNs = 30 * kNsPerMs;
inline constexpr std::int64_t kNever = 3600 * kNsPerSec;

// What a scripted source is to do, and what was done with it. Outlives the source.
struct Script {
  explicit Script(std::string called, int wide = 0, int high = 0)
      : name(std::move(called)), width(wide), height(high) {}

  std::string name;
  int width;
  int height;
  int failures = 0;  // of the next opens
  ErrorKind kind = ErrorKind::kCapture;
  std::deque<SourceEvent> events;  // of the next waits
  bool exclusive = false;
  bool shows = false;                   // a picture with every open, before the events
  std::int64_t dawdles_after_wake = 0;  // before its wait returns

  int opens = 0;  // tried
  bool open = false;
  bool destroyed = false;
  std::int64_t opened_ns = 0;  // tried
  StreamConfig config;
};

class Scripted final : public FrameSource {
 public:
  explicit Scripted(Script& script) : script_(script) {}
  ~Scripted() override { script_.destroyed = true; }

  [[nodiscard]] std::string description() const override { return script_.name; }
  void open(const StreamConfig& config) override {
    ++script_.opens;
    script_.opened_ns = now_ns();
    CHECK(!script_.open);
    script_.config = config;
    if (script_.failures > 0) {
      --script_.failures;
      throw Error(script_.kind, script_.name + " refuses, open " + std::to_string(script_.opens));
    }
    script_.open = true;
    picture_due_ = script_.shows;
  }
  [[nodiscard]] int width() const override { return script_.width; }
  [[nodiscard]] int height() const override { return script_.height; }
  [[nodiscard]] SourceEvent wait(std::int64_t, std::int64_t deadline_ns) override {
    CHECK(script_.open);
    if (std::exchange(picture_due_, false)) {
      Frame frame;
      frame.width = script_.width;
      return frame;
    }
    if (!script_.events.empty()) {
      SourceEvent event = std::move(script_.events.front());
      script_.events.pop_front();
      return event;
    }
    if (wake_.wait(-1, deadline_ns)) wake_.wait(-1, now_ns() + script_.dawdles_after_wake);
    return Timeout{};
  }
  void wake() override { wake_.set(); }
  [[nodiscard]] bool exclusive() const override { return script_.exclusive; }
  void close() override { script_.open = false; }

 private:
  Script& script_;
  WakeEvent wake_;
  bool picture_due_ = false;
};

// The two, and what chooses between them.
struct Pair {
  explicit Pair(std::int64_t retry_ns = kNever, std::int64_t picture_ns = kNever)
      : source(std::make_unique<FallbackSource>(std::make_unique<Scripted>(dxgi),
                                                std::make_unique<Scripted>(gdi), log,
                                                FallbackSource::Patience{retry_ns, picture_ns})) {}

  void open() { source->open({}); }
  SourceEvent wait(std::int64_t timeout_ns = kPatienceNs) {
    return source->wait(0, now_ns() + timeout_ns);
  }

  Script dxgi{"dxgi", 640, 480};
  Script gdi{"gdi", 320, 200};
  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  std::unique_ptr<FallbackSource> source;
};

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline Frame frame_of(int width) {
  Frame frame;
  frame.width = width;
  return frame;
}

// wake() comes while the source waits, and ends that wait.
inline void check_wakes(FrameSource& source) {
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

}  // namespace kvm::test
