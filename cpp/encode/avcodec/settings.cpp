#include "encode/avcodec/settings.hpp"

extern "C" {
#include <libavutil/opt.h>
#include <libavutil/rational.h>
}

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "encode/presets.hpp"
#include "encode/rate.hpp"

namespace kvm {
namespace {

using enum RateMode;

constexpr std::array kNv12{PixelFormat::kNv12};
constexpr std::array kI444{PixelFormat::kI444};
// x264 works on NV12 inside: I420 costs it an interleave.
constexpr std::array kNv12OrI420{PixelFormat::kNv12, PixelFormat::kI420};

constexpr std::array kTuneUnused{"tune"};
constexpr std::array kPresetTuneUnused{"preset", "tune"};

// ---- libx264
// -------------------------------------------------------------------------------------------------
// x264's own option names, in effect whatever preset and tune say: no picture may wait inside the
// encoder.
//   qcomp=1    crf is the quantiser itself, whatever the content: quality is predictable
//   ipratio=1  keyframes are not coded finer than what follows: refinement sharpens both
constexpr const char* kX264Params =
    "keyint=infinite:scenecut=0:bframes=0:ref=1:rc-lookahead=0:sync-lookahead=0:mbtree=0:"
    "sliced-threads=1:force-cfr=1:weightp=0:intra-refresh=0:repeat-headers=1:annexb=1:nal-hrd=none:"
    "qcomp=1:ipratio=1";
constexpr std::array kX264Options{CodecOption{"forced-idr", "1"},
                                  CodecOption{"x264-params", kX264Params}};
constexpr std::array kX264Attempts{OpenAttempt{kCrf, {}}};
// docs/tuning.md has the figures: a seventh of the bits of scrolled text for a twelfth of the CPU;
// 64 saves little more, and takes a quarter more CPU on film.
constexpr int kX264Search = 32;

// ---- h264_nvenc
// ----------------------------------------------------------------------------------------------
// surfaces=1 and delay=0: the default keeps several pictures back.
constexpr std::array kNvencOptions{
    CodecOption{"tune", "ull"},      CodecOption{"delay", "0"},
    CodecOption{"surfaces", "1"},    CodecOption{"zerolatency", "1"},
    CodecOption{"forced-idr", "1"},  CodecOption{"rc-lookahead", "0"},
    CodecOption{"no-scenecut", "1"}, CodecOption{"b_ref_mode", "0"},
};
constexpr std::array kNvencVbr{CodecOption{"rc", "vbr"}};
constexpr std::array kNvencCbr{CodecOption{"rc", "cbr"}, CodecOption{"multipass", "qres"}};
constexpr std::array kNvencAttempts{OpenAttempt{kOption, kNvencVbr, "cq"},
                                    OpenAttempt{kCbr, kNvencCbr}};
constexpr std::array kNvencPresets{"p1", "p1", "p2", "p3", "p4", "p4", "p5", "p6", "p7", "p7"};

// ---- h264_qsv
// ------------------------------------------------------------------------------------------------
constexpr std::array kQsvOptions{
    CodecOption{"async_depth", "1"},    CodecOption{"forced_idr", "1"},
    CodecOption{"look_ahead", "0"},     CodecOption{"recovery_point_sei", "0"},
    CodecOption{"pic_timing_sei", "0"}, CodecOption{"max_dec_frame_buffering", "1"},
    CodecOption{"low_delay_brc", "1"},  CodecOption{"scenario", "displayremoting"},
};
constexpr std::array kQsvLowPower{CodecOption{"low_power", "1"}};
constexpr std::array kQsvFullPower{CodecOption{"low_power", "0"}};  // old and low-end chips
constexpr std::array kQsvAttempts{
    OpenAttempt{kQuality, kQsvLowPower}, OpenAttempt{kVbr, kQsvLowPower},
    OpenAttempt{kQuality, kQsvFullPower}, OpenAttempt{kVbr, kQsvFullPower}};
constexpr std::array kQsvPresets{"veryfast", "veryfast", "veryfast", "faster",   "fast",
                                 "medium",   "slow",     "slower",   "veryslow", "veryslow"};

// ---- h264_amf
// ------------------------------------------------------------------------------------------------
constexpr std::array kAmfOptions{
    CodecOption{"async_depth", "1"},    CodecOption{"latency", "1"},
    CodecOption{"forced_idr", "1"},     CodecOption{"filler_data", "0"},
    CodecOption{"frame_skipping", "0"},
};
constexpr std::array kAmfUltraLowQuality{CodecOption{"usage", "ultralowlatency"},
                                         CodecOption{"rc", "qvbr"}};
constexpr std::array kAmfUltraLow{CodecOption{"usage", "ultralowlatency"},
                                  CodecOption{"rc", "vbr_latency"}};
constexpr std::array kAmfLow{CodecOption{"usage", "lowlatency"}, CodecOption{"rc", "vbr_latency"}};
constexpr std::array kAmfAttempts{OpenAttempt{kOption, kAmfUltraLowQuality, "qvbr_quality_level"},
                                  OpenAttempt{kVbr, kAmfUltraLow}, OpenAttempt{kVbr, kAmfLow}};
constexpr std::array kAmfPresets{"speed",    "speed",   "speed",   "speed",   "balanced",
                                 "balanced", "quality", "quality", "quality", "quality"};

// ---- h264_vaapi
// ----------------------------------------------------------------------------------------------
constexpr std::array kVaapiOptions{CodecOption{"async_depth", "1"}, CodecOption{"sei", "0"}};
constexpr std::array kVaapiLowQvbr{CodecOption{"low_power", "1"}, CodecOption{"rc_mode", "QVBR"}};
constexpr std::array kVaapiLowVbr{CodecOption{"low_power", "1"}, CodecOption{"rc_mode", "VBR"}};
constexpr std::array kVaapiQvbr{CodecOption{"rc_mode", "QVBR"}};
constexpr std::array kVaapiVbr{CodecOption{"rc_mode", "VBR"}};
constexpr std::array kVaapiCbr{CodecOption{"rc_mode", "CBR"}};
constexpr std::array kVaapiCqp{CodecOption{"rc_mode", "CQP"}};
constexpr std::array kVaapiAttempts{
    OpenAttempt{kQuality, kVaapiLowQvbr}, OpenAttempt{kVbr, kVaapiLowVbr},
    OpenAttempt{kQuality, kVaapiQvbr},    OpenAttempt{kVbr, kVaapiVbr},
    OpenAttempt{kCbr, kVaapiCbr},         OpenAttempt{kConstantQp, kVaapiCqp}};

// ---- h264_mf, h264_videotoolbox
// ------------------------------------------------------------------------------
constexpr std::array kMfOptions{CodecOption{"hw_encoding", "1"}, CodecOption{"rate_control", "cbr"},
                                CodecOption{"scenario", "display_remoting"}};
constexpr std::array kMfAttempts{OpenAttempt{kCbr, {}}};
constexpr std::array kAllUnused{"preset", "tune", "crf"};

constexpr std::array kVideotoolboxOptions{
    CodecOption{"realtime", "1"}, CodecOption{"prio_speed", "1"}, CodecOption{"allow_sw", "0"}};
// The low-delay flag selects a rate control that some chips refuse.
constexpr std::array kVideotoolboxAttempts{OpenAttempt{kVbr, {}, nullptr, true},
                                           OpenAttempt{kVbr, {}, nullptr, false}};

constexpr int kGop16 = 32'767;

constexpr std::array<EncoderSettings, 7> kEncoders{{
    {.name = "libx264",
     .hardware = false,
     .input = InputMemory::kBorrowed,
     .formats_420 = kNv12OrI420,
     .formats_444 = kI444,
     .rate_update = UpdateResult::kSeamless,
     .options = kX264Options,
     .attempts = kX264Attempts,
     .preset_key = "preset",
     .preset_values = kX264Presets,
     .wide_search = kX264Search},
    {.name = "h264_nvenc",
     .input = InputMemory::kBorrowed,
     .textures = TextureInput::kBgra,
     .formats_420 = kNv12,
     .formats_444 = kI444,
     .rate_update = UpdateResult::kKeyframe,
     .options = kNvencOptions,
     .attempts = kNvencAttempts,
     .preset_key = "preset",
     .preset_values = kNvencPresets,
     .unused = kTuneUnused},
    {.name = "h264_vaapi",
     .input = InputMemory::kVaapi,
     .formats_420 = kNv12,
     .gop_limit = kGop16,
     .options = kVaapiOptions,
     .attempts = kVaapiAttempts,
     .unused = kPresetTuneUnused},
    {.name = "h264_qsv",
     .textures = TextureInput::kQsv,
     .formats_420 = kNv12,
     .gop_limit = kGop16,
     .rate_update = UpdateResult::kKeyframe,
     .live_rate_since = 60,
     .options = kQsvOptions,
     .attempts = kQsvAttempts,
     .preset_key = "preset",
     .preset_values = kQsvPresets,
     .unused = kTuneUnused},
    {.name = "h264_amf",
     .textures = TextureInput::kNv12,
     .formats_420 = kNv12,
     .options = kAmfOptions,
     .attempts = kAmfAttempts,
     .preset_key = "quality",
     .preset_values = kAmfPresets,
     .unused = kTuneUnused},
    {.name = "h264_mf",
     .textures = TextureInput::kNv12,
     .formats_420 = kNv12,
     .options = kMfOptions,
     .attempts = kMfAttempts,
     .unused = kAllUnused},
    {.name = "h264_videotoolbox",
     .formats_420 = kNv12,
     .options = kVideotoolboxOptions,
     .attempts = kVideotoolboxAttempts,
     .unused = kAllUnused},
}};

[[nodiscard]] AVPixelFormat to_av(PixelFormat format) {
  switch (format) {
    case PixelFormat::kNv12:
      return AV_PIX_FMT_NV12;
    case PixelFormat::kI420:
      return AV_PIX_FMT_YUV420P;
    case PixelFormat::kI444:
      return AV_PIX_FMT_YUV444P;
    case PixelFormat::kBgra:
      return AV_PIX_FMT_BGR0;
  }
  return AV_PIX_FMT_NONE;
}

[[nodiscard]] std::string preset_value(const EncoderSettings& settings, const std::string& preset) {
  const auto at = std::find_if(kX264Presets.begin(), kX264Presets.end(),
                               [&](const char* name) { return preset == name; });
  return settings.preset_values[static_cast<std::size_t>(at - kX264Presets.begin())];
}

// Not std::to_string: the decimal point must not follow the process's locale.
[[nodiscard]] std::string number_text(double value) {
  std::array<char, 32> text{};
  const auto result = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), result.ptr};
}

