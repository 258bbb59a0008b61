// The motion of SliceCoder's macroblocks: vectors as their neighbours predict them (ITU-T
// H.264, 8.4.1), and what they bring into the picture (8.4.2).
#include <algorithm>

#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

[[nodiscard]] int median(int a, int b, int c) noexcept {
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

// A partition beside the one in hand.
struct Near {
  bool there = false;
  bool moves = false;  // there, and not intra
  Vector vector;
};
[[nodiscard]] Near near_of(const MacroblockMap::State* state, std::size_t quarter) noexcept {
  if (state == nullptr) return {};
  if (state->intra) return {.there = true, .moves = false, .vector = {}};
  return {.there = true, .moves = true, .vector = state->vectors[quarter]};
}
[[nodiscard]] Near own(Vector vector) noexcept {
  return {.there = true, .moves = true, .vector = vector};
}

// 8.4.1.3.1
[[nodiscard]] Vector median_of(const Near& a, const Near& b, const Near& c) noexcept {
  if (!b.there && !c.there) return a.vector;
  const int count = (a.moves ? 1 : 0) + (b.moves ? 1 : 0) + (c.moves ? 1 : 0);
  if (count == 1) return a.moves ? a.vector : b.moves ? b.vector : c.vector;
  return {median(a.vector.x, b.vector.x, c.vector.x), median(a.vector.y, b.vector.y, c.vector.y)};
}

// Quarters of a macroblock.
constexpr std::size_t kUpperRight = 1;
constexpr std::size_t kLowerLeft = 2;
constexpr std::size_t kLowerRight = 3;

[[nodiscard]] Near corner_of(const Around& around) noexcept {
  return near_of(around.corner, around.corner_is_left ? kLowerRight : kLowerLeft);
}

}  // namespace

Vector Around::left_vector() const noexcept {
  return near_of(left, kUpperRight).vector;
}
Vector Around::top_vector() const noexcept {
  return near_of(top, kLowerLeft).vector;
}
Vector Around::corner_vector() const noexcept {
  return corner_of(*this).vector;
}

Vector SliceCoder::predicted_vector(const Around& around) noexcept {  // 8.4.1.3
  return median_of(near_of(around.left, kUpperRight), near_of(around.top, kLowerLeft),
                   corner_of(around));
}

std::array<Vector, 4> SliceCoder::predicted_parts(const Around& around,
                                                  const Motion& motion) noexcept {
  if (motion.whole()) return {predicted_vector(around)};
  const Near left = near_of(around.left, kUpperRight);
  const Near top = near_of(around.top, kLowerLeft);
  const Near top_right = near_of(around.top, kLowerRight);
  const Near lower_left = near_of(around.left, kLowerRight);
  // Right above the right half. Where there is nothing, the pixel left above it stands in.
  const Near right_above =
      around.corner_is_left || around.corner == nullptr ? top : corner_of(around);
  const Near first = own(motion.quarters[0]);
  switch (motion.shape) {
    case Motion::Shape::kRows:
      return {top.moves ? top.vector : median_of(left, top, corner_of(around)),
              // Right above the lower half nothing is coded yet: the pixel left above stands in.
              lower_left.moves ? lower_left.vector : median_of(lower_left, first, left)};
    case Motion::Shape::kColumns:
      return {left.moves ? left.vector : median_of(left, top, top_right),
              right_above.moves ? right_above.vector : median_of(first, top_right, right_above)};
    case Motion::Shape::kQuarters: {
      const Near second = own(motion.quarters[1]);
      const Near third = own(motion.quarters[2]);
      return {median_of(left, top, top_right), median_of(first, top_right, right_above),
              median_of(lower_left, first, second),
              // Right above the last one is the next macroblock.
              median_of(third, second, first)};
    }
    case Motion::Shape::kWhole:
      break;
  }
  return {predicted_vector(around)};
}

Vector SliceCoder::skip_vector(const Around& around) noexcept {  // 8.4.1.1
  if (around.left == nullptr || around.top == nullptr) return {};
  const auto rests = [](const Near& near) { return near.moves && near.vector == Vector{}; };
  if (rests(near_of(around.left, kUpperRight)) || rests(near_of(around.top, kLowerLeft))) return {};
  return predicted_vector(around);
}

// Brings what lies at `vector` into the picture, for `count` macroblocks of a row.
void SliceCoder::predict_inter(int col, int row, int count, Vector vector) const noexcept {
  bring({col * kTile, row * kTile, count * kTile, kTile}, vector);
}

void SliceCoder::predict_inter(int col, int row, const Motion& motion) const noexcept {
  for (const Motion::Part& part : motion.parts()) {
    const Rect& pixels = part.pixels;
    bring({col * kTile + pixels.x, row * kTile + pixels.y, pixels.width, pixels.height},
          motion.vector_of(part));
  }
}

void SliceCoder::bring(const Rect& to, Vector vector) const noexcept {
  for (std::size_t plane = 0; plane < luma_planes(); ++plane) {
    const Plane& from = (*setup_.reference)[plane];
    const Plane& picture = (*setup_.picture)[plane];
    copy_pixels(from.at(to.x + vector.x, to.y + vector.y), from.stride, picture.at(to.x, to.y),
                picture.stride, to.width, to.height);
  }
  if (full_chroma()) return;
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const Plane& chroma = (*setup_.picture)[plane];
    compensate_chroma((*setup_.reference)[plane], {to.x / 2, to.y / 2, to.width / 2, to.height / 2},
                      vector, chroma.at(to.x / 2, to.y / 2), chroma.stride);
  }
}

}  // namespace kvm::screen
