#include "encode/screen/displacement.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "encode/screen/windows.hpp"

namespace kvm::screen {
namespace {

constexpr int kStrip = 16;      // pixels wide
constexpr int kStripRows = 8;   // rows in a pattern
constexpr int kMostStrips = 8;  // looked at, spread over the damage
constexpr int kProbeEvery = 4;  // rows between the patterns that are looked up
constexpr int kWindowRows = 4;  // every so many rows of the new picture are looked up
constexpr std::size_t kMostWindows = 6000;
constexpr int kEnoughShare =
    4;  // a vector that explains a quarter of what was looked up is the answer
constexpr std::size_t kMostRecent = 6;
constexpr std::size_t kLooks = 96;        // at places of a picture, for what moves as before
constexpr std::size_t kFewestLooks = 24;  // at places that tell something
constexpr int kLookRows = 4;
constexpr std::uint64_t kPrime = 0x9E3779B97F4A7C15ULL;
constexpr std::uint64_t kOther = 0xC2B2AE3D27D4EB4FULL;

[[nodiscard]] std::uint64_t load8(const std::uint8_t* bytes) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes, 8);
  return value;
}
[[nodiscard]] std::uint64_t hash16(const std::uint8_t* bytes) noexcept {
  const std::uint64_t mixed = load8(bytes) * kPrime ^ std::rotl(load8(bytes + 8) * kOther, 31);
  return mixed ^ mixed >> 29;
}
[[nodiscard]] bool equal16(const std::uint8_t* a, const std::uint8_t* b) noexcept {
  return load8(a) == load8(b) && load8(a + 8) == load8(b + 8);
}

}  // namespace

void DisplacementSearch::begin_table(std::size_t patterns) {
  slots_ = std::min(kTableSize, std::bit_ceil(2 * patterns));
  ++round_;
  remembered_ = 0;
}

void DisplacementSearch::remember(std::uint64_t hash, int x, int y) {
  if (remembered_ >= slots_ / 2) return;
  for (std::size_t i = hash & (slots_ - 1);; i = (i + 1) & (slots_ - 1)) {
    Seen& seen = table_[i];
    if (seen.round != round_) {
      seen = {hash, static_cast<std::int16_t>(x), static_cast<std::int16_t>(y), round_, false};
      ++remembered_;
      return;
    }
    if (seen.hash == hash) {
      seen.twice = true;
      return;
    }
  }
}

const DisplacementSearch::Seen* DisplacementSearch::lookup(std::uint64_t hash) const {
  for (std::size_t i = hash & (slots_ - 1);; i = (i + 1) & (slots_ - 1)) {
    const Seen& seen = table_[i];
    if (seen.round != round_) return nullptr;
    if (seen.hash == hash) return seen.twice ? nullptr : &seen;
  }
}

void DisplacementSearch::vote(Vector vector) {
  const auto known = std::find_if(votes_.begin(), votes_.end(),
                                  [&](const Votes& votes) { return votes.vector == vector; });
  if (known != votes_.end()) {
    ++known->count;
    return;
  }
  constexpr std::size_t kMostVectors = 256;
  if (votes_.size() < kMostVectors) votes_.push_back({vector, 1});
}

// Patterns of 16×8 pixels in some columns: what scrolls up and down.
void DisplacementSearch::vote_vertical(const Plane& now, const Plane& old, const TileMap& damage,
                                       int vertical_reach) {
  std::vector<int> strips;
  for (int col = 0; col < damage.cols(); ++col) {
    int changed = 0;
    for (int row = 0; row < damage.rows(); ++row) changed += damage.at(col, row) ? 1 : 0;
    if (changed >= 3) strips.push_back(col);
  }
  const std::size_t every = std::max<std::size_t>(1, strips.size() / kMostStrips);
  const int height = now.height;
  const auto rows = static_cast<std::size_t>(height);
  rows_now_.resize(rows);
  rows_old_.resize(rows);
  for (std::size_t s = every / 2; s < strips.size(); s += every) {
    const int col = strips[s];
    const int x = col * kStrip;
    // The old picture is looked at where the new one changed, and as far away as a step goes.
    int first = damage.rows();
    int last = 0;
    for (int row = 0; row < damage.rows(); ++row) {
      if (!damage.at(col, row)) continue;
      first = std::min(first, row);
      last = row + 1;
    }
    const int top = first * kTile;
    const int bottom = std::min(last * kTile, height);
    for (int y = top; y < bottom; ++y) {
      rows_now_[static_cast<std::size_t>(y)] = hash16(now.at(x, y));
      rows_old_[static_cast<std::size_t>(y)] = hash16(old.at(x, y));
    }
    const auto pattern = [](const std::vector<std::uint64_t>& hashes, int y) {
      std::uint64_t hash = 0;
      for (int i = 0; i < kStripRows; ++i) {
        hash = (hash ^ hashes[static_cast<std::size_t>(y + i)]) * kPrime;
        hash ^= hash >> 32;
      }
      return hash;
    };
    // Where this row equals the next, a pattern begins anywhere: it says nothing.
    const auto telling = [](const std::vector<std::uint64_t>& hashes, int y) {
      return hashes[static_cast<std::size_t>(y)] != hashes[static_cast<std::size_t>(y + 1)];
    };
    begin_table(static_cast<std::size_t>(bottom - top));
    for (int y = top; y + kStripRows <= bottom; ++y) {
      if (telling(rows_old_, y)) remember(pattern(rows_old_, y), x, y);
    }
    int telling_rows = 0;
    for (int y = top; y + kStripRows <= bottom; ++y) {
      if (!telling(rows_now_, y) || ++telling_rows % kProbeEvery != 0) continue;
      ++probes_;
      const Seen* seen = lookup(pattern(rows_now_, y));
      if (seen != nullptr && seen->y != y && std::abs(seen->y - y) <= vertical_reach) {
        vote({0, seen->y - y});
      }
    }
  }
}

