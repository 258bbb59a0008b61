// What every software encoder promises, on real pictures.
#include "encode/avcodec/avcodec_encoder.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>

#include "encode/h264_sps.hpp"
#include "encode/ladder.hpp"
#include "encode_support.hpp"

namespace kvm {
namespace {

using test::Canvas;
using test::Decoder;
using test::Session;

struct Size {
  int width;
  int height;
};

struct Way {
  std::string title;
  std::function<std::unique_ptr<Encoder>()> create;
  PixelFormat format = PixelFormat::kNv12;
};

std::unique_ptr<Encoder> of_the_ladder(std::string_view name) {
  for (const Candidate& candidate : default_candidates({})) {
    if (candidate.name == name) return candidate.create();
  }
  throw std::logic_error("no rung " + std::string(name));
}

// The product's rung (x264 itself where the build has x264.h) and libavcodec's wrapper.
std::vector<Way> x264_ways() {
  return {{"libx264 of the ladder", [] { return of_the_ladder("libx264"); }},
          {"libx264 of libavcodec", [] { return make_avcodec_encoder("libx264"); }}};
}

// All software.
std::vector<Way> ways() {
  std::vector<Way> all = x264_ways();
  for (const PixelFormat format : {PixelFormat::kI420, PixelFormat::kI444})
    all.push_back({"screen", [] { return of_the_ladder("screen"); }, format});
  return all;
}

// A ceiling that no picture here reaches.
StreamConfig unlimited() {
  StreamConfig config;
  config.bitrate = 200'000'000;
  return config;
}

TileMap no_damage(const Canvas& canvas) {
  return {canvas.width(), canvas.height()};
}
TileMap all_damage(const Canvas& canvas) {
  TileMap map(canvas.width(), canvas.height());
  map.set_all();
  return map;
}

SpsInfo sps_of(const AccessUnit& unit) {
  std::optional<SpsInfo> info;
  for_each_nal(unit.data, [&](const NalUnit& nal) {
    if (nal.type() == kNalSps) info = parse_sps(nal.bytes);
    return !info;
  });
  REQUIRE(info.has_value());
  return *info;
}

TEST_CASE("every access unit is one picture, shown at once, keyframes only on demand") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    Canvas canvas(way.format, 640, 368);
    canvas.draw_text({0, 0, 640, 368}, 1);
    Session session(way.create(), canvas, unlimited());
    Decoder decoder;
    for (int i = 0; i < 40; ++i) {
      TileMap damage = i == 0 ? all_damage(canvas) : no_damage(canvas);
      const Rect cell{8 * (i % 60), 160, 8, 16};
      if (i > 0) {
        canvas.draw_text(cell, static_cast<unsigned>(i + 50));
        damage.add(cell);
      }
      const bool wanted = i == 17 || i == 30;
      session.wait_ms(16.7);
      const AccessUnit unit = session.encode(canvas, &damage, wanted);
      CHECK(unit.keyframe == (wanted || i == 0));
      CHECK(is_idr_access_unit(unit.data) == unit.keyframe);
      const auto decoded = decoder.decode(unit.data);
      REQUIRE(decoded.has_value());
      CHECK(decoded->keyframe == unit.keyframe);
      CHECK(test::psnr(canvas, *decoded) > 28);
      if (unit.keyframe) {
        Decoder late;  // one that joins here
        const auto joined = late.decode(unit.data);
        REQUIRE(joined.has_value());
        CHECK(joined->luma == decoded->luma);
      }
    }
    CHECK(decoder.context().has_b_frames == 0);
    CHECK(session.encoder().drain().empty());
  }
}

TEST_CASE("the SPS states BT.709 limited and promises no reordering") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    Canvas canvas(way.format, 1280, 720);
    Session session(way.create(), canvas);
    const SpsInfo sps = sps_of(session.encode(canvas));
    CHECK(sps.colour == ColourDescription{});
    CHECK(sps.max_num_reorder_frames == 0);
    CHECK(sps.max_dec_frame_buffering == sps.max_num_ref_frames);
    CHECK(sps.max_num_ref_frames == 1);
    CHECK(sps.poc_type == 2);
    CHECK(sps.level_idc == 32);  // the lowest for 1280×720 at 60 pictures a second
    CHECK(codec_string(sps) == (way.format == PixelFormat::kI444 ? "avc1.F40020" : "avc1.42C020"));
  }
}

