// Captures and streams of the screen, and waiting for what is on it.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <variant>

#include "base/clock.hpp"
#include "capture/source.hpp"
#include "encode/ladder.hpp"
#include "pipeline/pipeline.hpp"
#include "window.hpp"

namespace kvm::test {

inline constexpr std::int64_t kPatienceNs = 10 * kNsPerSec;

inline std::unique_ptr<FrameSource> open(const StreamConfig& config) {
  auto source = make_source(config, std::make_shared<LogRing>());
  source->open(config);
  return source;
}

// The screen by our own encoder, started.
inline std::unique_ptr<Pipeline> start_stream(const StreamConfig& config) {
  auto log = std::make_shared<LogRing>();
  auto pipeline = std::make_unique<Pipeline>(
      config, [log](const StreamConfig& wanted) { return make_source(wanted, log); },
      Ladder(default_candidates({}), log), log);
  pipeline->start();
  return pipeline;
}

inline StreamConfig region(const Rect& rect, CursorMode cursor = CursorMode::kHidden) {
  StreamConfig config;
  config.region = rect;
  config.cursor = cursor;
  return config;
}

// The picture has `window`'s pixels, `window` being where its top left corner is in the picture.
inline bool shows(const Frame& frame, const Rect& window, unsigned seed) {
  const Rect inside = intersect(window, {0, 0, frame.width, frame.height});
  for (int y = inside.y; y < inside.bottom(); ++y) {
    for (int x = inside.x; x < inside.right(); ++x) {
      const std::uint8_t* p = frame.planes().data[0] + y * frame.planes().stride[0] + x * 4;
      const std::uint32_t got = p[0] | std::uint32_t{p[1]} << 8 | std::uint32_t{p[2]} << 16;
      if (got != pixel_at(x - window.x, y - window.y, seed)) return false;
    }
  }
  return !inside.empty();
}

// Waits for a frame that satisfies `wanted`: the window's pixels reach the screen in their own
// time.
template <typename Wanted>
bool sees(FrameSource& source, Wanted&& wanted) {
  const std::int64_t deadline = now_ns() + kPatienceNs;
  while (now_ns() < deadline) {
    SourceEvent event = source.wait(0, deadline);
    if (const auto* frame = std::get_if<Frame>(&event); frame != nullptr && wanted(*frame))
      return true;
  }
  return false;
}

inline void wait_until_still(FrameSource& source) {
  while (!std::holds_alternative<Timeout>(source.wait(0, now_ns() + 300 * kNsPerMs))) {
  }
}

}  // namespace kvm::test