void apply_rate(const OpenAttempt& attempt, const StreamConfig& config, AVCodecContext& context,
                ff::Dictionary& options) {
  apply_bitrate(attempt, config.bitrate, context);
  const int quality = std::clamp(static_cast<int>(std::lround(config.crf)), 1, 51);
  switch (attempt.rate) {
    case kCrf:
      options.set("crf", number_text(config.crf));
      break;
    case kOption:
      options.set(attempt.quality_key, std::to_string(quality));
      break;
    case kQuality:
      context.global_quality = quality;
      break;
    case kVbr:
    case kCbr:
      break;
    case kConstantQp:
      options.set("qp", std::to_string(quality));
      break;
  }
}

}  // namespace

std::span<const EncoderSettings> all_encoder_settings() {
  return kEncoders;
}

const EncoderSettings* find_encoder_settings(std::string_view name) {
  for (const EncoderSettings& settings : kEncoders) {
    if (settings.name == name) return &settings;
  }
  return nullptr;
}

bool takes_pixels(const AVCodec& codec, AVPixelFormat pixels) {
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(61, 13, 100)
  const void* list = nullptr;
  if (avcodec_get_supported_config(nullptr, &codec, AV_CODEC_CONFIG_PIX_FORMAT, 0, &list, nullptr) <
      0)
    return false;
  const auto* each = static_cast<const AVPixelFormat*>(list);
#else
  const AVPixelFormat* each = codec.pix_fmts;
#endif
  while (each != nullptr && *each != AV_PIX_FMT_NONE && *each != pixels) ++each;
  return each != nullptr && *each == pixels;
}

