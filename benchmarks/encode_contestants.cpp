#include "encode_contestants.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>

#include "base/error.hpp"
#include "encode/avcodec/ffmpeg.hpp"
#include "encode/screen/screen_encoder.hpp"
#include "encode/x264/x264_encoder.hpp"

#ifdef KVM_BENCH_OPENH264
#include <wels/codec_api.h>
#endif

namespace kvm::bench {
namespace {

constexpr std::array kNv12Only{PixelFormat::kNv12};
constexpr std::array kI444Only{PixelFormat::kI444};

// What all encoders at a constant quantiser have in common.
class ConstantQuantiser : public Encoder {
 public:
  [[nodiscard]] std::vector<AccessUnit> drain() override { return {}; }
  [[nodiscard]] UpdateResult update(const RateSettings& /*rate*/) override {
    return UpdateResult::kNeedsReopen;
  }
};

// libavcodec's libx264: no map of unchanged macroblocks, one quantiser for all pictures.
class LibavcodecX264 final : public ConstantQuantiser {
 public:
  LibavcodecX264(const char* preset, const char* parameters)
      : preset_(preset), parameters_(parameters) {}
  [[nodiscard]] std::string_view name() const override { return "libx264"; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma chroma) const override {
    if (chroma == Chroma::k444) return kI444Only;
    return kNv12Only;
  }
  void open(const EncoderFormat& format, const StreamConfig& config,
            std::vector<std::string>& /*notes*/) override {
    const ff::LogCapture log;
    const AVCodec* codec = avcodec_find_encoder_by_name("libx264");
    if (codec == nullptr) throw Error(ErrorKind::kEncoder, "libavcodec has no libx264");
    context_ = ff::own<ff::Context>(avcodec_alloc_context3(codec));
    context_->width = format.width;
    context_->height = format.height;
    const bool full_chroma = config.chroma == Chroma::k444;
    context_->pix_fmt = full_chroma ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_NV12;
    context_->time_base = {1, 60};
    context_->framerate = {60, 1};
    context_->gop_size = 1 << 30;
    context_->max_b_frames = 0;
    context_->thread_count = 1;
    ff::Dictionary options;
    options.set("preset", preset_);
    options.set("tune", "zerolatency");
    options.set("qp", std::to_string(std::lround(config.crf)));
    // The first picture as coarse as the others: its bits are not counted.
    options.set("x264-params", "scenecut=0:ipratio=1" + parameters_);
    ff::check(avcodec_open2(context_.get(), codec, options.out()), "libx264 cannot be opened", log);
    frame_ = ff::own<ff::Frame>(av_frame_alloc());
    packet_ = ff::own<ff::Packet>(av_packet_alloc());
    const auto rows = static_cast<std::size_t>(format.height);
    rows_ = full_chroma ? std::vector{rows, rows, rows} : std::vector{rows, rows / 2};
  }
  [[nodiscard]] EncodeResult encode(const CpuPlanes& planes, const EncodeHints& hints) override {
    av_frame_unref(frame_.get());
    frame_->format = context_->pix_fmt;
    frame_->width = context_->width;
    frame_->height = context_->height;
    frame_->pts = next_++;
    frame_->pict_type = hints.keyframe ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    // References without an owner: libavcodec would copy the whole picture otherwise.
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      frame_->data[i] = planes.data[i];
      frame_->linesize[i] = static_cast<int>(planes.stride[i]);
      const std::size_t bytes = static_cast<std::size_t>(planes.stride[i]) * rows_[i];
      frame_->buf[i] =
          av_buffer_create(planes.data[i], bytes, [](void*, std::uint8_t*) {}, nullptr, 0);
    }
    if (avcodec_send_frame(context_.get(), frame_.get()) < 0 ||
        avcodec_receive_packet(context_.get(), packet_.get()) < 0) {
      return Failed{"libx264 gave no packet"};
    }
    AccessUnit unit;
    unit.data.assign(packet_->data, packet_->data + packet_->size);
    unit.keyframe = (packet_->flags & AV_PKT_FLAG_KEY) != 0;
    unit.pts_us = hints.pts_us;
    av_packet_unref(packet_.get());
    return unit;
  }
  void close() override { context_.reset(); }

