#include "frame/geometry.hpp"

#include <bit>
#include <cstring>

namespace kvm {

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
  for (std::size_t i = 0; i < marks_.size(); ++i) marks_[i] |= other.marks_[i];
}

void TileMap::subtract(const TileMap& other) noexcept {
  for (std::size_t i = 0; i < marks_.size(); ++i) {
    marks_[i] &= static_cast<std::uint8_t>(other.marks_[i] ^ 1);
  }
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
    if (std::memchr(row_ptr(row) + col_begin, 1, static_cast<std::size_t>(col_end - col_begin)) !=
        nullptr) {
      return true;
    }
  }
  return false;
}

bool TileMap::any() const noexcept {
  return !marks_.empty() && std::memchr(marks_.data(), 1, marks_.size()) != nullptr;
}

std::size_t TileMap::count() const noexcept {
  // Marks are 0 or 1: the bits of eight are as many as the marks.
  std::size_t n = 0;
  std::size_t i = 0;
  for (; i + 8 <= marks_.size(); i += 8) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, marks_.data() + i, 8);
    n += static_cast<std::size_t>(std::popcount(eight));
  }
  for (; i < marks_.size(); ++i) n += marks_[i];
  return n;
}

}  // namespace kvm
