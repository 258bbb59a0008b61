// A decoder to look at what an encoder makes of a picture.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
}

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "encode/avcodec/ffmpeg.hpp"
#include "encode_session.hpp"

namespace kvm::test {

struct Decoded {
  int width = 0;
  int height = 0;
  bool keyframe = false;
  AVPixelFormat format = AV_PIX_FMT_NONE;
  AVColorSpace matrix = AVCOL_SPC_UNSPECIFIED;
  AVColorRange range = AVCOL_RANGE_UNSPECIFIED;
  std::vector<std::uint8_t> luma;
  std::vector<std::uint8_t> chroma;  // Cb, then Cr, of planar 4:2:0 and 4:4:4; else empty
};

// Fails the test when libavcodec has anything to complain about.
class Decoder {
 public:
  Decoder() {
    const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_H264);
    REQUIRE(codec != nullptr);
    context_ = ff::own<ff::Context>(avcodec_alloc_context3(codec));
    context_->thread_count = 1;
    context_->err_recognition = AV_EF_EXPLODE;
    REQUIRE(avcodec_open2(context_.get(), codec, nullptr) == 0);
  }
  // The picture of this access unit, at once: nothing may be held back.
  [[nodiscard]] std::optional<Decoded> decode(std::span<const std::uint8_t> unit) {
    const ff::LogCapture log;
    std::vector<std::uint8_t> padded(unit.begin(), unit.end());
    padded.resize(unit.size() + AV_INPUT_BUFFER_PADDING_SIZE, 0);
    const auto packet = ff::own<ff::Packet>(av_packet_alloc());
    packet->data = padded.data();
    packet->size = static_cast<int>(unit.size());
    const auto frame = ff::own<ff::Frame>(av_frame_alloc());
    const int sent = avcodec_send_packet(context_.get(), packet.get());
    const int got = sent < 0 ? sent : avcodec_receive_frame(context_.get(), frame.get());
    CHECK(std::string(log.last_line()) == "");
    if (got < 0) return std::nullopt;
    Decoded decoded;
    decoded.width = frame->width;
    decoded.height = frame->height;
    decoded.keyframe = frame->pict_type == AV_PICTURE_TYPE_I;
    decoded.format = static_cast<AVPixelFormat>(frame->format);
    decoded.matrix = frame->colorspace;
    decoded.range = frame->color_range;
    for (int y = 0; y < frame->height; ++y) {
      const std::uint8_t* line = frame->data[0] + y * frame->linesize[0];
      decoded.luma.insert(decoded.luma.end(), line, line + frame->width);
    }
    const int divide = decoded.format == AV_PIX_FMT_YUV420P   ? 2
                       : decoded.format == AV_PIX_FMT_YUV444P ? 1
                                                              : 0;
    for (int plane = 1; plane < 3 && divide > 0; ++plane) {
      for (int y = 0; y < frame->height / divide; ++y) {
        const std::uint8_t* line = frame->data[plane] + y * frame->linesize[plane];
        decoded.chroma.insert(decoded.chroma.end(), line, line + frame->width / divide);
      }
    }
    return decoded;
  }
  [[nodiscard]] const AVCodecContext& context() const { return *context_; }

 private:
  ff::Context context_;
};

[[nodiscard]] inline double psnr(const Canvas& canvas, const Decoded& decoded) {
  double sum = 0;
  for (int y = 0; y < canvas.height(); ++y) {
    for (int x = 0; x < canvas.width(); ++x) {
      const int d =
          canvas.luma(x, y) - decoded.luma[static_cast<std::size_t>(y * decoded.width + x)];
      sum += d * d;
    }
  }
  if (sum == 0) return 100.0;
  return 10 * std::log10(255.0 * 255.0 * canvas.width() * canvas.height() / sum);
}

}  // namespace kvm::test
