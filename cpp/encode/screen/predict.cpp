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

template <int kSize>
void fill_row(std::uint8_t* out, std::uint8_t value) noexcept {
  std::memset(out, value, kSize);
}
template <int kSize>
void repeat_top(const std::uint8_t* pixels, std::ptrdiff_t stride, std::uint8_t* out,
                std::ptrdiff_t out_stride) noexcept {
  copy_block<kSize>(pixels - stride, 0, out, out_stride);
}
template <int kSize>
void repeat_left(const std::uint8_t* pixels, std::ptrdiff_t stride, std::uint8_t* out,
                 std::ptrdiff_t out_stride) noexcept {
  for (int y = 0; y < kSize; ++y) fill_row<kSize>(out + y * out_stride, pixels[y * stride - 1]);
}

template <int kSize>
void lay_plane(const std::uint8_t* pixels, std::ptrdiff_t stride, std::uint8_t* out,
               std::ptrdiff_t out_stride) noexcept {
  const Slant slant = slant_of<kSize>(pixels, stride);
  std::array<std::int16_t, kSize> first;
  for (int x = 0; x < kSize; ++x) {
    first[static_cast<std::size_t>(x)] = static_cast<std::int16_t>(slant.corner + x * slant.across);
  }
  for (int y = 0; y < kSize; ++y, out += out_stride) {
    for (int x = 0; x < kSize; ++x) {
      const auto value =
          static_cast<std::int16_t>(first[static_cast<std::size_t>(x)] + y * slant.down);
      const auto shown = static_cast<std::int16_t>(value >> 5);
      out[x] = static_cast<std::uint8_t>(shown < 0 ? 0 : shown > 255 ? 255 : shown);
    }
  }
}

constexpr int kMiddle = 128;  // where there is nothing to predict from

}  // namespace

int luma_mean(Neighbours neighbours, const std::uint8_t* pixels, std::ptrdiff_t stride) noexcept {
  const int top = neighbours.top ? sum_row(pixels - stride, 16) : 0;
  const int left = neighbours.left ? sum_column(pixels - 1, stride, 16) : 0;
  if (neighbours.top && neighbours.left) return (top + left + 16) >> 5;
  if (neighbours.top || neighbours.left) return (top + left + 8) >> 4;
  return kMiddle;
}

std::array<std::uint8_t, 4> chroma_means(Neighbours neighbours, const std::uint8_t* pixels,
                                         std::ptrdiff_t stride) noexcept {
  std::array<std::uint8_t, 4> means;
  // On the diagonal both sides count, off it the side that a quarter touches comes first.
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
    means[static_cast<std::size_t>(quarter)] = static_cast<std::uint8_t>(value);
  }
  return means;
}

void predict_luma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                  std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept {
  if (mode == IntraMode::kVertical) return repeat_top<16>(pixels, stride, out, out_stride);
  if (mode == IntraMode::kHorizontal) return repeat_left<16>(pixels, stride, out, out_stride);
  if (mode == IntraMode::kPlane) return lay_plane<16>(pixels, stride, out, out_stride);
  const auto mean = static_cast<std::uint8_t>(luma_mean(neighbours, pixels, stride));
  for (int y = 0; y < 16; ++y) fill_row<16>(out + y * out_stride, mean);
}

void predict_chroma(IntraMode mode, Neighbours neighbours, const std::uint8_t* pixels,
                    std::ptrdiff_t stride, std::uint8_t* out, std::ptrdiff_t out_stride) noexcept {
  if (mode == IntraMode::kVertical) return repeat_top<8>(pixels, stride, out, out_stride);
  if (mode == IntraMode::kHorizontal) return repeat_left<8>(pixels, stride, out, out_stride);
  if (mode == IntraMode::kPlane) return lay_plane<8>(pixels, stride, out, out_stride);
  const std::array<std::uint8_t, 4> means = chroma_means(neighbours, pixels, stride);
  for (int y = 0; y < 8; ++y, out += out_stride) {
    const std::size_t first = y < 4 ? 0 : 2;
    fill_row<4>(out, means[first]);
    fill_row<4>(out + 4, means[first + 1]);
  }
}

}  // namespace kvm::screen
