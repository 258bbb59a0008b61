// Pictures to encode, and what drives an encoder with them. Needs no FFmpeg.
#pragma once

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "encode/encoder.hpp"

namespace kvm::test {

// A planar picture that tests draw into. Strides are wider than the picture, as the pipeline's are.
class Canvas {
 public:
  Canvas(PixelFormat format, int width, int height)
      : format_(format), width_(width), height_(height), stride_((width + 63) / 64 * 64) {
    const auto luma = static_cast<std::size_t>(stride_) * static_cast<std::size_t>(height);
    storage_.assign(luma * 3, 128);
    std::uint8_t* base = storage_.data();
    planes_.data[0] = base;
    planes_.stride[0] = stride_;
    if (format == PixelFormat::kNv12) {
      planes_.data[1] = base + luma;
      planes_.stride[1] = stride_;
    } else {
      planes_.data[1] = base + luma;
      planes_.data[2] = base + 2 * luma;
      planes_.stride[1] = planes_.stride[2] = format == PixelFormat::kI444 ? stride_ : stride_ / 2;
    }
  }

  [[nodiscard]] const CpuPlanes& planes() const { return planes_; }
  [[nodiscard]] int width() const { return width_; }
  [[nodiscard]] int height() const { return height_; }
  [[nodiscard]] EncoderFormat format() const { return {width_, height_, format_}; }
  [[nodiscard]] std::uint8_t luma(int x, int y) const {
    return planes_.data[0][y * planes_.stride[0] + x];
  }
  void set(int x, int y, int value) {
    planes_.data[0][y * planes_.stride[0] + x] = static_cast<std::uint8_t>(value);
  }

  // Something like text: dark strokes of 8×16 cells on white, from `seed`.
  void draw_text(const Rect& area, unsigned seed) {
    const Rect inside = intersect(area, {0, 0, width_, height_});
    for (int y = inside.y; y < inside.bottom(); ++y) {
      for (int x = inside.x; x < inside.right(); ++x) {
        const auto cell = static_cast<unsigned>((y - area.y) / 16 * 977 + (x - area.x) / 8);
        unsigned bits = (cell + seed * 131U + 7U) * 2'654'435'761U;
        bits ^= bits >> 13;
        bits *= static_cast<unsigned>((y - area.y) % 16 / 3 + 1) * 0x9E37U;
        const bool ink = ((bits >> ((x - area.x) % 8 + 8)) & 1U) != 0 && (x - area.x) % 8 < 6;
        set(x, y, ink ? 40 : 230);
      }
    }
  }
  void draw_noise(unsigned& state) {
    for (int y = 0; y < height_; ++y) {
      for (int x = 0; x < width_; ++x) {
        state = state * 1'664'525U + 1'013'904'223U;
        set(x, y, 16 + static_cast<int>((state >> 16) % 220));
      }
    }
  }

 private:
  PixelFormat format_;
  int width_;
  int height_;
  int stride_;
  std::vector<std::uint8_t> storage_;
  CpuPlanes planes_;
};

// Drives an encoder as the pipeline does, with a clock of its own; in 4:4:4 where the canvas is.
class Session {
 public:
  Session(std::unique_ptr<Encoder> encoder, const Canvas& canvas, const StreamConfig& config = {})
      : encoder_(std::move(encoder)) {
    StreamConfig own = config;
    if (canvas.format().pixel_format == PixelFormat::kI444) own.chroma = Chroma::k444;
    encoder_->open(canvas.format(), own, notes);
  }
  void wait_ms(double ms) { now_ns_ += static_cast<std::int64_t>(ms * 1e6); }
  // Fails the test when no access unit comes.
  AccessUnit encode(const Canvas& canvas, const TileMap* damage = nullptr, bool keyframe = false,
                    int refine_step = 0) {
    EncodeHints hints;
    hints.keyframe = keyframe;
    hints.damage = damage;
    hints.refine_step = refine_step;
    hints.wall_ns = now_ns_;
    hints.pts_us = now_ns_ / 1000;
    EncodeResult result = encoder_->encode(canvas.planes(), hints);
    if (const auto* failed = std::get_if<Failed>(&result)) FAIL(failed->reason);
    auto* unit = std::get_if<AccessUnit>(&result);
    REQUIRE(unit != nullptr);
    CHECK(unit->pts_us == hints.pts_us);
    return std::move(*unit);
  }
  [[nodiscard]] Encoder& encoder() { return *encoder_; }

  std::vector<std::string> notes;

 private:
  std::unique_ptr<Encoder> encoder_;
  std::int64_t now_ns_ = 1'000'000'000;
};

}  // namespace kvm::test
