// When the next picture may be captured: at the frame rate, in step with what is drawn.
#pragma once

#include <cstdint>

#include "base/clock.hpp"
#include "frame/frame.hpp"

namespace kvm {

// Capture thread only. Times are CLOCK_MONOTONIC in ns.
//
// Captures lie on a grid of periods while changes keep coming, so that one late picture does not
// make the rate lower. Programs that draw at the same rate always draw at the same place of that
// grid: where pictures have waited for it all along, it moves towards them. A program that draws
// faster than this takes pictures waits anywhere; there the move brings nothing, and is tried ever
// more seldom.
class Pace {
 public:
  // What a picture may wait: sources gather the changes of a burst for a moment.
  static constexpr std::int64_t kMayWaitNs = 2 * kNsPerMs;

  // Not before this the next picture. 0 at first.
  [[nodiscard]] std::int64_t next_ns() const noexcept { return next_ns_; }
  // A picture was captured.
  void captured(const FrameTimes& times, std::int64_t period_ns) noexcept;

 private:
  void begin_window() noexcept;
  void end_window(std::int64_t period_ns) noexcept;

  std::int64_t next_ns_ = 0;
  // The pictures looked at together, and the shortest wait among them.
  int pictures_ = 0;
  std::int64_t shortest_ns_ = 0;
  std::int64_t to_move_ns_ = 0;  // the grid, in steps
  // Of the last move, to see whether it has helped; 0 = there was none.
  std::int64_t moved_at_wait_ns_ = 0;
  int pause_ = 0;  // windows until the next move
  int last_pause_ = 0;
};

}  // namespace kvm
