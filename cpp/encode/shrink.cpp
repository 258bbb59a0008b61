#include "encode/shrink.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.hpp"

namespace kvm {

Span box(int index, int src, int dst) {
  const auto begin = static_cast<int>(static_cast<std::int64_t>(index) * src / dst);
  const auto end = static_cast<int>(static_cast<std::int64_t>(index + 1) * src / dst);
  return {begin, std::max(end, begin + 1)};
}

void shrink_row(const CpuPlanes& bgra, Span rows, const std::vector<Span>& columns,
                std::vector<Bgr>& out) {
  std::fill(out.begin(), out.end(), Bgr{});
  for (int y = rows.begin; y < rows.end; ++y) {
    const std::uint8_t* line = bgra.data[0] + y * bgra.stride[0];
    for (std::size_t x = 0; x < out.size(); ++x) {
      Bgr sum = out[x];
      const std::uint8_t* end = line + columns[x].end * 4;
      for (const std::uint8_t* p = line + columns[x].begin * 4; p < end; p += 4) {
        sum.b += p[0];
        sum.g += p[1];
        sum.r += p[2];
      }
      out[x] = sum;
    }
  }
  for (std::size_t x = 0; x < out.size(); ++x) {
    const auto n =
        static_cast<std::uint32_t>((columns[x].end - columns[x].begin) * (rows.end - rows.begin));
    Bgr& sum = out[x];
    sum = {(sum.b + n / 2) / n, (sum.g + n / 2) / n, (sum.r + n / 2) / n};
  }
}

void check_thumbnail_size(int width, int height, int max_width) {
  if (width > 0 && height > 0 && max_width > 0) return;
  throw Error(ErrorKind::kEncoder, "JPEG of " + std::to_string(width) + "x" +
                                       std::to_string(height) + " at most " +
                                       std::to_string(max_width) + " wide: sizes must be positive");
}

int shrunk_height(int width, int height, int shrunk_width) {
  return std::max(
      1, static_cast<int>(std::lround(static_cast<double>(height) * shrunk_width / width)));
}

}  // namespace kvm
