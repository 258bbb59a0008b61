// Walks a tile map in rectangles instead of single rows of tiles.
#pragma once

#include <cstddef>
#include <cstdint>

#include "frame/geometry.hpp"

namespace kvm {

// Calls fn(Rect) for each run of marked tiles, equal runs below each other as one rectangle,
// clipped to the picture. Every marked tile is in exactly one rectangle; a wholly marked picture is
// one. Unmarked tiles cost next to nothing (memchr), which counts when one of 8160 is marked.
template <typename Fn>
void for_each_rect(const TileMap& tiles, Fn&& fn) {
  const int cols = tiles.cols();
  const auto is_run = [&](int row, int begin, int end) {
    const std::uint8_t* marks = tiles.row_ptr(row);
    return (begin == 0 || marks[begin - 1] == 0) && marks[begin] != 0 &&
           tiles.find(row, begin, false) == end;
  };
  for (int row = 0; row < tiles.rows(); ++row) {
    for (int begin = tiles.find(row, 0), end = 0; begin < cols; begin = tiles.find(row, end)) {
      end = tiles.find(row, begin, false);
      if (row > 0 && is_run(row - 1, begin, end))
        continue;  // part of the rectangle that began above
      int bottom = row + 1;
      while (bottom < tiles.rows() && is_run(bottom, begin, end)) ++bottom;
      Rect rect = tiles.run_rect(row, begin, end);
      rect.height = tiles.run_rect(bottom - 1, begin, end).bottom() - rect.y;
      fn(rect);
    }
  }
}

}  // namespace kvm
