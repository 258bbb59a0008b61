// What reaches libavcodec of the settings of each hardware encoder, read back from its own
// contexts: that needs no GPU.
#include <doctest/doctest.h>

extern "C" {
#include <libavutil/opt.h>
}

#include <algorithm>
#include <string>
#include <vector>

#include "encode/avcodec/settings.hpp"
#include "encode/rate.hpp"

namespace kvm {
namespace {

// A context as avcodec_open2() would find it, up to the driver.
struct Applied {
  ff::Context context;
  std::vector<std::string> notes;
  bool taken = false;  // libavcodec knows every option and every value
};

Applied apply(const EncoderSettings& settings, const OpenAttempt& attempt,
              const StreamConfig& config = {}) {
  const ff::LogCapture log;
  const AVCodec* codec = avcodec_find_encoder_by_name(std::string(settings.name).c_str());
  REQUIRE(codec != nullptr);
  Applied applied;
  applied.context = ff::own<ff::Context>(avcodec_alloc_context3(codec));
  ff::Dictionary options;
  apply_settings(settings, attempt, {640, 368, PixelFormat::kNv12}, config, *applied.context,
                 options, applied.notes);
  applied.taken = av_opt_set_dict(applied.context->priv_data, options.out()) == 0 &&
                  options.first_key().empty();
  return applied;
}

bool has_option(const AVCodecContext& context, const char* key) {
  return av_opt_find(context.priv_data, key, nullptr, 0, 0) != nullptr;
}

// What `text` means as a value of that option.
std::int64_t number(const AVCodecContext& like, const char* key, const char* text) {
  const auto other = ff::own<ff::Context>(avcodec_alloc_context3(like.codec));
  CAPTURE(key);
  CAPTURE(text);
  REQUIRE(av_opt_set(other->priv_data, key, text, 0) == 0);
  std::int64_t value = 0;
  REQUIRE(av_opt_get_int(other->priv_data, key, 0, &value) == 0);
  return value;
}

struct Want {
  const char* key;
  const char* value;
};
// One way an encoder may be opened, and what must then stand in its options.
struct Way {
  const char* encoder;
  std::size_t attempt;
  std::vector<Want> options;
};

// From the encoders' documentation and what other low-delay programs found, not from settings.cpp.
const std::vector<Way> kWays{
    {"h264_nvenc",
     0,
     {{"preset", "p1"},
      {"tune", "ull"},
      {"rc", "vbr"},
      {"delay", "0"},
      {"surfaces", "1"},
      {"zerolatency", "1"},
      {"forced-idr", "1"},
      {"rc-lookahead", "0"},
      {"no-scenecut", "1"},
      {"b_ref_mode", "disabled"}}},
    {"h264_nvenc", 1, {{"tune", "ull"}, {"rc", "cbr"}, {"multipass", "qres"}, {"delay", "0"}}},
    {"h264_qsv",
     0,
     {{"preset", "veryfast"},
      {"async_depth", "1"},
      {"forced_idr", "1"},
      {"look_ahead", "0"},
      {"recovery_point_sei", "0"},
      {"pic_timing_sei", "0"},
      {"max_dec_frame_buffering", "1"},
      {"low_delay_brc", "1"},
      {"scenario", "displayremoting"},
      {"low_power", "1"}}},
    {"h264_qsv", 3, {{"async_depth", "1"}, {"forced_idr", "1"}, {"low_power", "0"}}},
    {"h264_amf",
     0,
     {{"usage", "ultralowlatency"},
      {"rc", "qvbr"},
      {"quality", "speed"},
      {"async_depth", "1"},
      {"latency", "1"},
      {"forced_idr", "1"},
      {"filler_data", "0"},
      {"frame_skipping", "0"}}},
    {"h264_amf", 1, {{"usage", "ultralowlatency"}, {"rc", "vbr_latency"}, {"quality", "speed"}}},
    {"h264_amf", 2, {{"usage", "lowlatency"}, {"rc", "vbr_latency"}, {"filler_data", "0"}}},
    {"h264_mf",
     0,
     {{"hw_encoding", "1"}, {"rate_control", "cbr"}, {"scenario", "display_remoting"}}},
};

TEST_CASE("every option arrives as it was meant, or a note says that this libavcodec has none") {
  std::string seen;
  for (const Way& way : kWays) {
    if (avcodec_find_encoder_by_name(way.encoder) == nullptr) continue;
    CAPTURE(way.encoder);
    CAPTURE(way.attempt);
    const EncoderSettings& settings = *find_encoder_settings(way.encoder);
    const Applied applied = apply(settings, settings.attempts[way.attempt]);
    // An older libavcodec may refuse the first way; then the next one is tried.
    if (!applied.taken && way.attempt + 1 < settings.attempts.size()) continue;
    CHECK(applied.taken);
    for (const Want& want : way.options) {
      CAPTURE(want.key);
      if (!has_option(*applied.context, want.key)) {
        const std::string note =
            std::string(way.encoder) + ": this libavcodec has no option \"" + want.key + "\"";
        CHECK(std::find(applied.notes.begin(), applied.notes.end(), note) != applied.notes.end());
        continue;
      }
      std::int64_t value = 0;
      REQUIRE(av_opt_get_int(applied.context->priv_data, want.key, 0, &value) == 0);
      CHECK(value == number(*applied.context, want.key, want.value));
    }
    seen += std::string(" ") + way.encoder;
  }
  MESSAGE("read back:" << seen);
#if defined(_WIN32)
  for (const char* name : {"h264_nvenc", "h264_qsv", "h264_mf"})
    CHECK(seen.find(name) != std::string::npos);
  // Debian 13 has no AMF that is new enough for its FFmpeg 7.1.
  if (avcodec_version() >> 16 != 61) CHECK(seen.find("h264_amf") != std::string::npos);
#endif
}

TEST_CASE("no option is of a name that no libavcodec has") {
  // Those that came after FFmpeg 5.1; AMF's first two after 7.1.
  const std::vector<std::string> newer{"h264_amf forced_idr", "h264_amf async_depth",
                                       "h264_amf latency", "h264_qsv scenario"};
  constexpr std::string_view kLacks = ": this libavcodec has no option \"";
  for (const EncoderSettings& settings : all_encoder_settings()) {
    if (avcodec_find_encoder_by_name(std::string(settings.name).c_str()) == nullptr) continue;
    for (const OpenAttempt& attempt : settings.attempts) {
      for (std::string note : apply(settings, attempt).notes) {
        const auto at = note.find(kLacks);
        if (at == std::string::npos) continue;
        note = note.substr(0, at) + " " + note.substr(at + kLacks.size());
        note.pop_back();
        CAPTURE(note);
        CHECK(std::find(newer.begin(), newer.end(), note) != newer.end());
      }
    }
  }
}

TEST_CASE("no picture waits, none is a keyframe unasked, and the ceiling is one") {
  StreamConfig config;
  config.fps = 30;
  config.bitrate = 4'000'000;
  for (const EncoderSettings& settings : all_encoder_settings()) {
    if (!settings.hardware) continue;
    if (avcodec_find_encoder_by_name(std::string(settings.name).c_str()) == nullptr) continue;
    CAPTURE(settings.name);
    for (const OpenAttempt& attempt : settings.attempts) {
      const Applied applied = apply(settings, attempt, config);
      const AVCodecContext& context = *applied.context;
      CHECK(context.gop_size == settings.gop_limit);
      CHECK(context.gop_size >= 32'767);  // at 30 pictures a second that is 18 minutes
      CHECK(context.max_b_frames == 0);
      CHECK(context.refs == 1);
      CHECK(context.slices == 1);
      CHECK(context.thread_count == 1);
      CHECK((context.flags & AV_CODEC_FLAG_CLOSED_GOP) != 0);
      CHECK(((context.flags & AV_CODEC_FLAG_LOW_DELAY) != 0) == attempt.low_delay_flag);
      CHECK(av_cmp_q(context.framerate, AVRational{30, 1}) == 0);
      CHECK(context.pix_fmt == AV_PIX_FMT_NV12);
      CHECK(context.colorspace == AVCOL_SPC_BT709);
      CHECK(context.color_primaries == AVCOL_PRI_BT709);
      CHECK(context.color_trc == AVCOL_TRC_BT709);
      CHECK(context.color_range == AVCOL_RANGE_MPEG);
      if (attempt.rate == RateMode::kConstantQp) continue;
      CHECK(context.rc_max_rate == config.bitrate);
      CHECK(context.rc_buffer_size == rate_buffer_bits(config.bitrate));
    }
  }
}

TEST_CASE("the wished quality arrives where the rate control has a place for it") {
  StreamConfig config;
  config.crf = 28.4;
  for (const EncoderSettings& settings : all_encoder_settings()) {
    if (!settings.hardware) continue;
    if (avcodec_find_encoder_by_name(std::string(settings.name).c_str()) == nullptr) continue;
    CAPTURE(settings.name);
    for (const OpenAttempt& attempt : settings.attempts) {
      const Applied applied = apply(settings, attempt, config);
      if (!applied.taken) continue;
      const char* const key = attempt.rate == RateMode::kConstantQp ? "qp" : attempt.quality_key;
      double value = 0;
      if (attempt.rate == RateMode::kQuality) {
        CHECK(applied.context->global_quality == 28);
      } else if (key != nullptr) {
        REQUIRE(av_opt_get_double(applied.context->priv_data, key, 0, &value) == 0);
        CHECK(value == 28);
      } else {
        const auto about_crf = [](const std::string& note) {
          return note.find(": crf has no counterpart") != std::string::npos;
        };
        CHECK(std::count_if(applied.notes.begin(), applied.notes.end(), about_crf) == 1);
      }
    }
  }
}

TEST_CASE("a live change takes each encoder's cheapest way") {
  const auto cost = [](const char* name) { return live_rate_cost(*find_encoder_settings(name)); };
  CHECK(cost("h264_nvenc") == UpdateResult::kKeyframe);
  CHECK(cost("h264_amf") == UpdateResult::kNeedsReopen);
  CHECK(cost("h264_mf") == UpdateResult::kNeedsReopen);
}

TEST_CASE("the settings table is complete for every encoder") {
  for (const EncoderSettings& settings : all_encoder_settings()) {
    CAPTURE(settings.name);
    CHECK_FALSE(settings.formats_420.empty());
    CHECK_FALSE(settings.attempts.empty());
    if (settings.preset_key != nullptr) CHECK(settings.preset_values.size() == 10);
    CHECK(find_encoder_settings(settings.name) == &settings);
    const AVCodec* codec = avcodec_find_encoder_by_name(std::string(settings.name).c_str());
    if (codec == nullptr) continue;
    // An older libavcodec may lack what the first attempts ask for, never all of them.
    bool accepted = false;
    for (const OpenAttempt& attempt : settings.attempts) {
      CHECK((attempt.rate == RateMode::kOption) == (attempt.quality_key != nullptr));
      const ff::LogCapture log;
      const auto context = ff::own<ff::Context>(avcodec_alloc_context3(codec));
      ff::Dictionary options;
      std::vector<std::string> notes;
      apply_settings(settings, attempt, {640, 368, PixelFormat::kNv12}, {}, *context, options,
                     notes);
      const int code = av_opt_set_dict(context->priv_data, options.out());
      accepted = accepted || (code == 0 && options.first_key().empty());
    }
    CHECK(accepted);
  }
}

TEST_CASE("a live change of bitrate states it as the encoder was opened") {
  for (const EncoderSettings& settings : all_encoder_settings()) {
    const AVCodec* codec = avcodec_find_encoder_by_name(std::string(settings.name).c_str());
    if (codec == nullptr) continue;
    CAPTURE(settings.name);
    for (const OpenAttempt& attempt : settings.attempts) {
      const auto settled = [&](int bitrate) {
        auto context = ff::own<ff::Context>(avcodec_alloc_context3(codec));
        StreamConfig config;
        config.bitrate = bitrate;
        ff::Dictionary options;
        std::vector<std::string> notes;
        apply_settings(settings, attempt, {640, 368, PixelFormat::kNv12}, config, *context, options,
                       notes);
        return context;
      };
      const auto live = settled(6'000'000);
      const auto opened = settled(1'000'000);
      apply_bitrate(attempt, 1'000'000, *live);
      CHECK(live->bit_rate == opened->bit_rate);
      CHECK(live->rc_max_rate == opened->rc_max_rate);
      CHECK(live->rc_min_rate == opened->rc_min_rate);
      CHECK(live->rc_buffer_size == opened->rc_buffer_size);
    }
  }
}

TEST_CASE("QuickSync takes a new bitrate while it runs from FFmpeg 6.0 on") {
  const EncoderSettings* qsv = find_encoder_settings("h264_qsv");
  REQUIRE(qsv != nullptr);
  const bool live = avcodec_version() >= AV_VERSION_INT(60, 0, 0);
  CHECK(live_rate_cost(*qsv) == (live ? UpdateResult::kKeyframe : UpdateResult::kNeedsReopen));
}

TEST_CASE("what pictures the linked libavcodec takes is asked for") {
  int found = 0;
  for (const EncoderSettings& settings : all_encoder_settings()) {
    const AVCodec* codec = avcodec_find_encoder_by_name(std::string(settings.name).c_str());
    if (codec == nullptr) continue;
    ++found;
    CAPTURE(settings.name);
    const bool vaapi = settings.input == InputMemory::kVaapi;
    CHECK(takes_pixels(*codec, AV_PIX_FMT_NV12) != vaapi);
    CHECK(takes_pixels(*codec, AV_PIX_FMT_VAAPI) == vaapi);
    CHECK(!takes_pixels(*codec, AV_PIX_FMT_PAL8));
  }
  CHECK(found > 0);
}

}  // namespace
}  // namespace kvm
