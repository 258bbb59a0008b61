// Rectangles and the 16×16 tile map that damage is kept in from capture to encoder.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace kvm {

// Half-open: covers x … x+width-1. Empty when either side is ≤ 0.
struct Rect {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;

  [[nodiscard]] bool empty() const noexcept { return width <= 0 || height <= 0; }
  [[nodiscard]] int right() const noexcept { return x + width; }
  [[nodiscard]] int bottom() const noexcept { return y + height; }
  friend bool operator==(const Rect&, const Rect&) = default;
};

[[nodiscard]] inline Rect intersect(const Rect& a, const Rect& b) noexcept {
  const int left = std::max(a.x, b.x);
  const int top = std::max(a.y, b.y);
  return {left, top, std::min(a.right(), b.right()) - left, std::min(a.bottom(), b.bottom()) - top};
}

inline constexpr int kTile = 16;  // pixels; one H.264 macroblock

// Which 16×16 tiles of a width×height picture are marked. Tiles at the right and bottom edge may be
// partial.
class TileMap {
 public:
  TileMap() = default;
  TileMap(int width, int height)
      : width_(width),
        height_(height),
        cols_((width + kTile - 1) / kTile),
        rows_((height + kTile - 1) / kTile),
        marks_(static_cast<std::size_t>(cols_) * static_cast<std::size_t>(rows_), 0) {}

  [[nodiscard]] int width() const noexcept { return width_; }
  [[nodiscard]] int height() const noexcept { return height_; }
  [[nodiscard]] int cols() const noexcept { return cols_; }
  [[nodiscard]] int rows() const noexcept { return rows_; }
  [[nodiscard]] bool at(int col, int row) const noexcept { return row_ptr(row)[col] != 0; }
  // One byte per tile, 0 or 1, `cols()` of them.
  [[nodiscard]] const std::uint8_t* row_ptr(int row) const noexcept {
    return marks_.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(cols_);
  }
  // The first tile of a row, from `col` on, that is marked (or is not); cols() when there is none.
  [[nodiscard]] int find(int row, int col, bool marked = true) const noexcept {
    if (col >= cols_) return cols_;
    const std::uint8_t* marks = row_ptr(row);
    const void* found =
        std::memchr(marks + col, marked ? 1 : 0, static_cast<std::size_t>(cols_ - col));
    return found == nullptr ? cols_
                            : static_cast<int>(static_cast<const std::uint8_t*>(found) - marks);
  }
  void set(int col, int row, bool on = true) noexcept { mutable_row(row)[col] = on ? 1 : 0; }
  void set_all() { std::fill(marks_.begin(), marks_.end(), std::uint8_t{1}); }
  void clear() { std::fill(marks_.begin(), marks_.end(), std::uint8_t{0}); }

  // Marks every tile that `rect` touches; parts outside the picture are ignored.
  void add(const Rect& rect) noexcept;
  // Marks every tile of `other`, which must have the same size in tiles.
  void merge(const TileMap& other) noexcept;
  // Takes away every tile of `other` (same size).
  void subtract(const TileMap& other) noexcept;
  // By the tiles beside marked ones, above and below them.
  void grow();
  // The marks of rows `begin` to `end` alone.
  [[nodiscard]] TileMap rows_only(int begin, int end) const;
  [[nodiscard]] bool intersects(const Rect& rect) const noexcept;
  [[nodiscard]] bool any() const noexcept;
  [[nodiscard]] std::size_t count() const noexcept;
  // The pixel rectangle of a run of tiles, clipped to the picture.
  [[nodiscard]] Rect run_rect(int row, int col_begin, int col_end) const noexcept {
    return intersect({col_begin * kTile, row * kTile, (col_end - col_begin) * kTile, kTile},
                     {0, 0, width_, height_});
  }
  // Calls fn(row, col_begin, col_end) for each maximal horizontal run of marked tiles, top to
  // bottom.
  template <typename Fn>
  void for_each_run(Fn&& fn) const {
    for (int row = 0; row < rows_; ++row) {
      for (int begin = find(row, 0), end = 0; begin < cols_; begin = find(row, end)) {
        end = find(row, begin, false);
        fn(row, begin, end);
      }
    }
  }

 private:
  [[nodiscard]] std::uint8_t* mutable_row(int row) noexcept {
    return marks_.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(cols_);
  }

  int width_ = 0;
  int height_ = 0;
  int cols_ = 0;
  int rows_ = 0;
  std::vector<std::uint8_t> marks_;
};

}  // namespace kvm
