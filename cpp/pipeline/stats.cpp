#include "pipeline/stats.hpp"

#include <algorithm>
#include <vector>

#include "base/clock.hpp"

namespace kvm {

Percentiles Stats::Window::percentiles() const {
  const std::size_t count = std::min(next_, kWindow);
  if (count == 0) return {};
  std::vector<std::int64_t> sorted(values_.begin(),
                                   values_.begin() + static_cast<std::ptrdiff_t>(count));
  std::sort(sorted.begin(), sorted.end());
  const auto at = [&](double share) {
    return static_cast<double>(
               sorted[static_cast<std::size_t>(share * static_cast<double>(count - 1))]) /
           1e6;
  };
  return {at(0.50), at(0.95)};
}

void Stats::add_captured(bool overwrote_one) {
  const std::lock_guard lock(mutex_);
  ++totals_.captured;
  if (overwrote_one) ++totals_.dropped;
}

void Stats::add_packet(const Packet& packet, std::int64_t taken_ns) {
  const std::lock_guard lock(mutex_);
  ++totals_.frames;
  totals_.keyframes += packet.keyframe ? 1 : 0;
  totals_.refinements += packet.refinement ? 1 : 0;
  totals_.bytes += packet.data.size();
  const FrameTimes& times = packet.times;
  last_second_.push_back({times.encoded, packet.data.size(), !packet.refinement});
  while (last_second_.front().at_ns < times.encoded - kNsPerSec) last_second_.pop_front();
  if (packet.refinement) return;
  capture_.add(times.captured - times.damaged);
  convert_.add(times.converted - taken_ns);
  encode_.add(times.encoded - times.converted);
  latency_.add(times.encoded - times.damaged);
}

StatsSnapshot Stats::snapshot() const {
  const std::lock_guard lock(mutex_);
  StatsSnapshot result = totals_;
  const std::int64_t since = now_ns() - kNsPerSec;
  for (const Sent& sent : last_second_) {
    if (sent.at_ns < since) continue;
    result.fps += sent.fresh ? 1.0 : 0.0;
    result.bitrate += 8.0 * static_cast<double>(sent.bytes);
  }
  result.capture = capture_.percentiles();
  result.convert = convert_.percentiles();
  result.encode = encode_.percentiles();
  result.latency = latency_.percentiles();
  return result;
}

}  // namespace kvm
