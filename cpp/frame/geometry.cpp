#include "frame/geometry.hpp"

#include <cstring>

namespace kvm {
namespace {

// Eight marks at once: the compiler leaves loops over bytes as they are.
using Eight = std::uint64_t;

[[nodiscard]] Eight eight_at(const std::uint8_t* marks) noexcept {
  Eight eight = 0;
  std::memcpy(&eight, marks, sizeof eight);
  return eight;
}

// to[i] = fn(to[i], from[i]), where fn works on the bits.
template <typename Fn>
void combine(std::vector<std::uint8_t>& to, const std::vector<std::uint8_t>& from, Fn fn) noexcept {
  std::size_t i = 0;
  for (; i + sizeof(Eight) <= to.size(); i += sizeof(Eight)) {
    const Eight eight = fn(eight_at(to.data() + i), eight_at(from.data() + i));
    std::memcpy(to.data() + i, &eight, sizeof eight);
  }
  for (; i < to.size(); ++i) to[i] = static_cast<std::uint8_t>(fn(Eight{to[i]}, Eight{from[i]}));
}

}  // namespace

void TileMap::add(const Rect& rect) noexcept {
  const Rect inside = intersect(rect, {0, 0, width_, height_});
  if (inside.empty()) return;
  const int col_begin = inside.x / kTile;
  const int col_end = (inside.right() - 1) / kTile + 1;
  for (int row = inside.y / kTile; row <= (inside.bottom() - 1) / kTile; ++row) {
    std::memset(mutable_row(row) + col_begin, 1, static_cast<std::size_t>(col_end - col_begin));
  }
}

void TileMap::merge(const TileMap& other) noexcept {
  combine(marks_, other.marks_, [](Eight a, Eight b) { return a | b; });
}

void TileMap::subtract(const TileMap& other) noexcept {
  combine(marks_, other.marks_, [](Eight a, Eight b) { return a & ~b; });
}

void TileMap::grow() {
  const std::vector<std::uint8_t> before = marks_;
  const auto cols = static_cast<std::size_t>(cols_);
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == 0) continue;
    if (i % cols > 0) marks_[i - 1] = 1;
    if (i % cols + 1 < cols) marks_[i + 1] = 1;
    if (i >= cols) marks_[i - cols] = 1;
    if (i + cols < before.size()) marks_[i + cols] = 1;
  }
}

TileMap TileMap::rows_only(int begin, int end) const {
  TileMap some(width_, height_);
  if (begin >= end) return some;
  const auto cols = static_cast<std::ptrdiff_t>(cols_);
  std::copy(marks_.begin() + begin * cols, marks_.begin() + end * cols,
            some.marks_.begin() + begin * cols);
  return some;
}

bool TileMap::intersects(const Rect& rect) const noexcept {
  const Rect inside = intersect(rect, {0, 0, width_, height_});
  if (inside.empty()) return false;
  const int col_begin = inside.x / kTile;
  const int col_end = (inside.right() - 1) / kTile + 1;
  for (int row = inside.y / kTile; row <= (inside.bottom() - 1) / kTile; ++row) {
    if (find(row, col_begin) < col_end) return true;
  }
  return false;
}

bool TileMap::any() const noexcept {
  return !marks_.empty() && std::memchr(marks_.data(), 1, marks_.size()) != nullptr;
}

std::size_t TileMap::count() const noexcept {
  constexpr std::size_t kMost = 255;  // eights, before a byte of their sum is full
  constexpr Eight kEveryOther = 0x00FF'00FF'00FF'00FF;
  constexpr Eight kSumOfFour = 0x0001'0001'0001'0001;
  std::size_t n = 0;
  std::size_t i = 0;
  while (i + sizeof(Eight) <= marks_.size()) {
    Eight sum = 0;
    for (std::size_t k = 0; k < kMost && i + sizeof(Eight) <= marks_.size();
         ++k, i += sizeof(Eight)) {
      sum += eight_at(marks_.data() + i);
    }
    const Eight pairs = (sum & kEveryOther) + (sum >> 8 & kEveryOther);
    n += static_cast<std::size_t>(pairs * kSumOfFour >> 48);
  }
  for (; i < marks_.size(); ++i) n += marks_[i];
  return n;
}

}  // namespace kvm
