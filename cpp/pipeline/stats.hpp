// Figures of a running stream: rates over the last second, stage times over the last 256 new
// pictures.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>

#include "pipeline/packet.hpp"

namespace kvm {

struct Percentiles {
  double p50_ms = 0.0;
  double p95_ms = 0.0;
};

struct StatsSnapshot {
  double fps = 0.0;      // packets with new content in the last second
  double bitrate = 0.0;  // bit/s in the last second
  std::uint64_t frames = 0;
  std::uint64_t keyframes = 0;
  std::uint64_t refinements = 0;
  std::uint64_t bytes = 0;
  std::uint64_t captured = 0;
  std::uint64_t dropped = 0;
  Percentiles capture;  // damaged → captured
  Percentiles convert;  // encode thread took it → converted
  Percentiles encode;   // converted → encoded
  Percentiles latency;  // damaged → encoded
};

// Safe from any thread.
class Stats {
 public:
  void add_captured(bool overwrote_one);
  // `taken_ns`: when the encode thread took the picture.
  void add_packet(const Packet& packet, std::int64_t taken_ns);
  [[nodiscard]] StatsSnapshot snapshot() const;

 private:
  static constexpr std::size_t kWindow = 256;

  // The last kWindow durations of one stage, in ns.
  class Window {
   public:
    void add(std::int64_t value) noexcept {
      values_[next_ % kWindow] = value;
      ++next_;
    }
    [[nodiscard]] Percentiles percentiles() const;

   private:
    std::array<std::int64_t, kWindow> values_{};
    std::size_t next_ = 0;
  };
  struct Sent {
    std::int64_t at_ns;
    std::size_t bytes;
    bool fresh;
  };

  mutable std::mutex mutex_;
  StatsSnapshot totals_;
  std::deque<Sent> last_second_;
  Window capture_;
  Window convert_;
  Window encode_;
  Window latency_;
};

}  // namespace kvm