UpdateResult live_rate_cost(const EncoderSettings& settings) {
  const bool live = avcodec_version() >> 16 >= settings.live_rate_since;
  return live ? settings.rate_update : UpdateResult::kNeedsReopen;
}

bool quality_counts(const OpenAttempt& attempt) noexcept {
  return attempt.rate != kVbr && attempt.rate != kCbr;
}

void apply_bitrate(const OpenAttempt& attempt, int bitrate, AVCodecContext& context) {
  context.rc_max_rate = bitrate;
  context.rc_buffer_size = rate_buffer_bits(bitrate);
  switch (attempt.rate) {
    case kCrf:
    case kOption:  // NVENC sets its mean to none, and must find it so
      break;
    case kQuality:
      // Below the maximum, or the encoder takes it for constant bit rate.
      context.bit_rate = bitrate - bitrate / 10;
      break;
    case kVbr:
      context.bit_rate = bitrate - 1;
      break;
    case kCbr:
      context.bit_rate = bitrate;
      context.rc_min_rate = bitrate;
      break;
    case kConstantQp:
      context.rc_max_rate = 0;
      context.rc_buffer_size = 0;
      break;
  }
}

void apply_settings(const EncoderSettings& settings, const OpenAttempt& attempt,
                    const EncoderFormat& format, const StreamConfig& config,
                    AVCodecContext& context, ff::Dictionary& options,
                    std::vector<std::string>& notes) {
  context.width = format.width;
  context.height = format.height;
  context.pix_fmt = to_av(format.pixel_format);
  context.sample_aspect_ratio = {1, 1};
  // Timestamps count pictures: rate control inside the encoders is then one of constant frame rate,
  // and the access units carry the true times.
  context.framerate = av_d2q(config.fps, 1000);
  context.time_base = av_inv_q(context.framerate);
  context.gop_size = settings.gop_limit;
  context.max_b_frames = 0;
  context.refs = 1;
  context.slices = settings.hardware ? 1 : software_threads();
  context.thread_type = FF_THREAD_SLICE;
  context.thread_count = settings.hardware ? 1 : software_threads();
  context.flags |= AV_CODEC_FLAG_CLOSED_GOP;
  if (attempt.low_delay_flag) context.flags |= AV_CODEC_FLAG_LOW_DELAY;
  context.flags2 |= AV_CODEC_FLAG2_FAST;
  context.color_primaries = AVCOL_PRI_BT709;
  context.color_trc = AVCOL_TRC_BT709;
  context.colorspace = AVCOL_SPC_BT709;
  context.color_range = AVCOL_RANGE_MPEG;
  apply_rate(attempt, config, context, options);

  const auto set_known = [&](const std::string& key, const std::string& value) {
    const AVClass* options_class = context.codec->priv_class;
    if (options_class != nullptr &&
        av_opt_find(&options_class, key.c_str(), nullptr, 0, AV_OPT_SEARCH_FAKE_OBJ) != nullptr) {
      options.set(key, value);
    } else {
      notes.push_back(std::string(settings.name) + ": this libavcodec has no option \"" + key +
                      "\"");
    }
  };
  if (settings.preset_key != nullptr) {
    set_known(settings.preset_key, preset_value(settings, config.preset));
  }
  if (!settings.hardware) set_known("tune", low_delay_tune(config.tune));
  if (settings.wide_search > 0 && config.preset == kX264Presets.front()) {
    set_known("motion-est", "umh");
    context.me_range = settings.wide_search;
  }
  for (const CodecOption& option : settings.options) set_known(option.key, option.value);
  for (const CodecOption& option : attempt.options) set_known(option.key, option.value);

  for (const char* field : settings.unused) {
    // Hardware always runs in its low-delay mode, so the default tune is no loss worth a note.
    if (std::string_view(field) == "tune" && config.tune == "zerolatency") continue;
    notes.push_back(std::string(settings.name) + ": " + field + " has no counterpart");
  }
  if (!quality_counts(attempt) && !contains_name(settings.unused, "crf")) {
    notes.push_back(std::string(settings.name) +
                    ": crf has no counterpart in this driver's rate control");
  }
  if (attempt.rate == kConstantQp) {
    notes.push_back(std::string(settings.name) +
                    ": this driver has no rate control, bitrate is not a ceiling");
  }
}

}  // namespace kvm
