// How long changes wait for their turn, and that fps holds.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/clock.hpp"
#include "pipeline/pace.hpp"

using namespace kvm;

namespace {

constexpr std::int64_t kPeriod = kNsPerSec / 60;
constexpr std::int64_t kMs = kNsPerSec / 1000;

struct Run {
  std::vector<std::int64_t> captured;
  std::vector<std::int64_t> waited;  // each change that was captured
};

// Captures what has changed as soon as the pace allows; changes in between are seen with the next.
Run follow(const std::vector<std::int64_t>& changes) {
  Pace pace;
  Run run;
  for (std::size_t i = 0; i < changes.size();) {
    const std::int64_t at = std::max(changes[i], pace.not_before(kPeriod));
    run.waited.push_back(at - changes[i]);
    run.captured.push_back(at);
    pace.captured(at, kPeriod);
    while (i < changes.size() && changes[i] <= at) ++i;
  }
  return run;
}

std::vector<std::int64_t> changes_every(std::int64_t interval, int count, std::int64_t jitter = 0) {
  std::mt19937_64 chance(7);
  std::uniform_int_distribution<std::int64_t> aside(0, jitter);
  std::vector<std::int64_t> changes{kNsPerSec, kNsPerSec + 6 * kMs};  // and then out of step
  for (int i = 1; i < count; ++i)
    changes.push_back(kNsPerSec + 6 * kMs + i * interval + aside(chance));
  return changes;
}

void check_fps(const Run& run) {
  const auto& at = run.captured;
  for (std::size_t i = 61; i < at.size(); ++i) CHECK(at[i] - at[i - 61] >= 59 * kPeriod);
  const std::int64_t all = at.back() - at.front();
  CHECK(static_cast<std::int64_t>(at.size()) <= all / kPeriod + 3);
  for (std::size_t i = 1; i < at.size(); ++i) CHECK(at[i] - at[i - 1] >= kPeriod * 3 / 4);
}

}  // namespace

TEST_CASE("a screen that changes at fps is soon captured at once, whatever its phase") {
  const Run run = follow(changes_every(kPeriod, 300));
  check_fps(run);
  CHECK(run.waited[1] > 5 * kMs);
  for (std::size_t i = 20; i < run.waited.size(); ++i) CHECK(run.waited[i] < kMs / 10);
  CHECK(run.captured.size() >= 298);
}

TEST_CASE("the same when the changes are not quite regular") {
  const Run run = follow(changes_every(kPeriod, 300, 2 * kMs));
  check_fps(run);
  std::vector<std::int64_t> waited(run.waited.begin() + 20, run.waited.end());
  std::sort(waited.begin(), waited.end());
  CHECK(waited[waited.size() / 2] < 2 * kMs);
  CHECK(run.captured.size() >= 295);
}

TEST_CASE("a screen that changes faster is captured fps times a second") {
  for (const int rate : {61, 75, 90, 144, 1000}) {
    const Run run = follow(changes_every(kNsPerSec / rate, 5 * rate));
    check_fps(run);
    CHECK(run.captured.size() >= 295);
  }
}

TEST_CASE("after a pause a change is captured at once and no burst follows") {
  std::vector<std::int64_t> changes = changes_every(kNsPerSec / 200, 400);
  const std::int64_t later = changes.back() + kNsPerSec / 2;
  for (int i = 0; i < 400; ++i) changes.push_back(later + i * kNsPerSec / 200);
  const Run run = follow(changes);
  check_fps(run);
  const auto first = std::find(run.captured.begin(), run.captured.end(), later);
  CHECK(first != run.captured.end());
}
