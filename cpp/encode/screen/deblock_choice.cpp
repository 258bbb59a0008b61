#include "encode/screen/deblock_choice.hpp"

#include <algorithm>

namespace kvm::screen {
namespace {

[[nodiscard]] bool is_fine(const MacroblockMap& map, int col, int row) noexcept {
  return map.old_quality(col, row) < kCoarseFilm;
}

// Whether a copy from `vector` may bring something fine.
[[nodiscard]] bool comes_from_fine(const MacroblockMap& map, int col, int row,
                                   Vector vector) noexcept {
  const int x = col * kTile + vector.x;
  const int y = row * kTile + vector.y;
  const int end_col = std::min((x + kTile - 1) / kTile, map.cols() - 1);
  const int end_row = std::min((y + kTile - 1) / kTile, map.rows() - 1);
  for (int r = std::max(y, 0) / kTile; r <= end_row; ++r) {
    for (int c = std::max(x, 0) / kTile; c <= end_col; ++c) {
      if (is_fine(map, c, r)) return true;
    }
  }
  return false;
}

}  // namespace

bool is_coarse_film(const MacroblockMap& map, const SliceTiles& slice) noexcept {
  // One in so many that changed: what moves in a film and rests in turns is not known as one.
  constexpr int kFilmShare = 4;
  const auto changed = [&](int col, int row) {
    return col >= 0 && col < map.cols() && row >= slice.first_row && row < slice.end_row &&
           slice.changed.at(col, row);
  };
  int count = 0;
  int film = 0;
  for (int row = slice.first_row; row < slice.end_row; ++row) {
    for (int col = 0; col < map.cols(); ++col) {
      if (slice.sharpened.at(col, row)) return false;
      if (!changed(col, row)) {
        const bool touched = changed(col - 1, row) || changed(col + 1, row) ||
                             changed(col, row - 1) || changed(col, row + 1);
        if (touched && is_fine(map, col, row)) return false;
        continue;
      }
      ++count;
      if (map.is_film(col, row)) {
        ++film;
        continue;
      }
      if (is_fine(map, col, row)) return false;
      for (const Vector vector : slice.displacements) {
        if (comes_from_fine(map, col, row, vector)) return false;
      }
    }
  }
  return film > 0 && film * kFilmShare >= count;
}

}  // namespace kvm::screen