TEST_CASE("sizes that are no multiple of a macroblock decode to themselves") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    for (const Size size : {Size{16, 16}, Size{2, 2}, Size{642, 360}, Size{30, 1082},
                            Size{1366, 768}, Size{4096, 32}}) {
      const int width = size.width;
      const int height = size.height;
      CAPTURE(width);
      CAPTURE(height);
      Canvas canvas(way.format, width, height);
      canvas.draw_text({0, 0, width, height}, 3);
      Session session(way.create(), canvas, unlimited());
      Decoder decoder;
      for (int i = 0; i < 3; ++i) {
        session.wait_ms(100);
        const TileMap damage = i == 0 ? all_damage(canvas) : no_damage(canvas);
        const auto decoded = decoder.decode(session.encode(canvas, &damage, i == 0, i).data);
        REQUIRE(decoded.has_value());
        CHECK(decoded->width == width);
        CHECK(decoded->height == height);
        CHECK(test::psnr(canvas, *decoded) > 28);
      }
    }
  }
}

TEST_CASE("planar input gives the same picture as NV12") {
  for (const Way& way : x264_ways()) {
    CAPTURE(way.title);
    Canvas nv12(PixelFormat::kNv12, 320, 240);
    Canvas i420(PixelFormat::kI420, 320, 240);
    nv12.draw_text({0, 0, 320, 240}, 5);
    i420.draw_text({0, 0, 320, 240}, 5);
    Session a(way.create(), nv12);
    Session b(way.create(), i420);
    Decoder da;
    Decoder db;
    CHECK(da.decode(a.encode(nv12).data)->luma == db.decode(b.encode(i420).data)->luma);
  }
}

TEST_CASE("4:4:4 is High 4:4:4 Predictive") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    StreamConfig config;
    config.chroma = Chroma::k444;
    auto encoder = way.create();
    const auto accepted = encoder->accepts(Chroma::k444);
    REQUIRE_FALSE(accepted.empty());
    CHECK(accepted.back() == PixelFormat::kI444);
    Canvas canvas(PixelFormat::kI444, 642, 358);
    canvas.draw_text({0, 0, 642, 358}, 2);
    Session session(std::move(encoder), canvas, config);
    const AccessUnit unit = session.encode(canvas);
    CHECK(sps_of(unit).profile_idc == 244);
    CHECK(sps_of(unit).chroma_format_idc == 3);
    Decoder decoder;
    const auto decoded = decoder.decode(unit.data);
    REQUIRE(decoded.has_value());
    CHECK(decoded->format == AV_PIX_FMT_YUV444P);
    CHECK(test::psnr(canvas, *decoded) > 28);
  }
}

TEST_CASE(
    "refinement sharpens an unchanged picture until it is visually lossless, then costs nothing") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    Canvas canvas(way.format, 640, 368);
    canvas.draw_text({0, 0, 640, 368}, 9);
    StreamConfig config;
    config.bitrate = 20'000'000;
    Session session(way.create(), canvas, config);
    Decoder decoder;
    double quality = test::psnr(canvas, *decoder.decode(session.encode(canvas).data));
    const double at_first = quality;
    const TileMap still = no_damage(canvas);
    for (int step = 1; step <= 6; ++step) {
      session.wait_ms(100);
      const AccessUnit unit = session.encode(canvas, &still, false, step);
      CHECK_FALSE(unit.keyframe);
      const double better = test::psnr(canvas, *decoder.decode(unit.data));
      CHECK(better > quality - 0.05);
      quality = better;
    }
    CHECK(quality > at_first + 6);
    CHECK(quality > 46);
    session.wait_ms(100);
    CHECK(session.encode(canvas, &still, false, 6).data.size() < 400);
  }
}

TEST_CASE("a keyframe fits a quarter of a second of the ceiling") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    Canvas canvas(way.format, 1280, 720);
    canvas.draw_text({0, 0, 1280, 720}, 4);
    StreamConfig config;
    config.bitrate = 2'500'000;
    Session session(way.create(), canvas, config);
    CHECK(static_cast<double>(session.encode(canvas).data.size()) * 8 <
          0.25 * config.bitrate * 1.3);
  }
}

