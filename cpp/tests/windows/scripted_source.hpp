// Sources that do what a test says, and a FallbackSource that chooses between two of them.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/wake_event.hpp"
#include "capture/dxgi/fallback_source.hpp"

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
      : source(std::make_unique<FallbackSource>(std::make_unique<Scripted>(dxgi),
                                                std::make_unique<Scripted>(gdi), log, retry_ns)) {}

  void open() { source->open({}); }
  SourceEvent wait(std::int64_t timeout_ns = 10 * kNsPerSec) {
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

}  // namespace kvm::test
