#include "encode/screen/predict.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace kvm::screen {
namespace {

[[nodiscard]] int sum_row(const std::uint8_t* row, int count) noexcept {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += row[i];
  return sum;
}
[[nodiscard]] int sum_column(const std::uint8_t* column, std::ptrdiff_t stride,
                             int count) noexcept {
  int sum = 0;
  for (int i = 0; i < count; ++i) sum += column[i * stride];
  return sum;
}

void fill(std::uint8_t* out, std::ptrdiff_t stride, int width, int height, int value) noexcept {
  for (int y = 0; y < height; ++y) {
    std::memset(out + y * stride, value, static_cast<std::size_t>(width));
  }
}
template <int kSize>
void repeat_top(const std::uint8_t* pixels, std::ptrdiff_t stride, std::uint8_t* out,
                std::ptrdiff_t out_stride) noexcept {
  copy_block<kSize>(pixels - stride, 0, out, out_stride);
}
void repeat_left(const std::uint8_t* pixels, std::ptrdiff_t stride, std::uint8_t* out,
                 std::ptrdiff_t out_stride, int size) noexcept {
  for (int y = 0; y < size; ++y)
    fill(out + y * out_stride, out_stride, size, 1, pixels[y * stride - 1]);
}

// 8.3.3.4 and 8.3.4.4: a slanted plane through the pixels above and left.
template <int kSize>
void lay_plane(const std::uint8_t* pixels, std::ptrdiff_t stride, std::uint8_t* out,
               std::ptrdiff_t out_stride) noexcept {
  constexpr int kHalf = kSize / 2;
  constexpr int kSlope = kSize == 16 ? 5 : 34;
  const std::uint8_t* top = pixels - stride;  // top[-1] is the corner
  const auto left = [&](int y) { return static_cast<int>(pixels[y * stride - 1]); };
  int horizontal = 0;
  int vertical = 0;
  for (int i = 1; i <= kHalf; ++i) {
    horizontal += i * (top[kHalf - 1 + i] - top[kHalf - 1 - i]);
    vertical += i * (left(kHalf - 1 + i) - left(kHalf - 1 - i));
  }
  const int across = (kSlope * horizontal + 32) >> 6;
  const int down = (kSlope * vertical + 32) >> 6;
  // All of it fits 16 bits: a slope is below 1,400, and no pixel is more than 8 of each from the
  // middle.
  const int corner = 16 * (left(kSize - 1) + top[kSize - 1]) + 16 - (kHalf - 1) * (across + down);
  std::array<std::int16_t, kSize> first;
  for (int x = 0; x < kSize; ++x)
    first[static_cast<std::size_t>(x)] = static_cast<std::int16_t>(corner + x * across);
  for (int y = 0; y < kSize; ++y, out += out_stride) {
    for (int x = 0; x < kSize; ++x) {
      const auto value = static_cast<std::int16_t>(first[static_cast<std::size_t>(x)] + y * down);
      const auto shown = static_cast<std::int16_t>(value >> 5);
      out[x] = static_cast<std::uint8_t>(shown < 0 ? 0 : shown > 255 ? 255 : shown);
    }
  }
}

constexpr int kMiddle = 128;  // where there is nothing to predict from

int luma_mean(Neighbours neighbours, const std::uint8_t* pixels, std::ptrdiff_t stride) noexcept {
  const int top = neighbours.top ? sum_row(pixels - stride, 16) : 0;
  const int left = neighbours.left ? sum_column(pixels - 1, stride, 16) : 0;
  if (neighbours.top && neighbours.left) return (top + left + 16) >> 5;
  if (neighbours.top || neighbours.left) return (top + left + 8) >> 4;
  return kMiddle;
}

}  // namespace

void predict_luma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                  std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept {
  if (mode == IntraMode::kVertical) return repeat_top<16>(pixels, stride, out, out_stride);
  if (mode == IntraMode::kHorizontal) return repeat_left(pixels, stride, out, out_stride, 16);
  if (mode == IntraMode::kPlane) return lay_plane<16>(pixels, stride, out, out_stride);
  fill(out, out_stride, 16, 16, luma_mean(neighbours, pixels, stride));
}

