// Our own encoder: what it keeps as the decoder's picture is, bit for bit, what a decoder shows.
#include "encode/screen/screen_encoder.hpp"

#include <doctest/doctest.h>

#include <random>

#include "convert/convert.hpp"
#include "encode/h264_sps.hpp"
#include "encode_support.hpp"
#include "pixels.hpp"

namespace kvm {
namespace {

using screen::ScreenEncoder;
using screen::Slicing;
using test::Canvas;
using test::Decoded;
using test::Decoder;
using test::Session;

// A ceiling that no picture here reaches.
StreamConfig quality(double crf) {
  StreamConfig config;
  config.bitrate = 200'000'000;
  config.crf = crf;
  return config;
}

constexpr std::array kFormats{PixelFormat::kI420, PixelFormat::kI444};

// Luma pixels to one of chroma, along a side.
int divide_of(const Canvas& canvas) {
  return canvas.format().pixel_format == PixelFormat::kI444 ? 1 : 2;
}

TileMap tiles_of(const Canvas& canvas, const Rect& rect) {
  TileMap map(canvas.width(), canvas.height());
  map.add(rect);
  return map;
}
Rect whole(const Canvas& canvas) {
  return {0, 0, canvas.width(), canvas.height()};
}

bool same_plane(const std::uint8_t* ours, std::ptrdiff_t stride, const std::uint8_t* theirs,
                int width, int height) {
  for (int y = 0; y < height; ++y) {
    if (std::memcmp(ours + y * stride, theirs + y * width, static_cast<std::size_t>(width)) != 0) {
      MESSAGE("row " << y << " differs");
      return false;
    }
  }
  return true;
}

bool same_planes(const CpuPlanes& ours, const Decoded& theirs) {
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
  Exact(const Canvas& canvas, const StreamConfig& config, const Slicing& slicing = {})
      : session_(std::make_unique<ScreenEncoder>(slicing), canvas, config) {}
  Decoded encode(const Canvas& canvas, const TileMap* damage = nullptr, bool keyframe = false,
                 int refine_step = 0) {
    session_.wait_ms(16.7);
    unit = session_.encode(canvas, damage, keyframe, refine_step);
    auto decoded = decoder_.decode(unit.data);
    REQUIRE(decoded.has_value());
    CHECK(decoded->width == canvas.width());
    CHECK(decoded->height == canvas.height());
    REQUIRE(decoded->format == (divide_of(canvas) == 1 ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P));
    REQUIRE(same_planes(static_cast<ScreenEncoder&>(session_.encoder()).decoded(), *decoded));
    return std::move(*decoded);
  }
  AccessUnit unit;

 private:
  Session session_;
  Decoder decoder_;
};

// Moves the rows of `area` up by `rows` and draws new text below, colours included.
void scroll(Canvas& canvas, const Rect& area, int rows, unsigned seed) {
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

void colour(Canvas& canvas, std::mt19937& random) {
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

void change_in_every_way(PixelFormat format, double crf) {
  std::mt19937 random(5);
  Canvas canvas(format, 326, 250);  // neither side whole macroblocks
  canvas.draw_text(whole(canvas), 1);
  colour(canvas, random);
  Exact exact(canvas, quality(crf));
  exact.encode(canvas);
  CHECK(exact.unit.keyframe);
  CHECK(is_idr_access_unit(exact.unit.data));
  for (unsigned i = 0; i < 60; ++i) {
    CAPTURE(i);
    TileMap damage(canvas.width(), canvas.height());
    int refine_step = 0;
    switch (i % 6) {
      case 0: {
        const Rect cell{static_cast<int>(random() % 300), static_cast<int>(random() % 230), 9, 17};
        canvas.draw_text(cell, i);
        damage.add(cell);
        break;
      }
      case 1:
        scroll(canvas, {32, 16, 240, 220}, static_cast<int>(random() % 40) + 1, i);
        damage.add({32, 16, 240, 220});
        break;
      case 2:
        refine_step = static_cast<int>(i / 6 % 4) + 1;
        break;
      case 3: {
        const Rect window{static_cast<int>(random() % 200), static_cast<int>(random() % 150), 120,
                          90};
        canvas.draw_text(window, 77);
        damage.add(window);
        break;
      }
      case 4: {
        unsigned state = i;
        if (i % 12 == 4) canvas.draw_noise(state);
        colour(canvas, random);
        damage.set_all();
        break;
      }
      default:
        break;  // damage that is none
    }
    exact.encode(canvas, &damage, i == 40, refine_step);
    CHECK(exact.unit.keyframe == (i == 40));
  }
}

TEST_CASE("what it keeps is what a decoder shows: every kind of change, every quality") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    for (const double crf : {10.0, 16.0, 23.0, 30.0, 38.0, 45.0, 51.0}) {
      CAPTURE(crf);
      change_in_every_way(format, crf);
    }
  }
}

int slices_of(const AccessUnit& unit) {
  int count = 0;
  for_each_nal(unit.data, [&](const NalUnit& nal) {
    const int type = nal.bytes[0] & 31;
    count += type == 1 || type == 5 ? 1 : 0;
    return true;
  });
  return count;
}

TEST_CASE("a large change is cut into slices, a small one is not") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    for (int most = 1; most <= 8; ++most) {
      CAPTURE(most);
      std::mt19937 random(4);
      Canvas canvas(format, 326, 250);  // 16 rows of 21 macroblocks
      canvas.draw_text(whole(canvas), 1);
      colour(canvas, random);
      Exact exact(canvas, quality(26), {.most = most, .least_tiles = 20});
      exact.encode(canvas);
      CHECK(slices_of(exact.unit) == most);
      const TileMap all = tiles_of(canvas, whole(canvas));
      const TileMap none(canvas.width(), canvas.height());
      for (const int rows : {16, 3, 34, 1, 90, 16}) {
        CAPTURE(rows);
        scroll(canvas, whole(canvas), rows, static_cast<unsigned>(rows));
        exact.encode(canvas, &all, rows == 90);
        CHECK(slices_of(exact.unit) == most);
        exact.encode(canvas, &none, false, 2);
        const Rect corner{300, 10, 20, 30};
        canvas.draw_text(corner, static_cast<unsigned>(rows));
        const TileMap few = tiles_of(canvas, corner);
        exact.encode(canvas, &few);
        CHECK(slices_of(exact.unit) == 1);
      }
    }
  }
}

