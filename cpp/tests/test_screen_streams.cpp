// Our own encoder's streams: every quantiser, size and level, in 4:2:0 and 4:4:4.
#include <doctest/doctest.h>

#include <random>

#include "encode/h264_sps.hpp"
#include "pixels.hpp"
#include "screen_support.hpp"

namespace kvm {
namespace {

using screen::Deblocking;
using screen::ScreenEncoder;
using screen::Slicing;
using test::Canvas;
using test::colour;
using test::Decoded;
using test::Decoder;
using test::divide_of;
using test::Exact;
using test::kPlanar;
using test::kPresets;
using test::quality;
using test::same_planes;
using test::scroll;
using test::Session;
using test::tiles_of;
using test::whole;

TEST_CASE("every quantiser, both chroma formats, CAVLC and CABAC, deblocked and not") {
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    for (int i = 0; i < 4 * 52; ++i) {
      const int crf = i / 4;
      const Deblocking deblocking = i % 2 == 0 ? Deblocking::kByContent : Deblocking::kAlways;
      const char* preset = kPresets[static_cast<std::size_t>(i / 2 % 2)];
      CAPTURE(i);
      std::mt19937 random(static_cast<unsigned>(crf));
      Canvas canvas(format, 98, 66);
      canvas.draw_text(whole(canvas), 1);
      colour(canvas, random);
      Exact exact(canvas, quality(crf, preset), {.most = 1 + crf % 3, .least_tiles = 4},
                  deblocking);
      exact.encode(canvas);
      unsigned noise = 1;
      for (unsigned picture = 0; picture < 4; ++picture) {
        CAPTURE(picture);
        if (picture % 2 == 0) {
          canvas.draw_noise(noise);
        } else {
          scroll(canvas, whole(canvas), 7, picture);
        }
        colour(canvas, random);
        const TileMap all = tiles_of(canvas, whole(canvas));
        exact.encode(canvas, &all, picture == 2);
      }
    }
  }
}

TEST_CASE("one decoder follows from size to size, through storms of keyframes and other rates") {
  Decoder decoder;
  std::mt19937 random(11);
  for (int round = 0; round < 24; ++round) {
    CAPTURE(round);
    const PixelFormat format = kPlanar[static_cast<std::size_t>(round % 2)];
    const int width = 2 * test::uniform(random, 1, 120);
    const int height = 2 * test::uniform(random, 1, 90);
    Canvas canvas(format, width, height);
    Session session(
        std::make_unique<ScreenEncoder>(Slicing{.most = 1 + round % 8, .least_tiles = 2}), canvas,
        quality(test::uniform(random, 0, 51), kPresets[static_cast<std::size_t>(round / 2 % 2)]));
    for (unsigned i = 0; i < 12; ++i) {
      CAPTURE(i);
      canvas.draw_text(whole(canvas), i / 2);
      colour(canvas, random);
      session.wait_ms(16.7);
      if (i % 4 == 3) {
        (void)session.encoder().update({60, 100'000 << test::uniform(random, 0, 10),
                                        static_cast<double>(test::uniform(random, 0, 51))});
      }
      const bool keyframe = i < 6 || i % 2 == 0;
      const AccessUnit unit = session.encode(canvas, nullptr, keyframe);
      CHECK(unit.keyframe == keyframe);
      const auto decoded = decoder.decode(unit.data);
      REQUIRE(decoded.has_value());
      CHECK(decoded->keyframe == keyframe);
      const CpuPlanes kept = static_cast<ScreenEncoder&>(session.encoder()).decoded();
      REQUIRE(same_planes(kept, *decoded));
    }
  }
}

TEST_CASE("a keyframe of coloured text fits a quarter of a second of the ceiling") {
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    Canvas canvas(format, 1280, 720);
    canvas.draw_text(whole(canvas), 4);
    const int divide = divide_of(canvas);
    for (std::size_t plane = 1; plane < 3; ++plane) {
      for (int y = 0; y < 720 / divide; ++y) {
        for (int x = 0; x < 1280 / divide; ++x) {
          const bool ink = canvas.luma(x * divide, y * divide) == 40;
          canvas.planes().data[plane][y * canvas.planes().stride[plane] + x] =
              static_cast<std::uint8_t>(ink ? 60 + (x * divide / 64 + y * divide / 16) % 9 * 16
                                            : 128);
        }
      }
    }
    StreamConfig config;
    config.bitrate = 4'000'000;
    Exact exact(canvas, config);
    exact.encode(canvas);
    CHECK(static_cast<double>(exact.unit.data.size()) * 8 < 0.25 * config.bitrate * 1.4);
  }
}

