// What SliceCoder finds exactly in the source picture before: macroblocks, runs of them, halves.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "encode/screen/difference.hpp"
#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

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

// Where the edge of something that moves crosses a macroblock, half of it may still be found
// exactly: both halves, or one of them and what is nearest for the other.
std::optional<SliceCoder::Inter> SliceCoder::find_halves(
    int col, int row, const Around& near, std::span<const Vector> candidates) const noexcept {
  using Shape = Motion::Shape;
  const SourceBlock source = source_at(col, row);
  const Reach reach = reach_of(col, row);
  const auto old_at = [&](Vector vector) {
    return (*setup_.old_source)[0].at(col * kTile + vector.x, row * kTile + vector.y);
  };
  // Upper, lower, left, right.
  std::array<std::optional<Vector>, 4> exact;
  for (const Vector vector : candidates) {
    if (!reach.holds(vector)) continue;
    const unsigned same = equal_quarters(source.luma, source.luma_stride, old_at(vector),
                                         (*setup_.old_source)[0].stride);
    constexpr std::array<unsigned, 4> kQuartersOf{0b0011, 0b1100, 0b0101, 0b1010};
    for (std::size_t i = 0; i < exact.size(); ++i) {
      if (!exact[i] && (same & kQuartersOf[i]) == kQuartersOf[i]) exact[i] = vector;
    }
  }
  for (const Shape shape : {Shape::kRows, Shape::kColumns}) {
    const std::size_t i = shape == Shape::kRows ? 0 : 2;
    if (exact[i] && exact[i + 1]) {
      return Inter{.motion = {shape, *exact[i], *exact[i + 1]}, .exact_luma = !full_chroma()};
    }
  }
  std::optional<Inter> best;
  const Plane& reference = (*setup_.reference)[0];
  for (std::size_t i = 0; i < exact.size(); ++i) {
    if (!exact[i]) continue;
    const Shape shape = i < 2 ? Shape::kRows : Shape::kColumns;
    const Rect rest = Motion::halves(shape)[1 - i % 2];
    for (const Vector vector : candidates) {
      if (vector == *exact[i] || !reach.holds(vector)) continue;
      const std::uint8_t* wanted = source.luma + rest.y * source.luma_stride + rest.x;
      const std::uint8_t* there =
          reference.at(col * kTile + rest.x + vector.x, row * kTile + rest.y + vector.y);
      const int difference =
          shape == Shape::kRows
              ? difference16_rows(wanted, source.luma_stride, there, reference.stride, rest.height)
              : difference8_rows(wanted, source.luma_stride, there, reference.stride, rest.height);
      if (best && difference >= best->cost) continue;
      Motion motion{shape, *exact[i], vector};
      if (i % 2 == 1) std::swap(motion.first, motion.second);
      best = Inter{.motion = motion, .cost = difference};
    }
  }
  if (best) {
    const std::array<Vector, 2> predicted = predicted_halves(near, best->motion);
    best->cost += lambda_ * (vector_bits(best->motion.first, predicted[0]) +
                             vector_bits(best->motion.second, predicted[1]));
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