// What moves in any direction.
void DisplacementSearch::vote_windows(const Plane& now, const Plane& old, const TileMap& damage,
                                      int vertical_reach) {
  begin_table(kTableSize / 2);
  const auto each_window = [&](const Plane& plane, int row_step, auto&& use) {
    damage.for_each_run([&](int row, int begin, int end) {
      const int left = begin * kTile;
      const int right = std::min(end * kTile, plane.width) - kWindow;
      const int bottom = std::min((row + 1) * kTile, plane.height);
      for (int y = row * kTile; y < bottom; y += row_step) {
        const std::uint8_t* line = plane.at(0, y);
        for (const std::uint16_t place : choose_windows(line + left, right - left + 1)) {
          const int x = left + place;
          use(hash16(line + x), x, y);
        }
      }
    });
  };
  each_window(now, kWindowRows, [&](std::uint64_t hash, int x, int y) {
    if (remembered_ < kMostWindows) remember(hash, x, y);
  });
  if (remembered_ == 0) return;
  each_window(old, 1, [&](std::uint64_t hash, int x, int y) {
    const Seen* seen = lookup(hash);
    if (seen == nullptr || (seen->x == x && seen->y == y)) return;
    if (std::abs(y - seen->y) <= vertical_reach) vote({x - seen->x, y - seen->y});
  });
}

// True where vectors of the last pictures explain this one; those that are seen get their votes in
// any case.
bool DisplacementSearch::recall(const Plane& now, const Plane& old, const TileMap& damage,
                                int vertical_reach) {
  if (recent_.empty()) return false;
  const std::size_t every = std::max<std::size_t>(1, damage.count() / kLooks);
  std::array<int, kMostRecent> hits{};
  std::size_t tile = 0;
  std::size_t looks = 0;
  std::size_t explained = 0;
  damage.for_each_run([&](int row, int begin, int end) {
    for (int col = begin; col < end; ++col) {
      if (++tile % every != 0) continue;
      const int x = col * kTile;
      // Not always at the same height of a tile: text stands in lines.
      const int y = row * kTile + static_cast<int>(tile / every * 5 % (kTile - kLookRows + 1));
      const auto same = [&](Vector to) {
        for (int i = 0; i < kLookRows; ++i) {
          if (!equal16(now.at(x, y + i), old.at(x + to.x, y + to.y + i))) return false;
        }
        return true;
      };
      // Rows that are all alike are found everywhere.
      if (equal16(now.at(x, y), now.at(x, y + 1)) && equal16(now.at(x, y), now.at(x, y + 2)))
        continue;
      ++looks;
      for (std::size_t i = 0; i < recent_.size(); ++i) {
        const Vector to = recent_[i];
        const bool inside = x + to.x >= 0 && x + to.x + kTile <= old.width && y + to.y >= 0 &&
                            y + to.y + kLookRows <= old.height;
        if (!inside || std::abs(to.y) > vertical_reach || !same(to)) continue;
        ++hits[i];
        ++explained;
        break;
      }
    }
  });
  for (std::size_t i = 0; i < recent_.size(); ++i) {
    if (hits[i] >= 2) votes_.push_back({recent_[i], hits[i]});
  }
  return looks >= kFewestLooks && explained * 5 >= looks * 3 && ++recalled_ < kSearchEvery;
}

const std::vector<Vector>& DisplacementSearch::find(const Plane& now, const Plane& old,
                                                    const TileMap& damage, int vertical_reach) {
  votes_.clear();
  found_.clear();
  constexpr std::size_t kSmallChange = 12;  // tiles: typing moves nothing far
  if (damage.count() < kSmallChange) return found_;
  if (!recall(now, old, damage, vertical_reach)) search(now, old, damage, vertical_reach);
  std::stable_sort(votes_.begin(), votes_.end(),
                   [](const Votes& a, const Votes& b) { return a.count > b.count; });
  for (const Votes& votes : votes_) {
    if (votes.count < 2 || found_.size() == kMost) break;
    found_.push_back(votes.vector);
  }
  for (auto vector = found_.rbegin(); vector != found_.rend(); ++vector) {
    std::erase(recent_, *vector);
    recent_.insert(recent_.begin(), *vector);
  }
  if (recent_.size() > kMostRecent) recent_.resize(kMostRecent);
  return found_;
}

void DisplacementSearch::search(const Plane& now, const Plane& old, const TileMap& damage,
                                int vertical_reach) {
  constexpr std::size_t kLargeChange = 2500;  // tiles: windows would cost more than they bring
  probes_ = 0;
  recalled_ = 0;
  vote_vertical(now, old, damage, vertical_reach);
  int most = 0;
  for (const Votes& votes : votes_) {
    if (votes.vector.x == 0) most = std::max(most, votes.count);
  }
  if (most * kEnoughShare < probes_ && damage.count() < kLargeChange)
    vote_windows(now, old, damage, vertical_reach);
}

}  // namespace kvm::screen
