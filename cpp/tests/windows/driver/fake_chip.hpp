// The chip behind a driver that has none: NV12 becomes H.264 by our own encoder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "encode/h264_sps.hpp"
#include "encode/screen/screen_encoder.hpp"

namespace kvm::test {

// NV12 as it lies in memory.
struct Nv12 {
  const std::uint8_t* luma = nullptr;
  std::ptrdiff_t luma_stride = 0;
  const std::uint8_t* chroma = nullptr;
  std::ptrdiff_t chroma_stride = 0;
};

// One thread.
class FakeChip {
 public:
  // Even sizes.
  FakeChip(int width, int height)
      : width_(width), height_(height), encoder_(make_screen_encoder()) {
    EncoderFormat format;
    format.width = width;
    format.height = height;
    format.pixel_format = PixelFormat::kI420;
    std::vector<std::string> notes;
    encoder_->open(format, {}, notes);
    seen_.resize(area() * 3 / 2);
  }
  // Keeps the picture as NV12 without gaps.
  void read(const Nv12& picture) {
    auto* to = seen_.data();
    for (int y = 0; y < height_; ++y, to += width_)
      std::copy_n(picture.luma + y * picture.luma_stride, width_, to);
    for (int y = 0; y < height_ / 2; ++y, to += width_)
      std::copy_n(picture.chroma + y * picture.chroma_stride, width_, to);
  }
  [[nodiscard]] const std::vector<std::uint8_t>& seen() const { return seen_; }
  // That picture; only a first one is a keyframe unasked. Empty when our encoder fails.
  [[nodiscard]] std::optional<AccessUnit> code(bool keyframe) {
    std::vector<std::uint8_t> u(area() / 4);
    std::vector<std::uint8_t> v(area() / 4);
    for (std::size_t i = 0; i < u.size(); ++i) {
      u[i] = seen_[area() + 2 * i];
      v[i] = seen_[area() + 2 * i + 1];
    }
    CpuPlanes planes;
    planes.data = {seen_.data(), u.data(), v.data()};
    planes.stride = {width_, width_ / 2, width_ / 2};
    EncodeHints hints;
    hints.keyframe = keyframe;
    hints.pts_us = ++pictures_;
    hints.wall_ns = now_ns();
    auto result = encoder_->encode(planes, hints);
    auto* unit = std::get_if<AccessUnit>(&result);
    return unit == nullptr ? std::nullopt : std::optional(std::move(*unit));
  }

 private:
  [[nodiscard]] std::size_t area() const {
    return static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_);
  }
  int width_;
  int height_;
  std::unique_ptr<Encoder> encoder_;
  std::vector<std::uint8_t> seen_;
  std::int64_t pictures_ = 0;
};

}  // namespace kvm::test
