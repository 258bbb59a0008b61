// The table of libavcodec's encoders, and what those answer whose hardware is not there.
#include "encode/avcodec/settings.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

extern "C" {
#include <libavutil/opt.h>
}

#include <cstdio>
#include <string>
#include <vector>

#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/rate.hpp"
#include "encode_support.hpp"

namespace kvm {
namespace {

using test::Canvas;
using test::Session;

// What is written to file descriptor 2 while it lives.
class StderrCapture {
 public:
  StderrCapture() : file_(std::tmpfile()), saved_(::dup(2)) {
    std::fflush(stderr);
    ::dup2(::fileno(file_), 2);
  }
  ~StderrCapture() {
    (void)finish();
    std::fclose(file_);
  }
  [[nodiscard]] long finish() {
    if (saved_ >= 0) {
      std::fflush(stderr);
      ::dup2(saved_, 2);
      ::close(saved_);
      saved_ = -1;
    }
    std::fseek(file_, 0, SEEK_END);
    return std::ftell(file_);
  }

 private:
  std::FILE* file_;
  int saved_;
};

TEST_CASE("encoders without their hardware say why, in the error and not on stderr") {
  StderrCapture capture;
  std::vector<std::string> texts;
  for (const EncoderSettings& settings : all_encoder_settings()) {
    if (!settings.hardware) continue;
    Canvas canvas(PixelFormat::kNv12, 640, 368);
    std::vector<std::string> notes;
    try {
      const auto encoder = make_avcodec_encoder(settings.name);
      encoder->open(canvas.format(), {}, notes);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kEncoder);
      texts.emplace_back(error.what());
    }
  }
  const auto encoder = make_avcodec_encoder("libx264");
  Canvas canvas(PixelFormat::kNv12, 320, 240);
  Session session(make_avcodec_encoder("libx264"), canvas);
  (void)session.encode(canvas);
  session.encoder().close();
  CHECK(capture.finish() == 0);
  for (const std::string& text : texts) {
    CAPTURE(text);
    CHECK(text.size() > 20);
    CHECK(text.find("h264_") == 0);
  }
}

TEST_CASE("names that are not ours are refused with those that are") {
  CHECK_THROWS_WITH_AS((void)make_avcodec_encoder("mpeg2video"),
                       doctest::Contains("must be one of libx264"), Error);
  CHECK(avcodec_has_encoder("libx264"));
  CHECK_FALSE(avcodec_has_encoder("h264_of_nobody"));
  CHECK_FALSE(ffmpeg_version().empty());
  CHECK_FALSE(ffmpeg_license().empty());
}

TEST_CASE("x264 through libavcodec looks further where its fastest preset would not") {
  const EncoderSettings* x264 = find_encoder_settings("libx264");
  const AVCodec* codec = avcodec_find_encoder_by_name("libx264");
  REQUIRE(codec != nullptr);
  for (const char* preset : {"ultrafast", "superfast", "medium"}) {
    CAPTURE(preset);
    const auto context = ff::own<ff::Context>(avcodec_alloc_context3(codec));
    const int untouched = context->me_range;
    StreamConfig config;
    config.preset = preset;
    ff::Dictionary options;
    std::vector<std::string> notes;
    apply_settings(*x264, x264->attempts.front(), {640, 368, PixelFormat::kNv12}, config, *context,
                   options, notes);
    CHECK(notes.empty());
    REQUIRE(av_opt_set_dict(context->priv_data, options.out()) == 0);
    std::int64_t method = 0;
    REQUIRE(av_opt_get_int(context->priv_data, "motion-est", 0, &method) == 0);
    const bool wide = std::string(preset) == "ultrafast";
    CHECK(context->me_range == (wide ? 32 : untouched));
    CHECK((method >= 0) == wide);
  }
}

TEST_CASE("what an update costs: a keyframe for the bitrate, another encoder for crf") {
  using enum UpdateResult;
  const RateSettings applied{60.0, 6'000'000, 23.0};
  const auto cost = [&](UpdateResult live, int bitrate, double crf, bool quality = true) {
    return cost_of_update(live, quality, applied, {60.0, bitrate, crf});
  };
  CHECK(cost(kKeyframe, 6'000'000, 23.0) == kSeamless);
  CHECK(cost(kKeyframe, 5'500'000, 23.4) == kSeamless);
  CHECK(cost(kKeyframe, 3'000'000, 23.0) == kKeyframe);
  CHECK(cost(kKeyframe, 6'000'000, 30.0) == kNeedsReopen);
  CHECK(cost(kKeyframe, 3'000'000, 30.0) == kNeedsReopen);
  CHECK(cost(kKeyframe, 6'000'000, 30.0, false) == kSeamless);
  CHECK(cost(kNeedsReopen, 3'000'000, 23.0) == kNeedsReopen);
  CHECK(cost(kNeedsReopen, 5'500'000, 23.0) == kSeamless);
  CHECK(cost(kSeamless, 3'000'000, 30.0) == kSeamless);
}

}  // namespace
}  // namespace kvm