double bits_per_second(Session& session, Canvas& canvas, double seconds, double fps) {
  unsigned state = 1;
  double bits = 0;
  const TileMap damage = all_damage(canvas);
  const int pictures = static_cast<int>(seconds * fps);
  for (int i = 0; i < pictures; ++i) {
    session.wait_ms(1000 / fps);
    canvas.draw_noise(state);
    bits += static_cast<double>(session.encode(canvas, &damage).data.size()) * 8;
  }
  return bits / seconds;
}

TEST_CASE("the ceiling holds on noise, and at a low picture rate it may be used as well") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    StreamConfig config;
    config.bitrate = 3'000'000;
    for (const double fps : {60.0, 10.0}) {
      CAPTURE(fps);
      Canvas canvas(way.format, 320, 240);
      Session session(way.create(), canvas, config);
      (void)bits_per_second(session, canvas, 1, fps);  // settles
      const double rate = bits_per_second(session, canvas, 4, fps);
      CHECK(rate < 1.1 * config.bitrate);
      // A rate control that counts pictures instead of seconds would use a sixth at 10 a second.
      CHECK(rate > 0.5 * config.bitrate);
    }
  }
}

TEST_CASE("what a hopeless ceiling holds back is shown once there is room") {
  const Way way = ways().front();
  StreamConfig config;
  config.bitrate = 200'000;
  Canvas canvas(way.format, 640, 368);
  Session session(way.create(), canvas, config);
  Decoder decoder;
  unsigned state = 3;
  const TileMap all = all_damage(canvas);
  std::optional<test::Decoded> shown;
  for (int i = 0; i < 120; ++i) {
    session.wait_ms(16.7);
    canvas.draw_noise(state);
    shown = decoder.decode(session.encode(canvas, &all).data);
    REQUIRE(shown.has_value());
  }
  canvas.draw_text({0, 0, 640, 368}, 8);
  session.wait_ms(16.7);
  shown = decoder.decode(session.encode(canvas, &all).data);
  CHECK(test::psnr(canvas, *shown) < 28);  // else nothing was held back
  (void)session.encoder().update({60, 20'000'000, 23});
  const TileMap still = no_damage(canvas);
  for (int step = 1; step <= 4; ++step) {
    session.wait_ms(200);
    shown = decoder.decode(session.encode(canvas, &still, false, step).data);
    REQUIRE(shown.has_value());
  }
  CHECK(test::psnr(canvas, *shown) > 28);
}

TEST_CASE("after a pause the budget is full again") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    StreamConfig config;
    config.bitrate = 2'000'000;
    Canvas canvas(way.format, 640, 368);
    Session session(way.create(), canvas, config);
    (void)bits_per_second(session, canvas, 1, 60);
    // Two pictures: rate control inside libx264 hears of the pause with the first.
    const TileMap damage = all_damage(canvas);
    session.wait_ms(2000);
    canvas.draw_text({0, 0, 640, 368}, 1);
    const std::size_t first = session.encode(canvas, &damage).data.size();
    session.wait_ms(300);
    canvas.draw_text({0, 0, 640, 368}, 2);
    const std::size_t second = session.encode(canvas, &damage).data.size();
    CHECK(static_cast<double>(std::max(first, second)) * 8 > 4 * config.bitrate / 60.0);
  }
}

