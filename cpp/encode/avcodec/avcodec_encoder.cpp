#include "encode/avcodec/avcodec_encoder.hpp"

extern "C" {
#include <libavutil/opt.h>
}

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#if defined(_WIN32)
#include "encode/avcodec/d3d11_frames.hpp"
#endif
#include "encode/avcodec/cpu_frame.hpp"
#include "encode/avcodec/damage_hint.hpp"
#include "encode/avcodec/ffmpeg.hpp"
#include "encode/avcodec/settings.hpp"
#include "encode/avcodec/vaapi.hpp"
#include "encode/h264_sps.hpp"
#include "encode/presets.hpp"
#include "encode/rate.hpp"

namespace kvm {

class D3d11Frames;  // of Windows

namespace {

// x264_encoder_open and _close are not safe against each other in different threads, in any
// instance of this process; the same is said of several drivers. One mutex per process is what x264
// asks for.
[[nodiscard]] std::mutex& open_close_mutex() {
  static std::mutex mutex;
  return mutex;
}

class AvcodecEncoder final : public Encoder {
 public:
  explicit AvcodecEncoder(const EncoderSettings& settings)
      : settings_(settings), rate_cost_(live_rate_cost(settings)) {}
  ~AvcodecEncoder() override { AvcodecEncoder::close(); }

  [[nodiscard]] std::string_view name() const override { return settings_.name; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma chroma) const override {
    return chroma == Chroma::k444 ? settings_.formats_444 : settings_.formats_420;
  }
  void open(const EncoderFormat& format, const StreamConfig& config,
            std::vector<std::string>& notes) override;
  [[nodiscard]] EncodeResult encode(const CpuPlanes& planes, const EncodeHints& hints) override;
#if defined(_WIN32)
  [[nodiscard]] bool takes_textures() const override { return textures_ != nullptr; }
  [[nodiscard]] EncodeResult encode_texture(const GpuPicture& picture,
                                            const EncodeHints& hints) override;
#endif
  [[nodiscard]] std::vector<AccessUnit> drain() override;
  [[nodiscard]] UpdateResult update(const RateSettings& rate) override;
  void close() override;

 private:
  struct Pending {  // a picture inside the encoder
    std::int64_t pts_us;
    bool keyframe;
  };

  // Where pictures come from: a render node by its name, a GPU's textures, or memory.
  struct Source {
    std::string node;
    std::shared_ptr<D3d11Frames> textures = {};
  };
  // By the first attempt that works. These return "" or why not.
  [[nodiscard]] std::string open_any(const AVCodec& codec, const Source& source,
                                     const StreamConfig& config, std::vector<std::string>& notes);
  [[nodiscard]] std::string try_open(const AVCodec& codec, const OpenAttempt& attempt,
                                     const Source& source, const StreamConfig& config,
                                     std::vector<std::string>& notes);
  // Whether the last change of rate that cost a keyframe is long enough ago for another.
  [[nodiscard]] bool rested(std::int64_t wall_ns) const {
    return wall_ns - last_change_ns_ >= 2 * kNsPerSec;
  }
  // `input`'s time and kind are set here. Throws Error{kEncoder}.
  [[nodiscard]] EncodeResult submit(AVFrame& input, const EncodeHints& hints,
                                    const ff::LogCapture& log);
  void apply_live_rate(const EncodeHints& hints);
  void attach_damage(AVFrame& frame, const TileMap* damage) const;
  [[nodiscard]] EncodeResult receive(const ff::LogCapture& log, bool wait);
  [[nodiscard]] EncodeResult make_access_unit();

