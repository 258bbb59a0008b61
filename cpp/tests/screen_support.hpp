// Pictures in either chroma format, through our own encoder and a decoder that must agree.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <random>

#include "encode/screen/screen_encoder.hpp"
#include "encode_support.hpp"

namespace kvm::test {

// A ceiling that no picture here reaches.
[[nodiscard]] inline StreamConfig quality(double crf, const char* preset = "ultrafast") {
  StreamConfig config;
  config.preset = preset;
  config.bitrate = 200'000'000;
  config.crf = crf;
  return config;
}

// CAVLC and CABAC.
inline constexpr std::array kPresets{"ultrafast", "superfast"};
inline constexpr std::array kPlanar{PixelFormat::kI420, PixelFormat::kI444};

// Luma pixels to one of chroma, along a side.
[[nodiscard]] inline int divide_of(const Canvas& canvas) {
  return canvas.format().pixel_format == PixelFormat::kI444 ? 1 : 2;
}

[[nodiscard]] inline TileMap tiles_of(const Canvas& canvas, const Rect& rect) {
  TileMap map(canvas.width(), canvas.height());
  map.add(rect);
  return map;
}
[[nodiscard]] inline Rect whole(const Canvas& canvas) {
  return {0, 0, canvas.width(), canvas.height()};
}

[[nodiscard]] inline bool same_plane(const std::uint8_t* ours, std::ptrdiff_t stride,
                                     const std::uint8_t* theirs, int width, int height) {
  for (int y = 0; y < height; ++y) {
    if (std::memcmp(ours + y * stride, theirs + y * width, static_cast<std::size_t>(width)) != 0) {
      MESSAGE("row " << y << " differs");
      return false;
    }
  }
  return true;
}

[[nodiscard]] inline bool same_planes(const CpuPlanes& ours, const Decoded& theirs) {
  const int divide = theirs.format == AV_PIX_FMT_YUV444P ? 1 : 2;
  const int width = theirs.width / divide;
  const int height = theirs.height / divide;
  const auto second = static_cast<std::ptrdiff_t>(width * height);
  return same_plane(ours.data[0], ours.stride[0], theirs.luma.data(), theirs.width,
                    theirs.height) &&
         same_plane(ours.data[1], ours.stride[1], theirs.chroma.data(), width, height) &&
         same_plane(ours.data[2], ours.stride[2], theirs.chroma.data() + second, width, height);
}

// Encodes, decodes, compares all three planes; the access unit and the decoder's picture.
class Exact {
 public:
  Exact(const Canvas& canvas, const StreamConfig& config, const screen::Slicing& slicing = {},
        screen::Deblocking deblocking = screen::Deblocking::kByContent)
      : session_(std::make_unique<screen::ScreenEncoder>(slicing, deblocking), canvas, config) {}
  void update(const RateSettings& rate) {
    CHECK(session_.encoder().update(rate) == UpdateResult::kSeamless);
  }
  Decoded encode(const Canvas& canvas, const TileMap* damage = nullptr, bool keyframe = false,
                 int refine_step = 0) {
    session_.wait_ms(16.7);
    unit = session_.encode(canvas, damage, keyframe, refine_step);
    auto decoded = decoder_.decode(unit.data);
    REQUIRE(decoded.has_value());
    CHECK(decoded->width == canvas.width());
    CHECK(decoded->height == canvas.height());
    REQUIRE(decoded->format == (divide_of(canvas) == 1 ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P));
    REQUIRE(
        same_planes(static_cast<screen::ScreenEncoder&>(session_.encoder()).decoded(), *decoded));
    return std::move(*decoded);
  }
  AccessUnit unit;

 private:
  Session session_;
  Decoder decoder_;
};

// Moves the rows of `area` up by `rows` and draws new text below, colours included.
inline void scroll(Canvas& canvas, const Rect& area, int rows, unsigned seed) {
  const CpuPlanes& planes = canvas.planes();
  for (int plane = 0; plane < 3; ++plane) {
    const auto p = static_cast<std::size_t>(plane);
    const int divide = plane == 0 ? 1 : divide_of(canvas);
    const int shift = rows / divide;
    for (int y = area.y / divide; y < area.bottom() / divide - shift; ++y) {
      std::memcpy(planes.data[p] + y * planes.stride[p] + area.x / divide,
                  planes.data[p] + (y + shift) * planes.stride[p] + area.x / divide,
                  static_cast<std::size_t>(area.width / divide));
    }
  }
  canvas.draw_text({area.x, area.bottom() - rows, area.width, rows}, seed);
}

inline void colour(Canvas& canvas, std::mt19937& random) {
  for (int plane = 1; plane < 3; ++plane) {
    const auto p = static_cast<std::size_t>(plane);
    const int width = canvas.width() / divide_of(canvas);
    for (int y = 0; y < canvas.height() / divide_of(canvas); ++y) {
      for (int x = 0; x < width; x += 8) {
        const int value = static_cast<int>(random() % 200) + 20;
        for (int i = x; i < std::min(x + 8, width); ++i) {
          canvas.planes().data[p][y * canvas.planes().stride[p] + i] =
              static_cast<std::uint8_t>(value);
        }
      }
    }
  }
}

}  // namespace kvm::test