TEST_CASE("update() works from the next picture on, without a keyframe") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    StreamConfig config;
    config.bitrate = 6'000'000;
    Canvas canvas(way.format, 320, 240);
    Session session(way.create(), canvas, config);
    (void)bits_per_second(session, canvas, 1, 30);
    const double high = bits_per_second(session, canvas, 2, 30);
    CHECK(session.encoder().update({30, 1'500'000, 23}) == UpdateResult::kSeamless);
    (void)bits_per_second(session, canvas, 1, 30);
    const double low = bits_per_second(session, canvas, 2, 30);
    CHECK(high > 3'500'000);
    CHECK(low < 1'500'000 * 1.1);
    const TileMap damage = all_damage(canvas);
    session.wait_ms(1000);
    CHECK_FALSE(session.encode(canvas, &damage).keyframe);

    // crf, too.
    canvas.draw_text({0, 0, 320, 240}, 1);
    CHECK(session.encoder().update({30, 50'000'000, 40}) == UpdateResult::kSeamless);
    session.wait_ms(1000);
    (void)session.encode(canvas, &damage);
    session.wait_ms(1000);
    canvas.draw_text({0, 0, 320, 240}, 2);
    const std::size_t coarse = session.encode(canvas, &damage).data.size();
    CHECK(session.encoder().update({30, 50'000'000, 18}) == UpdateResult::kSeamless);
    session.wait_ms(1000);
    canvas.draw_text({0, 0, 320, 240}, 3);
    CHECK(session.encode(canvas, &damage).data.size() > coarse * 3 / 2);
  }
}

TEST_CASE("presets and tunes are x264's, and never bring delay back") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    Canvas canvas(way.format, 320, 240);
    const std::vector<std::pair<std::string, std::string>> choices{{"medium", "film"},
                                                                   {"superfast", "zerolatency"},
                                                                   {"slow", "grain,fastdecode"},
                                                                   {"veryfast", ""}};
    for (const auto& choice : choices) {
      const std::string& preset = choice.first;
      const std::string& tune = choice.second;
      CAPTURE(preset);
      CAPTURE(tune);
      StreamConfig config;
      config.preset = preset;
      config.tune = tune;
      Session session(way.create(), canvas, config);
      Decoder decoder;
      const TileMap damage = all_damage(canvas);
      for (int i = 0; i < 5; ++i) {
        canvas.draw_text({0, 0, 320, 240}, static_cast<unsigned>(i));
        session.wait_ms(17);
        const AccessUnit unit = session.encode(canvas, &damage);
        CHECK(unit.keyframe == (i == 0));
        CHECK(decoder.decode(unit.data).has_value());
      }
    }
    StreamConfig config;
    config.preset = "turbo";
    std::vector<std::string> notes;
    CHECK_THROWS_WITH_AS(
        way.create()->open(canvas.format(), config, notes),
        doctest::Contains("preset = \"turbo\": must be one of ultrafast, superfast"), Error);
    config.preset = "ultrafast";
    config.tune = "film,nonsense";
    CHECK_THROWS_WITH_AS(way.create()->open(canvas.format(), config, notes),
                         doctest::Contains("tune = \"film,nonsense\": must be one of film"), Error);
  }
}

TEST_CASE("opening again, closing twice and encoding while closed are all defined") {
  for (const Way& way : ways()) {
    CAPTURE(way.title);
    Canvas small(way.format, 64, 64);
    Canvas large(way.format, 320, 240);
    auto encoder = way.create();
    std::vector<std::string> notes;
    CHECK(std::holds_alternative<Failed>(encoder->encode(small.planes(), {})));
    encoder->open(small.format(), {}, notes);
    CHECK(std::holds_alternative<AccessUnit>(encoder->encode(small.planes(), {})));
    encoder->open(large.format(), {}, notes);
    const EncodeResult result = encoder->encode(large.planes(), {});
    REQUIRE(std::holds_alternative<AccessUnit>(result));
    CHECK(std::get<AccessUnit>(result).keyframe);
    encoder->close();
    encoder->close();
    CHECK(std::holds_alternative<Failed>(encoder->encode(large.planes(), {})));
  }
}

TEST_CASE("encoders open, encode and close in several threads at once") {
  std::atomic<int> keyframes{0};
  std::vector<std::thread> threads;
  constexpr int kRounds = 8;
  for (const Way& way : ways()) {
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&keyframes, way] {
        Canvas canvas(way.format, 64, 64);
        for (int round = 0; round < kRounds; ++round) {
          std::vector<std::string> notes;
          const auto encoder = way.create();
          encoder->open(canvas.format(), {}, notes);
          const EncodeResult result = encoder->encode(canvas.planes(), {});
          const auto* unit = std::get_if<AccessUnit>(&result);
          if (unit != nullptr && unit->keyframe) ++keyframes;
        }
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(keyframes == static_cast<int>(threads.size()) * kRounds);
}

}  // namespace
}  // namespace kvm