  const EncoderSettings& settings_;
  const UpdateResult rate_cost_;
  OpenAttempt attempt_{};  // the one that opened it
  EncoderFormat format_;
  ff::Context context_;
  std::optional<VaapiSurfaces> surfaces_;
  std::shared_ptr<D3d11Frames> textures_;
  ColourDescription colour_;
  CpuFrame frame_;
  ff::Packet packet_;
  std::deque<Pending> pending_;  // at most what the encoder holds back: one picture in flight
  std::vector<std::uint8_t> parameter_sets_;
  std::int64_t next_picture_ = 0;
  RateSettings wanted_;
  RateSettings applied_;
  WallClockBudget budget_;
  std::int64_t last_change_ns_ = 0;
  [[maybe_unused]] bool video_hints_ = false;  // the encoder takes damage as side data
};

void AvcodecEncoder::open(const EncoderFormat& format, const StreamConfig& config,
                          std::vector<std::string>& notes) {
  close();
  check_preset_and_tune(config.preset, config.tune);
  const std::string name(settings_.name);
  const AVCodec* codec = avcodec_find_encoder_by_name(name.c_str());
  if (codec == nullptr) {
    throw Error(ErrorKind::kEncoder, name + " is not in the linked libavcodec " + ffmpeg_version());
  }
  const auto formats = accepts(config.chroma);
  if (std::find(formats.begin(), formats.end(), format.pixel_format) == formats.end()) {
    throw Error(ErrorKind::kEncoder, name + " does not take this pixel format");
  }
  format_ = format;
  std::string reasons;
  const auto add_reason = [&reasons](const std::string& reason) {
    if (reasons.find(reason) == std::string::npos)
      reasons += (reasons.empty() ? "" : "; ") + reason;
  };
  if (format.textures && settings_.textures != TextureInput::kNone &&
      config.chroma == Chroma::k420) {
    std::string reason = "textures are those of Windows";
#if defined(_WIN32)
    if (const auto frames = D3d11Frames::make(*codec, format, settings_.textures, reason))
      reason = open_any(*codec, {"", frames}, config, notes);
#endif
    if (reason.empty()) return;
    add_reason(reason);
    notes.push_back(
        name + ": pictures take the way through memory, as no texture can be encoded: " + reason);
  }
  std::vector<std::string> nodes{""};
  if (settings_.input == InputMemory::kVaapi) {
    nodes = render_nodes();
    if (nodes.empty()) {
      throw Error(ErrorKind::kEncoder,
                  name + ": no readable /dev/dri/renderD*; is the user in group render?");
    }
  }
  for (const std::string& node : nodes) {
    const std::string reason = open_any(*codec, {node}, config, notes);
    if (reason.empty()) return;
    add_reason(reason);
  }
  throw Error(ErrorKind::kEncoder, name + ": " + reasons);
}

std::string AvcodecEncoder::open_any(const AVCodec& codec, const Source& source,
                                     const StreamConfig& config, std::vector<std::string>& notes) {
  std::string reasons;
  for (const OpenAttempt& attempt : settings_.attempts) {
    std::vector<std::string> attempt_notes;
    const std::string reason = try_open(codec, attempt, source, config, attempt_notes);
    if (reason.empty()) {
      notes.insert(notes.end(), attempt_notes.begin(), attempt_notes.end());
      attempt_ = attempt;
      wanted_ = applied_ = {config.fps, config.bitrate, config.crf};
      budget_ = WallClockBudget(config.fps);
      return {};
    }
    if (reasons.find(reason) == std::string::npos)
      reasons += (reasons.empty() ? "" : "; ") + reason;
  }
  return reasons;
}

std::string AvcodecEncoder::try_open(const AVCodec& codec, const OpenAttempt& attempt,
                                     const Source& source, const StreamConfig& config,
                                     std::vector<std::string>& notes) {
  const ff::LogCapture log;
  context_ = ff::own<ff::Context>(avcodec_alloc_context3(&codec));
  ff::Dictionary options;
  apply_settings(settings_, attempt, format_, config, *context_, options, notes);
  const AVPixelFormat pixels = context_->pix_fmt;  // of the CPU planes
  try {
    if (settings_.input == InputMemory::kVaapi) {
      surfaces_.emplace(source.node, format_, pixels, log);
      context_->pix_fmt = AV_PIX_FMT_VAAPI;
      context_->hw_frames_ctx = surfaces_->reference();
    }
#if defined(_WIN32)
    if (source.textures) {
      textures_ = source.textures;
      context_->pix_fmt = D3d11Frames::pixels_of(settings_.textures);
      context_->hw_frames_ctx = textures_->reference();
      if (settings_.textures == TextureInput::kBgra) {
        colour_.matrix = kTextureMatrix;
        context_->colorspace = static_cast<AVColorSpace>(kTextureMatrix);
      }
    }
#endif
#if KVM_HAS_VIDEO_HINT
    const AVClass* private_class = codec.priv_class;
    video_hints_ = private_class != nullptr && av_opt_find(&private_class, "mb_info", nullptr, 0,
                                                           AV_OPT_SEARCH_FAKE_OBJ) != nullptr;
    if (video_hints_) options.set("mb_info", "1");
#endif
    const std::lock_guard lock(open_close_mutex());
    ff::check(avcodec_open2(context_.get(), &codec, options.out()), "open", log);
  } catch (const Error& error) {
    close();
    return error.what();
  }
  frame_ = CpuFrame(format_, pixels,
                    settings_.input == InputMemory::kCopied ? CpuFrame::Planes::kCopied
                                                            : CpuFrame::Planes::kBorrowed);
  packet_ = ff::own<ff::Packet>(av_packet_alloc());
  return {};
}

void AvcodecEncoder::close() {
  if (context_) {
    const ff::LogCapture log;  // encoders sum up their work in the log when they close
    const std::lock_guard lock(open_close_mutex());
    context_.reset();
  }
  surfaces_.reset();
  textures_.reset();
  colour_ = {};
  frame_ = {};
  packet_.reset();
  pending_.clear();
  parameter_sets_.clear();
  next_picture_ = 0;
}

void AvcodecEncoder::attach_damage([[maybe_unused]] AVFrame& frame,
                                   [[maybe_unused]] const TileMap* damage) const {
#if KVM_HAS_VIDEO_HINT
  attach_damage_hint(frame, video_hints_ ? damage : nullptr);
#endif
}

void AvcodecEncoder::apply_live_rate(const EncodeHints& hints) {
  if (rate_cost_ == UpdateResult::kSeamless) {
    const double crf = refined_crf(wanted_.crf, hints.refine_step);
    av_opt_set_double(context_->priv_data, "crf", crf, 0);
    context_->rc_buffer_size = rate_buffer_bits(wanted_.bitrate);
    context_->rc_max_rate = budget_.max_rate(wanted_.bitrate, hints.wall_ns);
    applied_ = wanted_;
  } else if (rate_cost_ == UpdateResult::kKeyframe && applied_.bitrate != wanted_.bitrate) {
    // Any change resets the encoder and costs a keyframe: take one that is due anyway, else small
    // steps wait.
    if (hints.keyframe ||
        (rested(hints.wall_ns) && worth_a_keyframe(applied_.bitrate, wanted_.bitrate))) {
      apply_bitrate(attempt_, wanted_.bitrate, *context_);
      applied_.bitrate = wanted_.bitrate;
      last_change_ns_ = hints.wall_ns;
    }
  }
}

EncodeResult AvcodecEncoder::encode(const CpuPlanes& planes, const EncodeHints& hints) {
  if (!context_) return Failed{"the encoder is not open"};
  const ff::LogCapture log;
  try {
    AVFrame& frame = frame_.of(planes);
    attach_damage(frame, hints.damage);
    return submit(surfaces_ ? *surfaces_->upload(frame, log) : frame, hints, log);
  } catch (const Error& error) {
    return Failed{std::string(settings_.name) + ": " + error.what()};
  }
}

#if defined(_WIN32)
EncodeResult AvcodecEncoder::encode_texture(const GpuPicture& picture, const EncodeHints& hints) {
  if (!textures_) return Failed{"the encoder was not opened for textures"};
  const ff::LogCapture log;
  try {
    return submit(*textures_->frame_of(picture, log), hints, log);
  } catch (const Error& error) {
    return Failed{std::string(settings_.name) + ": " + error.what()};
  }
}
#endif

EncodeResult AvcodecEncoder::submit(AVFrame& input, const EncodeHints& hints,
                                    const ff::LogCapture& log) {
  apply_live_rate(hints);
  const bool keyframe = hints.keyframe || next_picture_ == 0;
  input.pts = next_picture_++;
  input.pict_type = keyframe ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
  pending_.push_back({hints.pts_us, keyframe});
  ff::check(avcodec_send_frame(context_.get(), &input), "encode", log);
  return receive(log, true);
}

// `wait`: some hardware encoders answer EAGAIN although the access unit is a moment away; asking
// only with the next picture would delay every picture by one.
EncodeResult AvcodecEncoder::receive(const ff::LogCapture& log, bool wait) {
  constexpr auto kPatience = std::chrono::milliseconds(100);
  constexpr auto kPause = std::chrono::microseconds(250);
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    const int code = avcodec_receive_packet(context_.get(), packet_.get());
    if (code == 0) return make_access_unit();
    if (code == AVERROR_EOF) return NeedMore{};
    if (code != AVERROR(EAGAIN)) {
      return Failed{std::string(settings_.name) + ": " + log.explain("encode", code)};
    }
    if (!wait || !settings_.hardware || std::chrono::steady_clock::now() >= deadline)
      return NeedMore{};
    std::this_thread::sleep_for(kPause);
  }
}

EncodeResult AvcodecEncoder::make_access_unit() {
  const std::span<const std::uint8_t> bytes(packet_->data, static_cast<std::size_t>(packet_->size));
  AccessUnit unit;
  unit.keyframe = (packet_->flags & AV_PKT_FLAG_KEY) != 0;
  if (pending_.empty()) {
    av_packet_unref(packet_.get());
    return Failed{std::string(settings_.name) + ": more access units than pictures"};
  }
  if (bytes.empty()) {  // QuickSync's picture that was lost: FFmpeg 5.1 does not look at its status
    av_packet_unref(packet_.get());
    return Failed{std::string(settings_.name) + ": an access unit without content"};
  }
  const Pending picture = pending_.front();
  pending_.pop_front();
  unit.pts_us = picture.pts_us;
  if (unit.keyframe || picture.keyframe) {
    unit.keyframe = has_idr_slice(bytes);
    keep_parameter_sets(bytes, parameter_sets_);
    if (parameter_sets_.empty() && context_->extradata_size > 0) {
      keep_parameter_sets({context_->extradata, static_cast<std::size_t>(context_->extradata_size)},
                          parameter_sets_);
    }
    if (unit.keyframe && !is_idr_access_unit(bytes)) unit.data = parameter_sets_;
  }
  unit.data.insert(unit.data.end(), bytes.begin(), bytes.end());
  av_packet_unref(packet_.get());
  if (picture.keyframe && !unit.keyframe) {
    return Failed{std::string(settings_.name) + ": asked for a keyframe, got another picture"};
  }
  if (unit.keyframe) {
    mend_access_unit(unit.data, colour_);
    if (!is_idr_access_unit(unit.data)) {
      return Failed{std::string(settings_.name) + ": a keyframe without SPS and PPS"};
    }
  }
  return unit;
}

std::vector<AccessUnit> AvcodecEncoder::drain() {
  std::vector<AccessUnit> units;
  if (!context_ || pending_.empty()) return units;
  const ff::LogCapture log;
  if (avcodec_send_frame(context_.get(), nullptr) < 0) return units;
  for (;;) {
    EncodeResult result = receive(log, false);
    auto* unit = std::get_if<AccessUnit>(&result);
    if (unit == nullptr) return units;
    units.push_back(std::move(*unit));
  }
}

UpdateResult AvcodecEncoder::update(const RateSettings& rate) {
  wanted_ = rate;
  const UpdateResult cost = cost_of_update(rate_cost_, quality_counts(attempt_), applied_, wanted_);
  const bool waits = cost == UpdateResult::kKeyframe && !rested(now_ns());
  return waits ? UpdateResult::kSeamless : cost;  // encode() does it in time
}

}  // namespace

std::unique_ptr<Encoder> make_avcodec_encoder(std::string_view name) {
  const EncoderSettings* settings = find_encoder_settings(name);
  if (settings == nullptr) {
    std::string known;
    for (const EncoderSettings& each : all_encoder_settings())
      known += " " + std::string(each.name);
    throw Error(ErrorKind::kConfig,
                "encoder = \"" + std::string(name) + "\": must be one of" + known);
  }
  return std::make_unique<AvcodecEncoder>(*settings);
}

bool avcodec_has_encoder(std::string_view name) {
  return avcodec_find_encoder_by_name(std::string(name).c_str()) != nullptr;
}

std::string ffmpeg_version() {
  return av_version_info();
}
std::string ffmpeg_license() {
  return avcodec_license();
}

}  // namespace kvm
