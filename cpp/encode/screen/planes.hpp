// The pictures that the encoder keeps: whole macroblocks, I420 or I444.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "frame/config.hpp"
#include "frame/frame.hpp"

namespace kvm::screen {

// Full pixels. Pictures are addressed with these; the bitstream counts quarters.
struct Vector {
  int x = 0;
  int y = 0;
  friend bool operator==(const Vector&, const Vector&) = default;
};

// One plane of a picture.
struct Plane {
  std::uint8_t* data = nullptr;
  std::ptrdiff_t stride = 0;
  int width = 0;
  int height = 0;
  [[nodiscard]] std::uint8_t* at(int x, int y) const noexcept { return data + y * stride + x; }
};

// Luma, Cb, Cr at multiples of 16 (8 in the chroma of 4:2:0). Move-only by its buffer.
class Planes {
 public:
  Planes() = default;
  Planes(int macroblock_cols, int macroblock_rows, Chroma chroma)
      : chroma_tile_(chroma == Chroma::k444 ? kTile : kTile / 2) {
    const int width = macroblock_cols * kTile;
    const int height = macroblock_rows * kTile;
    // Reads of whole vectors may pass a row's end.
    constexpr std::size_t kTail = 64;
    const auto luma = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
    const int chroma_width = macroblock_cols * chroma_tile_;
    const int chroma_height = macroblock_rows * chroma_tile_;
    const auto one_chroma =
        static_cast<std::size_t>(chroma_width) * static_cast<std::size_t>(chroma_height);
    storage_.assign(luma + 2 * one_chroma + kTail, 0);
    planes_[0] = {storage_.data(), width, width, height};
    planes_[1] = {storage_.data() + luma, chroma_width, chroma_width, chroma_height};
    planes_[2] = {storage_.data() + luma + one_chroma, chroma_width, chroma_width, chroma_height};
  }
  Planes(Planes&&) noexcept = default;
  Planes& operator=(Planes&&) noexcept = default;
  Planes(const Planes&) = delete;
  Planes& operator=(const Planes&) = delete;

  [[nodiscard]] CpuPlanes as_cpu_planes() const noexcept {
    return {{planes_[0].data, planes_[1].data, planes_[2].data},
            {planes_[0].stride, planes_[1].stride, planes_[2].stride}};
  }
  // Pixels of a macroblock in a plane, across and down.
  [[nodiscard]] int tile(std::size_t plane) const noexcept {
    return plane == 0 ? kTile : chroma_tile_;
  }
  [[nodiscard]] const Plane& operator[](std::size_t plane) const noexcept { return planes_[plane]; }

 private:
  int chroma_tile_ = kTile / 2;
  std::vector<std::uint8_t> storage_;
  std::array<Plane, 3> planes_;
};

// A square block.
template <int kSize>
inline void copy_block(const std::uint8_t* from, std::ptrdiff_t from_stride, std::uint8_t* to,
                       std::ptrdiff_t to_stride) noexcept {
  for (int y = 0; y < kSize; ++y) std::memcpy(to + y * to_stride, from + y * from_stride, kSize);
}

// Any block; those of a whole macroblock are the quickest.
inline void copy_pixels(const std::uint8_t* from, std::ptrdiff_t from_stride, std::uint8_t* to,
                        std::ptrdiff_t to_stride, int width, int height) noexcept {
  if (width == 16 && height == 16) return copy_block<16>(from, from_stride, to, to_stride);
  if (width == 8 && height == 8) return copy_block<8>(from, from_stride, to, to_stride);
  for (int y = 0; y < height; ++y)
    std::memcpy(to + y * to_stride, from + y * from_stride, static_cast<std::size_t>(width));
}

}  // namespace kvm::screen