TEST_CASE("noise at the finest quantiser takes no more bits than a decoder must bear") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    std::mt19937 random(8);
    Canvas canvas(format, 96, 80);
    Exact exact(canvas, quality(1), {.most = 2, .least_tiles = 4});
    for (int i = 0; i < 8; ++i) {
      CAPTURE(i);
      for (std::size_t plane = 0; plane < 3; ++plane) {
        const int divide = plane == 0 ? 1 : divide_of(canvas);
        // Some of it; beside it macroblocks are coded as ever.
        for (int y = i * 4; y < canvas.height() / divide; ++y) {
          std::uint8_t* line = canvas.planes().data[plane] + y * canvas.planes().stride[plane];
          for (int x = i * 4; x < canvas.width() / divide; ++x)
            line[x] = (random() & 1U) != 0 ? 250 : 5;
        }
      }
      const Decoded shown = exact.encode(canvas, nullptr, i % 4 == 0);
      // A.3.1
      const std::size_t most_bits = format == PixelFormat::kI444 ? 6272 : 3200;
      constexpr std::size_t kHeaders = 200;
      CHECK(exact.unit.data.size() < 6 * 5 * most_bits / 8 + kHeaders);
      if (i == 0) CHECK(test::psnr(canvas, shown) > 90);  // sent as it is
    }
  }
}

TEST_CASE("more slices than rows, and all that changed in one row") {
  Canvas canvas(PixelFormat::kI420, 640, 32);
  canvas.draw_text(whole(canvas), 1);
  Exact exact(canvas, quality(26), {.most = 8, .least_tiles = 1});
  exact.encode(canvas);
  CHECK(slices_of(exact.unit) == 2);
  for (const int y : {0, 16}) {
    canvas.draw_text({0, y, 640, 16}, 7);
    const TileMap damage = tiles_of(canvas, {0, y, 640, 16});
    exact.encode(canvas, &damage);
    CHECK(slices_of(exact.unit) >= 1);
  }
}

