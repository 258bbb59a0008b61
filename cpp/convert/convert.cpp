#include "convert/convert.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <stdexcept>
#include <string>

#include "convert/bt709.hpp"
#include "convert/kernels.hpp"
#include "convert/rects.hpp"

namespace kvm {
namespace {

constexpr std::size_t kAlign = 64;

constexpr std::size_t align_up(std::size_t n) {
  return (n + kAlign - 1) / kAlign * kAlign;
}

// Where pixel (x, y) of a picture is, in each of its planes. x and y are even.
CpuPlanes planes_at(CpuPlanes at, PixelFormat format, int x, int y) {
  const int chroma_x = format == PixelFormat::kI420 ? x / 2 : x;  // NV12: x/2 pairs of bytes
  const int chroma_y = format == PixelFormat::kI444 ? y : y / 2;
  at.data[0] += y * at.stride[0] + x;
  at.data[1] += chroma_y * at.stride[1] + chroma_x;
  if (format != PixelFormat::kNv12) at.data[2] += chroma_y * at.stride[2] + chroma_x;
  return at;
}

}  // namespace

YuvPicture::YuvPicture(PixelFormat format, int width, int height)
    : format_(format), width_(width), height_(height) {
  if (format == PixelFormat::kBgra)
    throw std::invalid_argument("YuvPicture: the format must be NV12, I420 or I444");
  if (width < 1 || height < 1) {
    throw std::invalid_argument("YuvPicture: size " + std::to_string(width) + "x" +
                                std::to_string(height) + ": both sides must be at least 1");
  }
  const auto coded_w = static_cast<std::size_t>(coded_width());
  const auto coded_h = static_cast<std::size_t>(coded_height());
  const std::size_t luma_stride = align_up(coded_w);
  const std::size_t luma_size = luma_stride * coded_h;
  const std::size_t chroma_stride =
      format == PixelFormat::kI420 ? align_up(coded_w / 2) : luma_stride;
  const std::size_t chroma_size =
      chroma_stride * (format == PixelFormat::kI444 ? coded_h : coded_h / 2);
  const std::size_t chroma_planes = format == PixelFormat::kNv12 ? 1 : 2;

  storage_.resize(luma_size + chroma_planes * chroma_size + kAlign - 1, 128);
  const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
  std::uint8_t* plane = storage_.data() + (align_up(address) - address);
  std::fill_n(plane, luma_size, std::uint8_t{16});
  planes_.data[0] = plane;
  planes_.stride[0] = static_cast<std::ptrdiff_t>(luma_stride);
  plane += luma_size;
  for (std::size_t i = 1; i <= chroma_planes; ++i, plane += chroma_size) {
    planes_.data[i] = plane;
    planes_.stride[i] = static_cast<std::ptrdiff_t>(chroma_stride);
  }
}

void convert_tiles(const CpuPlanes& bgra, const TileMap& damage, YuvPicture& out) {
  assert(damage.width() == out.width() && damage.height() == out.height());
  convert_tiles(bgra, damage, out.format(), out.planes());
}

void convert_tiles(const CpuPlanes& bgra, const TileMap& damage, PixelFormat format,
                   const CpuPlanes& out) {
  for_each_rect(damage, [&](const Rect& rect) {
    const std::uint8_t* src = bgra.data[0] + rect.y * bgra.stride[0] + std::ptrdiff_t{4} * rect.x;
    kernels::convert_rect(format, src, bgra.stride[0], rect.width, rect.height,
                          planes_at(out, format, rect.x, rect.y));
  });
}

void convert_reference(const CpuPlanes& bgra, int width, int height, YuvPicture& out) {
  assert(width == out.width() && height == out.height());
  const CpuPlanes& planes = out.planes();
  const auto pixel = [&](int x, int y) {  // repeats the last column and row
    return bgra.data[0] + std::min(y, height - 1) * bgra.stride[0] +
           std::ptrdiff_t{4} * std::min(x, width - 1);
  };
  const bool full_chroma = out.format() == PixelFormat::kI444;
  for (int y = 0; y < out.coded_height(); ++y) {
    for (int x = 0; x < out.coded_width(); ++x) {
      const std::uint8_t* p = pixel(x, y);
      planes.data[0][y * planes.stride[0] + x] = bt709::luma(p[0], p[1], p[2]);
      if (full_chroma) {
        planes.data[1][y * planes.stride[1] + x] = bt709::chroma(bt709::kU, p[0], p[1], p[2], 0);
        planes.data[2][y * planes.stride[2] + x] = bt709::chroma(bt709::kV, p[0], p[1], p[2], 0);
      }
    }
  }
  if (full_chroma) return;
  for (int y = 0; y < out.coded_height() / 2; ++y) {
    for (int x = 0; x < out.coded_width() / 2; ++x) {
      int sum[3] = {};
      for (int i = 0; i < 4; ++i) {
        const std::uint8_t* p = pixel(2 * x + i % 2, 2 * y + i / 2);
        for (int c = 0; c < 3; ++c) sum[c] += p[c];
      }
      const std::uint8_t u = bt709::chroma(bt709::kU, sum[0], sum[1], sum[2], 2);
      const std::uint8_t v = bt709::chroma(bt709::kV, sum[0], sum[1], sum[2], 2);
      if (out.format() == PixelFormat::kNv12) {
        std::uint8_t* uv = planes.data[1] + y * planes.stride[1] + 2 * x;
        uv[0] = u;
        uv[1] = v;
      } else {
        planes.data[1][y * planes.stride[1] + x] = u;
        planes.data[2][y * planes.stride[2] + x] = v;
      }
    }
  }
}

void trim_equal_tiles(const CpuPlanes& a, const CpuPlanes& b, TileMap& tiles) {
  constexpr int kMost = 64;  // tiles that a kernel compares in one call
  const int whole_cols = tiles.width() / kTile;
  tiles.for_each_run([&](int row, int run_begin, int run_end) {
    const int height = std::min(kTile, tiles.height() - row * kTile);
    const std::uint8_t* row_a = a.data[0] + std::ptrdiff_t{row} * kTile * a.stride[0];
    const std::uint8_t* row_b = b.data[0] + std::ptrdiff_t{row} * kTile * b.stride[0];
    const int whole_end = std::min(run_end, whole_cols);
    for (int begin = run_begin; begin < whole_end; begin += kMost) {
      const int count = std::min(kMost, whole_end - begin);
      const std::ptrdiff_t offset = std::ptrdiff_t{4} * kTile * begin;
      const std::uint64_t differing = kernels::differing_tiles(
          row_a + offset, a.stride[0], row_b + offset, b.stride[0], count, height);
      for (int i = 0; i < count; ++i) {
        if ((differing >> i & 1) == 0) tiles.set(begin + i, row, false);
      }
    }
    if (run_end > whole_cols) {  // the partial tile at the right edge
      const std::ptrdiff_t offset = std::ptrdiff_t{4} * kTile * whole_cols;
      const auto bytes = static_cast<std::size_t>(tiles.width() - whole_cols * kTile) * 4;
      bool equal = true;
      for (int y = 0; y < height && equal; ++y) {
        equal = std::memcmp(row_a + offset + y * a.stride[0], row_b + offset + y * b.stride[0],
                            bytes) == 0;
      }
      if (equal) tiles.set(whole_cols, row, false);
    }
  });
}

void copy_tiles(const CpuPlanes& from, const CpuPlanes& to, const TileMap& tiles) {
  for_each_rect(tiles, [&](const Rect& rect) {
    const auto bytes = static_cast<std::size_t>(rect.width) * 4;
    const std::uint8_t* src = from.data[0] + rect.y * from.stride[0] + std::ptrdiff_t{4} * rect.x;
    std::uint8_t* dst = to.data[0] + rect.y * to.stride[0] + std::ptrdiff_t{4} * rect.x;
    for (int y = 0; y < rect.height; ++y, src += from.stride[0], dst += to.stride[0])
      std::memcpy(dst, src, bytes);
  });
}

const char* convert_target() {
  return kernels::target_name();
}

}  // namespace kvm
