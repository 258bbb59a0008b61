// Where a picture is cut into slices, so that they can be coded at the same time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "frame/geometry.hpp"

namespace kvm::screen {

struct Slicing {
  int most = 1;                   // slices of a picture; as many threads
  std::size_t least_tiles = 800;  // changed macroblocks that are worth waking a thread for
  [[nodiscard]] int most_of(int rows) const noexcept { return std::clamp(most, 1, rows); }
};
[[nodiscard]] Slicing slicing_of_this_machine() noexcept;

struct Rows {  // of macroblocks
  int begin = 0;
  int end = 0;
};

// Ranges of rows with about as many of `tiles` in each and least_tiles at least.
[[nodiscard]] std::vector<Rows> cut_rows(const TileMap& tiles, const Slicing& slicing);

// Gives the rows above and below all of `tiles` to ranges of their own.
void cut_off_still_rows(std::vector<Rows>& ranges, const TileMap& tiles);

}  // namespace kvm::screen
