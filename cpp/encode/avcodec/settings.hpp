// What each H.264 encoder of libavcodec needs for no delay, an infinite GOP and capped quality, as
// one table.
#pragma once

#include <climits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encode/avcodec/ffmpeg.hpp"
#include "encode/encoder.hpp"

namespace kvm {

struct CodecOption {
  const char* key;
  const char* value;
};

// How the wished quality and the ceiling reach the encoder.
enum class RateMode {
  kCrf,         // x264: crf under a VBV
  kOption,      // OpenAttempt::quality_key under the maximum rate
  kQuality,     // global_quality under the maximum rate
  kVbr,         // rates only
  kCbr,         // rates only, average = maximum
  kConstantQp,  // no ceiling: the last resort of drivers without rate control
};

// One way to open an encoder; when the driver refuses it the next one is tried.
struct OpenAttempt {
  RateMode rate;
  std::span<const CodecOption> options;  // on top of EncoderSettings::options
  const char* quality_key = nullptr;     // kOption: which option takes the quality
  bool low_delay_flag = true;            // AV_CODEC_FLAG_LOW_DELAY
};

enum class InputMemory {
  kBorrowed,  // libavcodec reads the planes during the call
  kCopied,    // it keeps a reference past the call: it gets its own copy
  kVaapi,     // uploaded to a VA surface
};

// Which of a GPU's textures an encoder takes.
enum class TextureInput {
  kNone,
  kBgra,  // D3D11; it converts them itself
  kNv12,  // D3D11
  kQsv,   // D3D11, NV12, as surfaces of a QuickSync session on the same device
};

struct EncoderSettings {
  std::string_view name;  // libavcodec's
  bool hardware = true;
  InputMemory input = InputMemory::kCopied;
  TextureInput textures = TextureInput::kNone;
  std::span<const PixelFormat> formats_420 = {};
  std::span<const PixelFormat> formats_444 = {};
  int gop_limit = INT_MAX;  // pictures; several drivers keep the GOP in 16 bits
  UpdateResult rate_update = UpdateResult::kNeedsReopen;  // what another bitrate costs
  unsigned live_rate_since = 0;  // libavcodec's major version; before, it needs a reopen
  std::span<const CodecOption> options = {};
  std::span<const OpenAttempt> attempts = {};
  const char* preset_key = nullptr;                 // null: no speed setting
  std::span<const char* const> preset_values = {};  // one for each of x264's presets, fastest first
  int wide_search = 0;  // pixels that the fastest preset's search is widened to; 0 = as it comes
  std::span<const char* const> unused = {};  // fields of StreamConfig without a counterpart
};

[[nodiscard]] std::span<const EncoderSettings> all_encoder_settings();
[[nodiscard]] const EncoderSettings* find_encoder_settings(std::string_view name);

// What BGRA becomes where an encoder's own hardware converts it.
inline constexpr int kTextureMatrix = 6;  // BT.601, of ISO/IEC 23091-2

// Whether the linked libavcodec gives that encoder such pictures.
[[nodiscard]] bool takes_pixels(const AVCodec& codec, AVPixelFormat pixels);
// What another bitrate costs with the linked libavcodec.
[[nodiscard]] UpdateResult live_rate_cost(const EncoderSettings& settings);
// Whether an encoder opened like this heeds crf.
[[nodiscard]] bool quality_counts(const OpenAttempt& attempt) noexcept;
// The ceiling, as that attempt states it; also while the encoder runs.
void apply_bitrate(const OpenAttempt& attempt, int bitrate, AVCodecContext& context);
// Fills `context` and `options` for avcodec_open2(). Options that this build of libavcodec does not
// know are left out with a line in `notes`.
void apply_settings(const EncoderSettings& settings, const OpenAttempt& attempt,
                    const EncoderFormat& format, const StreamConfig& config,
                    AVCodecContext& context, ff::Dictionary& options,
                    std::vector<std::string>& notes);

}  // namespace kvm
