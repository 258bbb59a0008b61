// What SliceCoder finds exactly in the source picture before: macroblocks, runs of them, parts.
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "encode/screen/difference.hpp"
#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

constexpr int kPartBits = 10;           // of a vector and of what tells of its part, about
constexpr int kHorizontalReach = 2000;  // A.3.1: 2048 in every level

// Which 8×8 quarters of two 16×16 blocks are the same: bit i = quarter i, raster order.
[[nodiscard]] unsigned equal_quarters(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                      const std::uint8_t* b, std::ptrdiff_t b_stride) noexcept {
  unsigned same = 0;
  for (unsigned band = 0; band < 2; ++band) {
    std::array<std::uint64_t, 2> differs{};
    const std::uint8_t* end = a + 8 * a_stride;
    for (; a != end && (differs[0] == 0 || differs[1] == 0); a += a_stride, b += b_stride) {
      std::array<std::uint64_t, 2> first;
      std::array<std::uint64_t, 2> second;
      std::memcpy(first.data(), a, kTile);
      std::memcpy(second.data(), b, kTile);
      differs[0] |= first[0] ^ second[0];
      differs[1] |= first[1] ^ second[1];
    }
    b += (end - a) / a_stride * b_stride;
    a = end;
    same |= ((differs[0] == 0 ? 1U : 0U) | (differs[1] == 0 ? 2U : 0U)) << 2 * band;
  }
  return same;
}

}  // namespace

SliceCoder::Reach SliceCoder::reach_of(int col, int row) const noexcept {
  return {.left = std::max(-col * kTile, -kHorizontalReach),
          .right = std::min((map_->cols() - 1 - col) * kTile, kHorizontalReach),
          .up = std::max(-row * kTile, -setup_.vertical_reach),
          .down = std::min((map_->rows() - 1 - row) * kTile, setup_.vertical_reach)};
}

bool SliceCoder::exact_full_chroma(int col, int row, Vector vector) const noexcept {
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const Plane& now = (*setup_.source)[plane];
    const Plane& old = (*setup_.old_source)[plane];
    if (!equal_block<kTile>(now.at(col * kTile, row * kTile), now.stride,
                            old.at(col * kTile + vector.x, row * kTile + vector.y), old.stride)) {
      return false;
    }
  }
  return true;
}

bool SliceCoder::exact_chroma(int col, int row, Vector vector) const noexcept {
  if (((vector.x | vector.y) & 1) != 0) return false;
  const SourceBlock source = source_at(col, row);
  for (std::size_t plane = 0; plane < 2; ++plane) {
    const Plane& old = (*setup_.old_source)[plane + 1];
    if (!equal_block<8>(source.chroma[plane], source.chroma_stride,
                        old.at(col * 8 + vector.x / 2, row * 8 + vector.y / 2), old.stride)) {
      return false;
    }
  }
  return true;
}

std::optional<Vector> SliceCoder::find_exact(int col, int row,
                                             std::span<const Vector> candidates) const noexcept {
  const SourceBlock source = source_at(col, row);
  const Plane& old = (*setup_.old_source)[0];
  const Reach reach = reach_of(col, row);
  for (const Vector vector : candidates) {
    if (reach.holds(vector) &&
        equal_block<16>(source.luma, source.luma_stride,
                        old.at(col * kTile + vector.x, row * kTile + vector.y), old.stride) &&
        (!full_chroma() || exact_full_chroma(col, row, vector))) {
      return vector;
    }
  }
  return std::nullopt;
}

