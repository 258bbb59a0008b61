#include "encode/screen/slicing.hpp"

#include <algorithm>
#include <cstdint>

#include "encode/rate.hpp"

namespace kvm::screen {

Slicing slicing_of_this_machine() noexcept {
  return {.most = software_threads()};
}

std::vector<Rows> cut_rows(const TileMap& tiles, const Slicing& slicing) {
  const std::size_t total = tiles.count();
  const auto most = static_cast<std::size_t>(slicing.most_of(tiles.rows()));
  const std::size_t pieces =
      std::clamp<std::size_t>(total / std::max<std::size_t>(slicing.least_tiles, 1), 1, most);
  if (pieces == 1) return {{0, tiles.rows()}};
  std::vector<Rows> ranges;
  std::size_t seen = 0;
  int begin = 0;
  for (int row = 0; row < tiles.rows(); ++row) {
    const std::uint8_t* marks = tiles.row_ptr(row);
    seen += static_cast<std::size_t>(std::count(marks, marks + tiles.cols(), std::uint8_t{1}));
    const bool last = row == tiles.rows() - 1;
    const bool full = seen * pieces >= total * (ranges.size() + 1);
    if (last || (full && ranges.size() + 1 < pieces)) {
      ranges.push_back({begin, row + 1});
      begin = row + 1;
    }
  }
  return ranges;
}

void cut_off_still_rows(std::vector<Rows>& ranges, const TileMap& tiles) {
  const auto rests = [&](int row) { return tiles.find(row, 0) == tiles.cols(); };
  int begin = 0;
  while (begin < tiles.rows() && rests(begin)) ++begin;
  int end = tiles.rows();
  while (end > begin && rests(end - 1)) --end;
  if (begin == end) return;
  if (end < tiles.rows() && ranges.back().begin < end) {
    ranges.back().end = end;
    ranges.push_back({end, tiles.rows()});
  }
  if (begin > 0) {
    ranges.front().begin = begin;
    ranges.insert(ranges.begin(), {0, begin});
  }
}

}  // namespace kvm::screen
