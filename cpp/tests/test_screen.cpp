// Our own encoder: what it keeps as the decoder's picture is, bit for bit, what a decoder shows.
#include <doctest/doctest.h>

#include <random>

#include "convert/convert.hpp"
#include "encode/h264_sps.hpp"
#include "pixels.hpp"
#include "screen_support.hpp"

namespace kvm {
namespace {

using screen::ScreenEncoder;
using test::Canvas;
using test::colour;
using test::Decoded;
using test::divide_of;
using test::Exact;
using test::kPlanar;
using test::kPresets;
using test::quality;
using test::scroll;
using test::Session;
using test::tiles_of;
using test::whole;

void change_in_every_way(PixelFormat format, double crf, const char* preset) {
  std::mt19937 random(5);
  Canvas canvas(format, 326, 250);  // neither side whole macroblocks
  canvas.draw_text(whole(canvas), 1);
  colour(canvas, random);
  Exact exact(canvas, quality(crf, preset));
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
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    for (const double crf : {10.0, 16.0, 23.0, 30.0, 38.0, 45.0, 51.0}) {
      CAPTURE(crf);
      for (const char* preset : kPresets) {
        CAPTURE(preset);
        change_in_every_way(format, crf, preset);
      }
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
  for (const PixelFormat format : kPlanar) {
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

void bear_noise(PixelFormat format, const char* preset) {
  std::mt19937 random(8);
  Canvas canvas(format, 96, 80);
  Exact exact(canvas, quality(1, preset), {.most = 2, .least_tiles = 4});
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

TEST_CASE("noise at the finest quantiser takes no more bits than a decoder must bear") {
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    for (const char* preset : kPresets) {
      CAPTURE(preset);
      bear_noise(format, preset);
    }
  }
}

TEST_CASE("macroblocks that are sent as they are, between others whose quantisers differ") {
  for (const PixelFormat format : kPlanar) {
    CAPTURE(format);
    for (const char* preset : kPresets) {
      CAPTURE(preset);
      std::mt19937 random(5);
      Canvas canvas(format, 288, 96);
      Exact exact(canvas, quality(10, preset));
      for (int i = 0; i < 6; ++i) {
        CAPTURE(i);
        canvas.draw_text(whole(canvas), static_cast<unsigned>(i));
        // Faint noise, which is coded coarser; noise that takes too many bits; text: in turns.
        for (std::size_t plane = 0; plane < 3; ++plane) {
          const int divide = plane == 0 ? 1 : divide_of(canvas);
          for (int y = 0; y < canvas.height() / divide; ++y) {
            std::uint8_t* line = canvas.planes().data[plane] + y * canvas.planes().stride[plane];
            for (int x = 0; x < canvas.width() / divide; ++x) {
              const int kind = (x * divide / 16 + y * divide / 16 + i) % 3;
              const auto chance = static_cast<unsigned>(random());
              if (kind == 0) line[x] = static_cast<std::uint8_t>(120 + chance % 8);
              if (kind == 1) line[x] = (chance & 1U) != 0 ? 255 : 0;
            }
          }
        }
        exact.encode(canvas, nullptr, i % 3 == 0);
      }
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
  for (const PixelFormat format : kPlanar) {
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

TEST_CASE("every instruction set gives the same bits") {
  for (const PixelFormat format : kPlanar) {
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

TEST_CASE(
    "an unchanged picture is a few bytes, a scroll of known text little more than its new line") {
  for (const PixelFormat format : kPlanar) {
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