TEST_CASE("BGRA of any size gives the stream of its planes, held pictures included") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    for (const auto& [width, height] : {std::pair{1, 1}, {17, 33}, {203, 121}, {320, 240}}) {
      CAPTURE(width);
      // So low a ceiling that changes must wait.
      for (const int bitrate : {200'000'000, 200'000}) {
        CAPTURE(bitrate);
        StreamConfig config;
        config.bitrate = bitrate;
        config.chroma = format == PixelFormat::kI444 ? Chroma::k444 : Chroma::k420;
        std::mt19937 random(3);
        test::BgraPicture bgra(width, height, 12);
        YuvPicture planes(format, width, height);
        ScreenEncoder takes_bgra;
        ScreenEncoder takes_planes;
        std::vector<std::string> notes;
        const int coded_width = planes.coded_width();
        const int coded_height = planes.coded_height();
        takes_bgra.open({coded_width, coded_height, PixelFormat::kBgra, width, height}, config,
                        notes);
        takes_planes.open({coded_width, coded_height, format}, config, notes);
        for (int i = 0; i < 12; ++i) {
          CAPTURE(i);
          EncodeHints hints;
          hints.wall_ns = 1'000'000'000 + i * 16'666'667;
          hints.pts_us = hints.wall_ns / 1000;
          hints.refine_step = i > 9 ? i - 9 : 0;
          TileMap damage(width, height);
          if (i == 0 || i == 4) {
            bgra.randomize(random);
            damage.set_all();
          } else if (hints.refine_step == 0) {
            const int x = test::uniform(random, 0, width - 1);
            const int y = test::uniform(random, 0, height - 1);
            bgra.at(x, y)[i % 3] ^= 0x55;
            damage.add({x, y, 1, 1});
          }
          hints.damage = &damage;
          convert_tiles(bgra.planes(), damage, planes);
          const EncodeResult first = takes_bgra.encode(bgra.planes(), hints);
          const EncodeResult second = takes_planes.encode(planes.planes(), hints);
          REQUIRE(std::get<AccessUnit>(first).data == std::get<AccessUnit>(second).data);
        }
        CHECK(bgra.padding_intact());
      }
    }
  }
}

TEST_CASE("colour that a scroll by an odd number of rows blurs is sharp again after refinement") {
  Canvas canvas(PixelFormat::kI420, 640, 368);
  canvas.draw_text(whole(canvas), 1);
  std::mt19937 random(2);
  colour(canvas, random);
  const auto chroma_error = [&](const Decoded& shown) {
    double sum = 0;
    for (std::size_t plane = 0; plane < 2; ++plane) {
      for (std::size_t y = 0; y < 184; ++y) {
        for (std::size_t x = 0; x < 320; ++x) {
          const int d = shown.chroma[(plane * 184 + y) * 320 + x] -
                        canvas.planes().data[plane + 1][y * 320 + x];
          sum += d * d;
        }
      }
    }
    return sum / (2 * 184 * 320);
  };
  Exact exact(canvas, quality(23));
  Decoded shown = exact.encode(canvas);
  const double at_first = chroma_error(shown);
  const TileMap all = tiles_of(canvas, whole(canvas));
  for (unsigned i = 0; i < 8; ++i) {
    scroll(canvas, whole(canvas), 13, i);
    shown = exact.encode(canvas, &all);
    // Bounded, however often it moves.
    CHECK(chroma_error(shown) < at_first + 60);
  }
  const TileMap none(640, 368);
  for (int step = 1; step <= 4; ++step) shown = exact.encode(canvas, &none, false, step);
  CHECK(chroma_error(shown) < 2.0);
}

TEST_CASE("every quantiser, both chroma formats") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    for (int crf = 0; crf <= 51; ++crf) {
      CAPTURE(crf);
      std::mt19937 random(static_cast<unsigned>(crf));
      Canvas canvas(format, 98, 66);
      canvas.draw_text(whole(canvas), 1);
      colour(canvas, random);
      Exact exact(canvas, quality(crf), {.most = 1 + crf % 3, .least_tiles = 4});
      exact.encode(canvas);
      unsigned noise = 1;
      for (unsigned i = 0; i < 4; ++i) {
        CAPTURE(i);
        if (i % 2 == 0) {
          canvas.draw_noise(noise);
        } else {
          scroll(canvas, whole(canvas), 7, i);
        }
        colour(canvas, random);
        const TileMap all = tiles_of(canvas, whole(canvas));
        exact.encode(canvas, &all, i == 2);
      }
    }
  }
}

