#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>

#include "convert/convert.hpp"
#include "convert/kernels.hpp"
#include "convert/rects.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kOne = std::int64_t{1} << kernels::kWeightBits;
constexpr std::size_t kAlign = 64;

}  // namespace

Scaler::Taps Scaler::make_taps(int src, int dst) {
  Taps taps;
  std::vector<std::vector<std::uint16_t>> weights(static_cast<std::size_t>(dst));
  const std::int64_t s = src;
  const std::int64_t d = dst;
  for (std::int64_t i = 0; i < d; ++i) {
    std::vector<std::uint16_t>& w = weights[static_cast<std::size_t>(i)];
    std::int64_t first = 0;
    if (dst <= src) {
      // The area [i·s/d, (i+1)·s/d), in units of 1/d source pixels: s of them. Rounding the running
      // sum and taking differences makes the weights add up exactly.
      first = i * s / d;
      const std::int64_t last = ((i + 1) * s - 1) / d;
      std::int64_t done = 0;
      for (std::int64_t k = first; k <= last; ++k) {
        const std::int64_t covered = std::min((k + 1) * d, (i + 1) * s) - i * s;
        const std::int64_t sum = (covered * kOne * 2 + s) / (2 * s);
        w.push_back(static_cast<std::uint16_t>(sum - done));
        done = sum;
      }
    } else {
      // The centre (i + ½)·s/d − ½ in units of 1/(2d), clamped to the outermost centres.
      const std::int64_t centre = std::clamp<std::int64_t>((2 * i + 1) * s - d, 0, 2 * d * (s - 1));
      first = centre / (2 * d);
      const std::int64_t right = ((centre % (2 * d)) * kOne + d) / (2 * d);
      w.push_back(static_cast<std::uint16_t>(kOne - right));
      if (right > 0) w.push_back(static_cast<std::uint16_t>(right));
    }
    taps.first.push_back(static_cast<int>(first));
    taps.end.push_back(static_cast<int>(first) + static_cast<int>(w.size()));
    taps.stride = std::max(taps.stride, static_cast<int>(w.size() + 1) & ~1);
  }
  taps.weights.resize(weights.size() * static_cast<std::size_t>(taps.stride), 0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    std::copy(weights[i].begin(), weights[i].end(),
              taps.weights.begin() + static_cast<std::ptrdiff_t>(i) * taps.stride);
  }
  return taps;
}

std::pair<int, int> Scaler::touched(const Taps& taps, int begin, int end) {
  // `first` and `end` both rise with the index.
  const auto from = std::upper_bound(taps.end.begin(), taps.end.end(), begin);
  const auto to = std::lower_bound(taps.first.begin(), taps.first.end(), end);
  return {static_cast<int>(from - taps.end.begin()), static_cast<int>(to - taps.first.begin())};
}

Scaler::Scaler(int src_width, int src_height, int dst_width, int dst_height)
    : src_width_(src_width),
      src_height_(src_height),
      dst_width_(dst_width),
      dst_height_(dst_height) {
  if (src_width < 1 || src_height < 1 || dst_width < 1 || dst_height < 1) {
    throw std::invalid_argument("Scaler: from " + std::to_string(src_width) + "x" +
                                std::to_string(src_height) + " to " + std::to_string(dst_width) +
                                "x" + std::to_string(dst_height) +
                                ": all sides must be at least 1");
  }
  horizontal_ = make_taps(src_width, dst_width);
  vertical_ = make_taps(src_height, dst_height);
  // Taps of weight 0 may lie beyond the last source column; a load takes two pixels at a time.
  row_.resize(4 * static_cast<std::size_t>(src_width + horizontal_.stride + 1), 0);
  const std::size_t stride =
      (static_cast<std::size_t>(dst_width) * 4 + kAlign - 1) / kAlign * kAlign;
  storage_.resize(stride * static_cast<std::size_t>(dst_height) + kAlign - 1, 0);
  const auto misaligned = reinterpret_cast<std::uintptr_t>(storage_.data()) % kAlign;
  planes_.data[0] = storage_.data() + (misaligned == 0 ? 0 : kAlign - misaligned);
  planes_.stride[0] = static_cast<std::ptrdiff_t>(stride);
}

TileMap Scaler::scale(const CpuPlanes& src, const TileMap& damage) {
  assert(damage.width() == src_width_ && damage.height() == src_height_);
  TileMap written(dst_width_, dst_height_);
  for_each_rect(damage, [&](const Rect& rect) {
    const auto [left, right] = touched(horizontal_, rect.x, rect.right());
    const auto [top, bottom] = touched(vertical_, rect.y, rect.bottom());
    written.add({left, top, right - left, bottom - top});
  });
  for_each_rect(written, [&](const Rect& rect) { scale_rect(src, rect); });
  return written;
}

void Scaler::scale_rect(const CpuPlanes& src, const Rect& rect) {
  const auto left = static_cast<std::size_t>(rect.x);
  const int src_left = horizontal_.first[left];
  const int src_right = horizontal_.end[static_cast<std::size_t>(rect.right() - 1)];
  const std::uint16_t* column_weights =
      horizontal_.weights.data() + std::ptrdiff_t{rect.x} * horizontal_.stride;
  for (int y = rect.y; y < rect.bottom(); ++y) {
    const auto index = static_cast<std::size_t>(y);
    const int first = vertical_.first[index];
    kernels::blend_rows(
        src.data[0] + first * src.stride[0] + std::ptrdiff_t{4} * src_left, src.stride[0],
        vertical_.end[index] - first,
        vertical_.weights.data() + index * static_cast<std::size_t>(vertical_.stride),
        vertical_.stride, 4 * (src_right - src_left), row_.data() + std::ptrdiff_t{4} * src_left);
    kernels::blend_columns(row_.data(), horizontal_.first.data() + left, column_weights,
                           horizontal_.stride, rect.width,
                           planes_.data[0] + y * planes_.stride[0] + std::ptrdiff_t{4} * rect.x);
  }
}

}  // namespace kvm