void predict_chroma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                    std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept {
  if (mode == IntraMode::kVertical) return repeat_top<8>(pixels, stride, out, out_stride);
  if (mode == IntraMode::kHorizontal) return repeat_left(pixels, stride, out, out_stride, 8);
  if (mode == IntraMode::kPlane) return lay_plane<8>(pixels, stride, out, out_stride);
  // 8.3.4.1 to 8.3.4.3: each 4×4 quarter for itself; on the diagonal both sides count, off it the
  // side that it touches comes first.
  for (int quarter = 0; quarter < 4; ++quarter) {
    const int x = quarter % 2 * 4;
    const int y = quarter / 2 * 4;
    const int top = neighbours.top ? sum_row(pixels - stride + x, 4) : 0;
    const int left = neighbours.left ? sum_column(pixels + y * stride - 1, stride, 4) : 0;
    int value = kMiddle;
    const bool prefers_top = x > 0 && y == 0;
    const bool prefers_left = x == 0 && y > 0;
    if (neighbours.top && neighbours.left && !prefers_top && !prefers_left) {
      value = (top + left + 4) >> 3;
    } else if (neighbours.top && (prefers_top || !neighbours.left || !prefers_left)) {
      value = (top + 2) >> 2;
    } else if (neighbours.left) {
      value = (left + 2) >> 2;
    }
    fill(out + y * out_stride + x, out_stride, 4, 4, value);
  }
}

void compensate_chroma(const Plane& reference, const Rect& to, Vector luma_vector,
                       std::uint8_t* __restrict out, std::ptrdiff_t out_stride) noexcept {
  const int width = to.width;
  const std::ptrdiff_t stride = reference.stride;
  // Arithmetic shifts: towards the left and the top, as (8-229) has it.
  const std::uint8_t* from = reference.at(to.x + (luma_vector.x >> 1), to.y + (luma_vector.y >> 1));
  const bool half_x = (luma_vector.x & 1) != 0;
  const bool half_y = (luma_vector.y & 1) != 0;
  if (!half_x && !half_y) return copy_pixels(from, stride, out, out_stride, width, to.height);
  // (8-270) with fractions of 0 and 4 eighths.
  if (half_x != half_y) {
    const std::uint8_t* other = from + (half_x ? 1 : stride);
    for (int row = 0; row < to.height; ++row) {
      for (int i = 0; i < width; ++i)
        out[i] = static_cast<std::uint8_t>((from[i] + other[i] + 1) >> 1);
      from += stride;
      other += stride;
      out += out_stride;
    }
    return;
  }
  for (int row = 0; row < to.height; ++row) {
    const std::uint8_t* below = from + stride;
    for (int i = 0; i < width; ++i) {
      out[i] =
          static_cast<std::uint8_t>((from[i] + from[i + 1] + below[i] + below[i + 1] + 2) >> 2);
    }
    from = below;
    out += out_stride;
  }
}

void intra_differences(Neighbours neighbours, const std::uint8_t* source,
                       std::ptrdiff_t source_stride, const std::uint8_t* pixels,
                       std::ptrdiff_t stride, std::array<int, kIntraModes>& out) noexcept {
  const auto dc = static_cast<std::uint8_t>(luma_mean(neighbours, pixels, stride));
  const auto of_mode = [&](IntraMode mode) -> int& { return out[static_cast<std::size_t>(mode)]; };
  std::array<std::uint8_t, 16> row;
  row.fill(dc);
  of_mode(IntraMode::kDc) = difference_of_rows<16>(source, source_stride, row.data(), 0, 16);
  if (neighbours.top) {
    of_mode(IntraMode::kVertical) =
        difference_of_rows<16>(source, source_stride, pixels - stride, 0, 16);
  }
  if (!neighbours.left) return;
  int from_left = 0;
  for (int y = 0; y < 16; ++y) {
    row.fill(pixels[y * stride - 1]);
    from_left += difference_of_rows<16>(source + y * source_stride, 0, row.data(), 0, 1);
  }
  of_mode(IntraMode::kHorizontal) = from_left;
  if (!neighbours.allow(IntraMode::kPlane)) return;
  std::array<std::uint8_t, 256> plane;
  lay_plane<16>(pixels, stride, plane.data(), 16);
  of_mode(IntraMode::kPlane) = difference_of_rows<16>(source, source_stride, plane.data(), 16, 16);
}

}  // namespace kvm::screen