TEST_CASE("one decoder follows from size to size, through storms of keyframes and other rates") {
  Decoder decoder;
  std::mt19937 random(11);
  for (int round = 0; round < 24; ++round) {
    CAPTURE(round);
    const PixelFormat format = kFormats[static_cast<std::size_t>(round % 2)];
    const int width = 2 * test::uniform(random, 1, 120);
    const int height = 2 * test::uniform(random, 1, 90);
    Canvas canvas(format, width, height);
    Session session(
        std::make_unique<ScreenEncoder>(Slicing{.most = 1 + round % 8, .least_tiles = 2}), canvas,
        quality(test::uniform(random, 0, 51)));
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
  for (const PixelFormat format : kFormats) {
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

TEST_CASE("every instruction set gives the same bits") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    std::vector<std::vector<std::uint8_t>> streams;
    test::on_every_target([&] {
      std::mt19937 random(9);
      Canvas canvas(format, 200, 120);
      Session session(std::make_unique<ScreenEncoder>(), canvas, quality(23));
      std::vector<std::uint8_t> stream;
      for (unsigned i = 0; i < 8; ++i) {
        canvas.draw_text(whole(canvas), i);
        colour(canvas, random);
        session.wait_ms(16.7);
        const AccessUnit unit = session.encode(canvas);
        stream.insert(stream.end(), unit.data.begin(), unit.data.end());
      }
      streams.push_back(std::move(stream));
    });
    CHECK(streams.size() >= 2);
    for (const auto& stream : streams) CHECK(stream == streams.front());
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

TEST_CASE("sizes from one macroblock to 8K wide, and what the SPS says of them") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    for (const auto& [width, height] :
         {std::pair{2, 2}, {16, 16}, {18, 34}, {640, 368}, {8192, 32}, {8192, 4320}}) {
      CAPTURE(width);
      Canvas canvas(format, width, height);
      canvas.draw_text(whole(canvas), 3);
      Exact exact(canvas, quality(23), {.most = 3});
      exact.encode(canvas);
      bool seen = false;
      for_each_nal(exact.unit.data, [&](const NalUnit& nal) {
        if (const auto sps = parse_sps(nal.bytes)) {
          seen = true;
          CHECK(sps->width == width);
          CHECK(sps->height == height);
          CHECK(sps->profile_idc == (format == PixelFormat::kI444 ? 244 : 66));
          CHECK(sps->constraint_flags == (format == PixelFormat::kI444 ? 0 : 0xC0));
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

TEST_CASE(
    "an unchanged picture is a few bytes, a scroll of known text little more than its new line") {
  for (const PixelFormat format : kFormats) {
    CAPTURE(format);
    Canvas canvas(format, 1280, 720);
    canvas.draw_text(whole(canvas), 1);
    Exact exact(canvas, quality(23));
    exact.encode(canvas);
    const std::size_t whole_picture = exact.unit.data.size();
    const TileMap none(1280, 720);
    exact.encode(canvas, &none);
    CHECK(exact.unit.data.size() < 16);
    const TileMap all = tiles_of(canvas, whole(canvas));
    exact.encode(canvas, &all);  // damage that is none
    CHECK(exact.unit.data.size() < 16);
    for (const int rows : {16, 34, 100}) {
      CAPTURE(rows);
      scroll(canvas, whole(canvas), rows, static_cast<unsigned>(rows));
      exact.encode(canvas, &all);
      const double new_share = rows / 720.0;
      CHECK(static_cast<double>(exact.unit.data.size()) <
            static_cast<double>(whole_picture) * new_share * 1.6 + 2000);
    }
  }
}

TEST_CASE(
    "refinement sharpens what stands still, moved content included, until it is visually "
    "lossless") {
  Canvas canvas(PixelFormat::kI420, 640, 368);
  canvas.draw_text(whole(canvas), 1);
  Exact exact(canvas, quality(34));
  Decoded shown = exact.encode(canvas);
  const TileMap all = tiles_of(canvas, whole(canvas));
  scroll(canvas, whole(canvas), 32, 9);
  shown = exact.encode(canvas, &all);
  const TileMap none(640, 368);
  double before = test::psnr(canvas, shown);
  for (int step = 1; step <= 6; ++step) {
    CAPTURE(step);
    shown = exact.encode(canvas, &none, false, step);
    const double now = test::psnr(canvas, shown);
    CHECK(now >= before);
    before = now;
  }
  CHECK(before > 44.0);
}

}  // namespace
}  // namespace kvm
