// The capture's grid against programs that draw at their own times.
#include "pipeline/pace.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace kvm {
namespace {

constexpr std::int64_t kPeriod = 16'666'667;
constexpr std::int64_t kSettle = 1 * kNsPerMs;  // as the X11 source waits after a change
constexpr std::int64_t kReading = 1'500'000;    // until the pixels are there

struct Captures {
  std::vector<std::int64_t> at;
  std::vector<std::int64_t> delays;  // from a change to its picture
  [[nodiscard]] double rate(std::size_t from) const {
    return static_cast<double>(at.size() - 1 - from) * 1e9 /
           static_cast<double>(at.back() - at[from]);
  }
  [[nodiscard]] std::int64_t typical_delay(std::size_t from) const {
    std::vector<std::int64_t> some(delays.begin() + static_cast<std::ptrdiff_t>(from),
                                   delays.end());
    std::nth_element(some.begin(), some.begin() + static_cast<std::ptrdiff_t>(some.size() / 2),
                     some.end());
    return some[some.size() / 2];
  }
};

// A source as they all are: captures the oldest change when the pace allows it.
Captures run(Pace& pace, const std::vector<std::int64_t>& changes) {
  Captures result;
  std::size_t next = 0;
  std::int64_t now = 0;
  while (next < changes.size()) {
    FrameTimes times;
    times.damaged = changes[next];
    const std::int64_t start = std::max({now, pace.next_ns(), times.damaged + kSettle});
    times.captured = now = start + kReading;
    while (next < changes.size() && changes[next] <= start) ++next;
    pace.captured(times, kPeriod);
    result.at.push_back(start);
    result.delays.push_back(start - times.damaged);
  }
  return result;
}

// Of a program that draws at `rate`, each time up to `jitter` ns late.
std::vector<std::int64_t> changes_at(double rate, double seconds, std::int64_t jitter = 0,
                                     std::int64_t from = kNsPerSec) {
  std::mt19937 random(3);
  std::vector<std::int64_t> changes;
  for (int i = 0; i < static_cast<int>(rate * seconds); ++i) {
    const std::int64_t late =
        jitter == 0 ? 0 : static_cast<std::int64_t>(random() & 0xFFFFFFFF) % jitter;
    changes.push_back(from + static_cast<std::int64_t>(i * 1e9 / rate) + late);
  }
  return changes;
}

TEST_CASE("a program that draws at the frame rate is followed at once, wherever the grid lay") {
  for (std::int64_t phase = 0; phase < 16; ++phase) {
    Pace pace;
    // One change before sets the grid.
    std::vector<std::int64_t> changes{kNsPerSec - 100 * kNsPerMs};
    std::vector<std::int64_t> more = changes_at(60, 1, 0, kNsPerSec - 90 * kNsPerMs);
    for (std::int64_t& at : more) at += phase * kNsPerMs;
    changes.insert(changes.end(), more.begin(), more.begin() + 10);
    for (std::int64_t& at : more) at += kNsPerMs * 5;  // its clock jumps: the grid does not fit
    const auto last = more[10];
    const auto steady = changes_at(60, 10, 400'000, last);
    changes.insert(changes.end(), steady.begin(), steady.end());
    const Captures captures = run(pace, changes);
    INFO("phase " << phase << " ms");
    CHECK(captures.typical_delay(captures.at.size() / 5) <= Pace::kMayWaitNs);
    CHECK(captures.rate(captures.at.size() / 5) == doctest::Approx(60).epsilon(0.003));
  }
}

TEST_CASE("programs a little slower and a little faster than the frame rate") {
  for (const double rate : {59.94, 60.05}) {
    Pace pace;
    const Captures captures = run(pace, changes_at(rate, 30, 300'000));
    INFO("rate " << rate);
    CHECK(captures.typical_delay(120) <= Pace::kMayWaitNs + kNsPerMs);
    CHECK(captures.rate(120) <= rate + 0.02);
  }
}

TEST_CASE("a faster program does not make captures faster than was asked") {
  for (const double rate : {63.0, 75.0, 90.0, 144.0, 1000.0}) {
    Pace pace;
    const Captures captures = run(pace, changes_at(rate, 60, 500'000));
    INFO("rate " << rate);
    CHECK(captures.rate(0) <= 60.1);
    CHECK(captures.rate(0) >= 59.5);
    // Nowhere is there a burst: each second has its pictures, and one more at most.
    std::size_t begin = 0;
    for (std::size_t i = 0; i < captures.at.size(); ++i) {
      while (captures.at[i] - captures.at[begin] >= kNsPerSec) ++begin;
      REQUIRE(i - begin + 1 <= 62);
    }
  }
}

TEST_CASE("no two captures are nearer than seven eighths of a period") {
  Pace pace;
  std::vector<std::int64_t> changes = changes_at(60, 5, 300'000);
  for (std::size_t i = changes.size() / 2; i < changes.size(); ++i) changes[i] -= 6 * kNsPerMs;
  const Captures captures = run(pace, changes);
  for (std::size_t i = 2; i < captures.at.size(); ++i) {
    // A late one stays on the grid, so what it was late by comes off the next.
    CHECK(captures.at[i] - captures.at[i - 2] >= 2 * kPeriod - 2 * kPeriod / 8 - 2 * kNsPerMs);
  }
}

TEST_CASE("after a pause the first change is captured at once, and none is made up for") {
  Pace pace;
  std::vector<std::int64_t> changes = changes_at(60, 1);
  const std::int64_t later = changes.back() + kNsPerSec;
  for (const std::int64_t at : changes_at(200, 1, 0, later)) changes.push_back(at);
  const Captures captures = run(pace, changes);
  const auto first = std::lower_bound(captures.at.begin(), captures.at.end(), later);
  CHECK(*first - later == kSettle);
  CHECK(*(first + 1) - *first >= kPeriod);
}

}  // namespace
}  // namespace kvm
