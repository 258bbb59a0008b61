// BGRA → YUV, BT.709 limited range, over damaged tiles into a persistent picture.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "frame/frame.hpp"

namespace kvm {

// A YUV picture of even size that keeps its content between frames; black at first. Plane starts
// and strides are 64-byte aligned. Move-only: planes() points into it, and stays valid across
// moves.
class YuvPicture {
 public:
  YuvPicture() = default;
  // width/height: true size; the coded size is rounded up to even. Throws std::invalid_argument for
  // a size below 1 or a format that is not YUV.
  YuvPicture(PixelFormat format, int width, int height);
  YuvPicture(YuvPicture&&) noexcept = default;
  YuvPicture& operator=(YuvPicture&&) noexcept = default;
  YuvPicture(const YuvPicture&) = delete;
  YuvPicture& operator=(const YuvPicture&) = delete;

  [[nodiscard]] PixelFormat format() const noexcept { return format_; }
  [[nodiscard]] int width() const noexcept { return width_; }
  [[nodiscard]] int height() const noexcept { return height_; }
  [[nodiscard]] int coded_width() const noexcept { return (width_ + 1) & ~1; }
  [[nodiscard]] int coded_height() const noexcept { return (height_ + 1) & ~1; }
  [[nodiscard]] const CpuPlanes& planes() const noexcept { return planes_; }

 private:
  PixelFormat format_ = PixelFormat::kNv12;
  int width_ = 0;
  int height_ = 0;
  std::vector<std::uint8_t> storage_;
  CpuPlanes planes_;
};

// Converts the tiles of `damage` (which has the picture's true size) from `bgra`. At odd sizes the
// last column and row are repeated into the coded picture. Chroma of 4:2:0 is the rounded mean of
// 2×2 (centre-sited as the mean is).
void convert_tiles(const CpuPlanes& bgra, const TileMap& damage, YuvPicture& out);
// The same into planes of the caller's, which hold the coded size at least.
void convert_tiles(const CpuPlanes& bgra, const TileMap& damage, PixelFormat format,
                   const CpuPlanes& out);

// The arithmetic that convert_tiles promises bit for bit, in plain scalar code. For tests.
void convert_reference(const CpuPlanes& bgra, int width, int height, YuvPicture& out);

// Clears from `tiles` each tile whose pixels are equal in both BGRA pictures. All four bytes count,
// X too.
void trim_equal_tiles(const CpuPlanes& a, const CpuPlanes& b, TileMap& tiles);

// Copies the marked tiles of one BGRA picture to the same place of another, which must not overlap
// it.
void copy_tiles(const CpuPlanes& from, const CpuPlanes& to, const TileMap& tiles);

// The instruction set chosen at run time ("AVX2", "AVX3_ZEN4", …), for doctor.
[[nodiscard]] const char* convert_target();

// BGRA → BGRA scaling of damaged parts into a persistent picture (black at first), for each axis by
// itself: area mean when shrinking, bilinear between pixel centres when growing. Each output pixel
// depends on the source alone, so that scaling by damage gives the same bytes as scaling the whole.
// Move-only, like YuvPicture.
class Scaler {
 public:
  // Throws std::invalid_argument for a size below 1.
  Scaler(int src_width, int src_height, int dst_width, int dst_height);
  Scaler(Scaler&&) noexcept = default;
  Scaler& operator=(Scaler&&) noexcept = default;
  Scaler(const Scaler&) = delete;
  Scaler& operator=(const Scaler&) = delete;

  // Rescales what `damage` (source size) touches; returns the destination tiles that were written.
  // Reads the pixels around the damage too, up to what one destination tile needs.
  [[nodiscard]] TileMap scale(const CpuPlanes& src, const TileMap& damage);
  [[nodiscard]] const CpuPlanes& planes() const noexcept { return planes_; }
  [[nodiscard]] int width() const noexcept { return dst_width_; }
  [[nodiscard]] int height() const noexcept { return dst_height_; }

 private:
  struct Taps {  // for each destination index: source indices first … end-1 and weights that add up
                 // to 1<<14
    std::vector<int> first;
    std::vector<int> end;
    std::vector<std::uint16_t> weights;  // `stride` per index, the unused ones 0
    int stride = 0;                      // even
  };
  static Taps make_taps(int src, int dst);
  // Destination indices that read any of the source's [begin, end).
  static std::pair<int, int> touched(const Taps& taps, int begin, int end);
  void scale_rect(const CpuPlanes& src, const Rect& rect);

  int src_width_;
  int src_height_;
  int dst_width_;
  int dst_height_;
  Taps horizontal_;
  Taps vertical_;
  std::vector<std::uint8_t> storage_;
  std::vector<std::int16_t> row_;  // one source row after the vertical pass
  CpuPlanes planes_;
};

}  // namespace kvm