// Where the edge of something that moves crosses a macroblock, parts of it may still be found
// exactly: both halves or, at its corner, all quarters; else all but one of them, and what is
// nearest for that.
std::optional<SliceCoder::Inter> SliceCoder::find_parts(
    int col, int row, const Around& near, std::span<const Vector> candidates) const noexcept {
  using Shape = Motion::Shape;
  const SourceBlock source = source_at(col, row);
  const Reach reach = reach_of(col, row);
  const Plane& old = (*setup_.old_source)[0];
  // Upper, lower, left, right.
  constexpr std::array<unsigned, 4> kQuartersOf{0b0011, 0b1100, 0b0101, 0b1010};
  std::array<std::optional<Vector>, 4> halves;
  std::array<Vector, 4> quarters;
  unsigned found = 0;  // bit i = quarter i
  for (const Vector vector : candidates) {
    if (!reach.holds(vector)) continue;
    const unsigned same =
        equal_quarters(source.luma, source.luma_stride,
                       old.at(col * kTile + vector.x, row * kTile + vector.y), old.stride);
    for (std::size_t i = 0; i < 4; ++i) {
      if (!halves[i] && (same & kQuartersOf[i]) == kQuartersOf[i]) halves[i] = vector;
      if ((same & ~found & 1U << i) != 0) quarters[i] = vector;
    }
    found |= same;
  }
  const auto exact = [&](const Motion& motion) {
    return Inter{.motion = motion, .exact_luma = !full_chroma()};
  };
  if (halves[0] && halves[1]) return exact(Motion::of_halves(Shape::kRows, *halves[0], *halves[1]));
  if (halves[2] && halves[3])
    return exact(Motion::of_halves(Shape::kColumns, *halves[2], *halves[3]));
  if (found == 0b1111) return exact(Motion::of_quarters(quarters));

  std::optional<Inter> best;
  const Plane& reference = (*setup_.reference)[0];
  // What is nearest for a part, and how far that is.
  const auto nearest = [&](const Rect& pixels, std::optional<Vector> but) {
    const std::uint8_t* wanted = source.luma + pixels.y * source.luma_stride + pixels.x;
    const std::uint8_t* here = reference.at(col * kTile + pixels.x, row * kTile + pixels.y);
    const auto difference = pixels.width == kTile ? difference16_rows : difference8_rows;
    std::pair<Vector, int> least{{}, std::numeric_limits<int>::max()};
    for (const Vector vector : candidates) {
      if (vector == but || !reach.holds(vector)) continue;
      const int distance =
          difference(wanted, source.luma_stride, here + vector.y * reference.stride + vector.x,
                     reference.stride, pixels.height);
      if (distance < least.second) least = {vector, distance};
    }
    return least;
  };
  const auto offer = [&](const Motion& motion, int distance) {
    const std::array<Vector, 4> predicted = predicted_parts(near, motion);
    int bits = 0;
    std::size_t i = 0;
    for (const Motion::Part& part : motion.parts())
      bits += vector_bits(motion.vector_of(part), predicted[i++]);
    const int cost = distance + lambda_ * bits;
    if (!best || cost < best->cost) best = Inter{.motion = motion, .cost = cost};
  };
  for (std::size_t i = 0; i < halves.size(); ++i) {
    if (!halves[i]) continue;
    const Shape shape = i < 2 ? Shape::kRows : Shape::kColumns;
    const auto [vector, distance] = nearest(Motion::parts_of(shape)[1 - i % 2].pixels, halves[i]);
    if (distance == std::numeric_limits<int>::max()) continue;
    offer(i % 2 == 0 ? Motion::of_halves(shape, *halves[i], vector)
                     : Motion::of_halves(shape, vector, *halves[i]),
          distance);
  }
  if (found != 0 && !best) {
    int sum = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      if ((found & 1U << i) != 0) continue;
      const auto [vector, distance] = nearest(Motion::parts_of(Shape::kQuarters)[i].pixels, {});
      quarters[i] = vector;
      sum += distance;
    }
    offer(Motion::of_quarters(quarters), sum + lambda_ * 6);
  }
  return best;
}

// How many macroblocks from `col` on, `end` at most, came along with the first. Long rows are quick
// to read, and what is read in vain is bounded: twice as many are tried after all of a try did.
int SliceCoder::moved_together(int col, int end, int row, Vector vector) noexcept {
  constexpr int kMost = 128;
  int count = std::min(end - col, together_);
  while (count > 1 && !reach_of(col + count - 1, row).holds(vector)) --count;
  const int tried = count;
  for (std::size_t plane = 0; plane < luma_planes(); ++plane) {
    const Plane& now = (*setup_.source)[plane];
    const Plane& old = (*setup_.old_source)[plane];
    for (int y = row * kTile; y < (row + 1) * kTile; ++y) {
      const std::uint8_t* a = now.at(col * kTile, y);
      const std::uint8_t* b = old.at(col * kTile + vector.x, y + vector.y);
      if (std::memcmp(a, b, static_cast<std::size_t>(count * kTile)) == 0) continue;
      int equal = 0;
      while (std::memcmp(a + equal * kTile, b + equal * kTile, kTile) == 0) ++equal;
      count = equal;
    }
  }
  together_ = count == tried ? std::min(2 * together_, kMost) : kFewestTogether;
  return count;
}

}  // namespace kvm::screen