TEST_CASE("text that moves in 4:4:4 is copied exactly in all planes, without a residual") {
  Canvas canvas(PixelFormat::kI444, 640, 368);
  std::mt19937 random(6);
  canvas.draw_text(whole(canvas), 1);
  colour(canvas, random);
  Exact exact(canvas, quality(23));
  Decoded before = exact.encode(canvas);
  const std::size_t keyframe = exact.unit.data.size();
  const TileMap all = tiles_of(canvas, whole(canvas));
  for (const auto& [by_x, by_y] : {std::pair{0, 13}, {0, -7}, {5, 0}, {3, 11}, {-9, -1}}) {
    CAPTURE(by_x);
    CAPTURE(by_y);
    // What leaves on one side returns on the other.
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const std::ptrdiff_t stride = canvas.planes().stride[plane];
      std::uint8_t* pixels = canvas.planes().data[plane];
      const std::vector<std::uint8_t> old(pixels, pixels + stride * 368);
      for (int y = 0; y < 368; ++y) {
        for (int x = 0; x < 640; ++x) {
          pixels[y * stride + x] = old[static_cast<std::size_t>((y + 368 + by_y) % 368 * stride +
                                                                (x + 640 + by_x) % 640)];
        }
      }
    }
    const Decoded shown = exact.encode(canvas, &all);
    CHECK(exact.unit.data.size() < keyframe / 4);
    // Far enough from the edges nothing is new.
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const std::uint8_t* now =
          plane == 0 ? shown.luma.data() : shown.chroma.data() + (plane - 1) * 640 * 368;
      const std::uint8_t* then =
          plane == 0 ? before.luma.data() : before.chroma.data() + (plane - 1) * 640 * 368;
      for (int y = 64; y < 304; ++y)
        REQUIRE(std::memcmp(now + y * 640 + 64, then + (y + by_y) * 640 + 64 + by_x, 512) == 0);
    }
    before = shown;
  }
}

// Squared error of luma in an area, per pixel.
double error_in(const Decoded& decoded, const Canvas& canvas, const Rect& area) {
  double sum = 0;
  for (int y = area.y; y < area.bottom(); ++y) {
    for (int x = area.x; x < area.right(); ++x) {
      const int difference =
          decoded.luma[static_cast<std::size_t>(y * decoded.width + x)] - canvas.luma(x, y);
      sum += difference * difference;
    }
  }
  return sum / (area.width * area.height);
}

// Grain, `width` pixels of a row alike; of one alone it is taken for noise.
void draw_grain(Canvas& canvas, const Rect& area, int width, std::mt19937& random) {
  for (int y = area.y; y < area.bottom(); ++y) {
    for (int x = area.x; x < area.right(); x += width) {
      const int value = 96 + static_cast<int>(random() % 64);
      for (int i = x; i < x + width; ++i) canvas.set(i, y, value);
    }
  }
}

TEST_CASE("a film beside text is coded coarser than the text") {
  constexpr Rect kFilm{0, 0, 640, 256};  // 640 tiles
  constexpr Rect kText{0, 256, 640, 256};
  Canvas canvas(PixelFormat::kI420, 640, 512);
  Exact exact(canvas, quality(26), {.most = 1});
  std::mt19937 random(5);
  const auto grain = [&](const Rect& area) { draw_grain(canvas, area, 2, random); };
  exact.encode(canvas);
  const TileMap film = tiles_of(canvas, kFilm);
  for (int i = 0; i < 10; ++i) {
    grain(kFilm);
    exact.encode(canvas, &film);
  }
  // The same grain in both: new below, the next picture of a film above.
  grain(kFilm);
  grain(kText);
  TileMap both = film;
  both.merge(tiles_of(canvas, kText));
  const Decoded decoded = exact.encode(canvas, &both);
  CHECK(error_in(decoded, canvas, kFilm) >
        1.25 * error_in(decoded, canvas, kText));  // two steps: a quarter coarser
  CHECK(error_in(decoded, canvas, kFilm) < 2 * error_in(decoded, canvas, kText));
}

TEST_CASE("noise is coded coarser than what is drawn, in keyframes and in changes") {
  constexpr Rect kNoise{0, 0, 640, 256};
  constexpr Rect kDrawn{0, 256, 640, 256};
  for (const PixelFormat format : {PixelFormat::kI420, PixelFormat::kI444}) {
    Canvas canvas(format, 640, 512);
    Exact exact(canvas, quality(26), {.most = 1});
    std::mt19937 random(6);
    for (int picture = 0; picture < 3; ++picture) {
      CAPTURE(picture);
      draw_grain(canvas, kNoise, 1, random);
      draw_grain(canvas, kDrawn, 2, random);
      const Decoded decoded = exact.encode(canvas);
      // Two steps are 1.6 times the error; at the same quantiser it would be 1.27 times as large.
      const double ratio = error_in(decoded, canvas, kNoise) / error_in(decoded, canvas, kDrawn);
      CHECK(ratio > 1.6);
      CHECK(ratio < 2.4);
    }
  }
}