 private:
  std::string preset_;
  std::string parameters_;
  ff::Context context_;
  ff::Frame frame_;
  ff::Packet packet_;
  std::vector<std::size_t> rows_;  // of each plane
  std::int64_t next_ = 0;
};

#ifdef KVM_BENCH_OPENH264
constexpr std::array kI420Only{PixelFormat::kI420};

struct WelsDeleter {
  void operator()(ISVCEncoder* encoder) const noexcept { WelsDestroySVCEncoder(encoder); }
};

// OpenH264 in the mode that it has for shared screens.
class OpenH264Screen final : public ConstantQuantiser {
 public:
  [[nodiscard]] std::string_view name() const override { return "openh264"; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma /*chroma*/) const override {
    return kI420Only;
  }
  void open(const EncoderFormat& format, const StreamConfig& config,
            std::vector<std::string>& /*notes*/) override {
    ISVCEncoder* raw = nullptr;
    if (WelsCreateSVCEncoder(&raw) != 0) throw Error(ErrorKind::kEncoder, "no OpenH264 encoder");
    encoder_.reset(raw);
    int quiet = WELS_LOG_ERROR;
    encoder_->SetOption(ENCODER_OPTION_TRACE_LEVEL, &quiet);
    SEncParamExt p;
    encoder_->GetDefaultParams(&p);
    p.iUsageType = SCREEN_CONTENT_REAL_TIME;
    p.iPicWidth = format.width;
    p.iPicHeight = format.height;
    p.iTargetBitrate = config.bitrate;
    p.fMaxFrameRate = static_cast<float>(config.fps);
    p.iRCMode = RC_OFF_MODE;
    p.iMultipleThreadIdc = 1;
    p.uiIntraPeriod = 0;
    p.bEnableFrameSkip = false;
    p.bEnableAdaptiveQuant = false;
    p.bEnableSceneChangeDetect = true;  // its search for what was scrolled is a part of that
    p.iComplexityMode = LOW_COMPLEXITY;
    SSpatialLayerConfig& layer = p.sSpatialLayers[0];
    layer.iVideoWidth = format.width;
    layer.iVideoHeight = format.height;
    layer.fFrameRate = p.fMaxFrameRate;
    layer.iSpatialBitrate = p.iTargetBitrate;
    layer.iDLayerQp = static_cast<int>(std::lround(config.crf));
    layer.sSliceArgument.uiSliceMode = SM_SINGLE_SLICE;
    if (encoder_->InitializeExt(&p) != 0) {
      throw Error(ErrorKind::kEncoder, "OpenH264 refuses the settings");
    }
    format_ = format;
  }
  [[nodiscard]] EncodeResult encode(const CpuPlanes& planes, const EncodeHints& hints) override {
    SSourcePicture picture{};
    picture.iColorFormat = videoFormatI420;
    picture.iPicWidth = format_.width;
    picture.iPicHeight = format_.height;
    picture.uiTimeStamp = hints.pts_us / 1000;
    for (std::size_t i = 0; i < 3; ++i) {
      picture.pData[i] = planes.data[i];
      picture.iStride[i] = static_cast<int>(planes.stride[i]);
    }
    if (hints.keyframe) encoder_->ForceIntraFrame(true);
    SFrameBSInfo info{};
    if (encoder_->EncodeFrame(&picture, &info) != 0) return Failed{"OpenH264 failed"};
    AccessUnit unit;
    unit.keyframe = info.eFrameType == videoFrameTypeIDR;
    unit.pts_us = hints.pts_us;
    for (int i = 0; i < info.iLayerNum; ++i) {
      const SLayerBSInfo& layer = info.sLayerInfo[i];
      int bytes = 0;
      for (int nal = 0; nal < layer.iNalCount; ++nal) bytes += layer.pNalLengthInByte[nal];
      unit.data.insert(unit.data.end(), layer.pBsBuf, layer.pBsBuf + bytes);
    }
    return unit;
  }
  void close() override { encoder_.reset(); }

 private:
  std::unique_ptr<ISVCEncoder, WelsDeleter> encoder_;
  EncoderFormat format_;
};
#endif

[[nodiscard]] Contestant ours(std::string name, int slices, std::string preset = "ultrafast") {
  return {
      std::move(name), PixelFormat::kBgra,
      [slices] { return std::make_unique<screen::ScreenEncoder>(screen::Slicing{.most = slices}); },
      std::move(preset)};
}

[[nodiscard]] Contestant libavcodec(const char* name, PixelFormat format, const char* preset,
                                    const char* parameters = "") {
  return {name, format, [=] { return std::make_unique<LibavcodecX264>(preset, parameters); }};
}

}  // namespace

std::vector<Contestant> contestants(Chroma chroma) {
  const PixelFormat format = chroma == Chroma::k444 ? PixelFormat::kI444 : PixelFormat::kNv12;
  std::vector<Contestant> all{ours("screen", 1),
                              ours("screen, 2 slices", 2),
                              ours("screen, CABAC", 1, "superfast"),
                              {"x264 product", format, make_x264_encoder},
                              libavcodec("x264 ultrafast", format, "ultrafast"),
                              libavcodec("x264 umh64", format, "ultrafast", ":me=umh:merange=64"),
                              libavcodec("x264 superfast", format, "superfast"),
                              libavcodec("x264 veryfast", format, "veryfast")};
#ifdef KVM_BENCH_OPENH264
  if (chroma == Chroma::k420) {
    all.push_back(
        {"OpenH264 screen", PixelFormat::kI420, [] { return std::make_unique<OpenH264Screen>(); }});
  }
#endif
  return all;
}

}  // namespace kvm::bench