TEST_CASE("the edge of what moves may cross macroblocks in their middle, both ways") {
  for (const bool down : {false, true}) {
    CAPTURE(down);
    Canvas canvas(PixelFormat::kI420, 320, 320);
    canvas.draw_text(whole(canvas), 9);
    Exact exact(canvas, quality(26), {.most = 1});
    exact.encode(canvas);
    // All above, or left of, the line moves by 16 pixels along it; the last 16 stay.
    constexpr int kLine = 8 * 16 + 8;
    const CpuPlanes& planes = canvas.planes();
    for (int y = 0; y < (down ? 320 - 16 : kLine); ++y) {
      std::uint8_t* row = planes.data[0] + y * planes.stride[0];
      std::memmove(row, down ? row + 16 * planes.stride[0] : row + 16, down ? kLine : 320 - 16);
    }
    const TileMap damage = tiles_of(canvas, down ? Rect{0, 0, kLine, 320} : Rect{0, 0, 320, kLine});
    exact.encode(canvas, &damage);
    CHECK(exact.unit.data.size() < 200);
  }
}

TEST_CASE("the corner of what moves may lie in the middle of a macroblock") {
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    Canvas canvas(format, 320, 320);
    canvas.draw_text(whole(canvas), 9);
    Exact exact(canvas, quality(26), {.most = 1});
    exact.encode(canvas);
    // In so many places text moves up by 16 rows; the last 16 of each stay.
    TileMap damage(320, 320);
    const CpuPlanes& planes = canvas.planes();
    for (int i = 0; i < 9; ++i) {
      const Rect area{8 + i % 3 * 96, 8 + i / 3 * 96, 80, 80};
      for (int y = area.y; y < area.bottom() - 16; ++y) {
        std::uint8_t* row = planes.data[0] + y * planes.stride[0] + area.x;
        std::memmove(row, row + 16 * planes.stride[0], 80);
      }
      damage.add(area);
    }
    exact.encode(canvas, &damage);
    // 36 corners: each with a residual would take a hundred bytes.
    CHECK(exact.unit.data.size() < 400);
  }
}

TEST_CASE("the lowest level that carries the bit rate: four times as many bits in 4:4:4") {
  for (const auto& [chroma, level] : {std::pair{Chroma::k420, 50}, {Chroma::k444, 42}}) {
    screen::StreamHeader header{
        .width = 1920, .height = 1080, .fps = 60, .bitrate = 100'000'000, .chroma = chroma};
    screen::choose_level(header);
    CHECK(header.level_idc == level);
  }
}

TEST_CASE("superfast is CABAC and takes fewer bits for the same picture; fastdecode is CAVLC") {
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    Canvas canvas(format, 640, 368);
    std::mt19937 random(3);
    canvas.draw_text(whole(canvas), 1);
    colour(canvas, random);
    const auto bytes = [&](const char* preset, const char* tune) {
      StreamConfig config = quality(23, preset);
      config.tune = tune;
      Exact exact(canvas, config);
      exact.encode(canvas);
      return exact.unit.data.size();
    };
    const std::size_t cavlc = bytes("ultrafast", "zerolatency");
    CHECK(bytes("superfast", "zerolatency") < cavlc * 95 / 100);
    CHECK(bytes("superfast", "fastdecode") == cavlc);
  }
}

TEST_CASE("sizes from one macroblock to 8K wide, and what the SPS says of them") {
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    for (const auto& [width, height] :
         {std::pair{2, 2}, {16, 16}, {18, 34}, {640, 368}, {8192, 32}, {8192, 4320}}) {
      for (const char* preset : kPresets) {
        const bool cabac = preset == kPresets.back();
        CAPTURE(width);
        CAPTURE(preset);
        Canvas canvas(format, width, height);
        canvas.draw_text(whole(canvas), 3);
        Exact exact(canvas, quality(23, preset), {.most = 3});
        exact.encode(canvas);
        bool seen = false;
        for_each_nal(exact.unit.data, [&](const NalUnit& nal) {
          if (const auto sps = parse_sps(nal.bytes)) {
            seen = true;
            CHECK(sps->width == width);
            CHECK(sps->height == height);
            // High 4:4:4 Predictive, Main, Constrained Baseline.
            CHECK(sps->profile_idc == (format == PixelFormat::kI444 ? 244 : cabac ? 77 : 66));
            CHECK(sps->constraint_flags == (format == PixelFormat::kI444 ? 0
                                            : cabac                      ? 0x40
                                                                         : 0xC0));
            CHECK(sps->chroma_format_idc == (format == PixelFormat::kI444 ? 3 : 1));
            CHECK(sps->max_num_reorder_frames == 0);
            CHECK(sps->colour == ColourDescription{});
          }
          return true;
        });
        CHECK(seen);
        canvas.draw_text({0, 0, width / 2, height}, 4);
        const TileMap damage = tiles_of(canvas, whole(canvas));
        exact.encode(canvas, &damage);
        const Rect last{width - 1, height - 1, 1,
                        1};  // after as long a run of skipped ones as there is
        canvas.draw_text(last, 5);
        const TileMap one = tiles_of(canvas, last);
        exact.encode(canvas, &one);
      }
    }
  }
}

}  // namespace
}  // namespace kvm
