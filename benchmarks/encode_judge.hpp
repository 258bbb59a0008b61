// How near decoded pictures are to the truth.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
}

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "encode/avcodec/ffmpeg.hpp"
#include "frame/config.hpp"
#include "frame/frame.hpp"

namespace kvm::bench {

// Decodes a stream as it comes and sums up errors against I420 or I444 pictures of even size.
class Judge {
 public:
  explicit Judge(Chroma chroma) : divide_(chroma == Chroma::k444 ? 1 : 2) {
    const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_H264);
    context_ = ff::own<ff::Context>(avcodec_alloc_context3(codec));
    context_->thread_count = 1;
    if (avcodec_open2(context_.get(), codec, nullptr) != 0) std::abort();
    frame_ = ff::own<ff::Frame>(av_frame_alloc());
  }

  // An empty `unit` shows the picture before once more. `changed`: tiles that differ from the
  // picture before. The picture counts when `counts`.
  void add(const std::vector<std::uint8_t>& unit, const CpuPlanes& truth, const TileMap& changed,
           bool counts) {
    if (!unit.empty()) decode(unit);
    if (!counts) return;
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const int divide = plane == 0 ? 1 : divide_;
      double& sum = plane == 0 ? luma_ : chroma_;
      sum += error(plane, truth, {0, 0, frame_->width / divide, frame_->height / divide});
    }
    samples_ += static_cast<double>(frame_->width) * frame_->height;
    changed.for_each_run([&](int row, int begin, int end) {
      const Rect rect = changed.run_rect(row, begin, end);
      changed_luma_ += error(0, truth, rect);
      changed_samples_ += static_cast<double>(rect.width) * rect.height;
    });
    ssim_ += ssim(truth);
    ++pictures_;
  }

  [[nodiscard]] double luma_psnr() const { return psnr(luma_, samples_); }
  [[nodiscard]] double chroma_psnr() const {
    return psnr(chroma_, 2 * samples_ / (divide_ * divide_));
  }
  // Of the changed tiles alone.
  [[nodiscard]] double changed_psnr() const { return psnr(changed_luma_, changed_samples_); }
  [[nodiscard]] double luma_ssim() const { return ssim_ / std::max(pictures_, 1); }

 private:
  static double psnr(double error, double samples) {
    if (samples == 0) return std::nan("");
    return 10 * std::log10(255.0 * 255.0 * samples / std::max(error, 1.0));
  }

  void decode(const std::vector<std::uint8_t>& unit) {
    std::vector<std::uint8_t> padded = unit;
    padded.resize(unit.size() + AV_INPUT_BUFFER_PADDING_SIZE, 0);
    const auto packet = ff::own<ff::Packet>(av_packet_alloc());
    packet->data = padded.data();
    packet->size = static_cast<int>(unit.size());
    if (avcodec_send_packet(context_.get(), packet.get()) != 0 ||
        avcodec_receive_frame(context_.get(), frame_.get()) != 0) {
      std::fprintf(stderr, "the stream does not decode\n");
      std::exit(1);
    }
  }

  [[nodiscard]] double error(std::size_t plane, const CpuPlanes& truth, const Rect& rect) const {
    std::int64_t sum = 0;
    for (int y = rect.y; y < rect.bottom(); ++y) {
      const std::uint8_t* a = frame_->data[plane] + y * frame_->linesize[plane];
      const std::uint8_t* b = truth.data[plane] + y * truth.stride[plane];
      int line = 0;
      for (int x = rect.x; x < rect.right(); ++x) line += (a[x] - b[x]) * (a[x] - b[x]);
      sum += line;
    }
    return static_cast<double>(sum);
  }

  // Mean over windows of 8×8 that lie 4 apart, without weights, as in FFmpeg and x264.
  [[nodiscard]] double ssim(const CpuPlanes& truth) const {
    struct Sums {
      int a, b, squares, product;
    };
    const int cols = frame_->width / 4;
    const int rows = frame_->height / 4;
    if (cols < 2 || rows < 2) return 1;
    std::array<std::vector<Sums>, 2> lines;
    for (auto& line : lines) line.resize(static_cast<std::size_t>(cols));
    double total = 0;
    for (int row = 0; row < rows; ++row) {
      std::vector<Sums>& now = lines[static_cast<std::size_t>(row & 1)];
      const std::vector<Sums>& above = lines[static_cast<std::size_t>(1 - (row & 1))];
      for (int col = 0; col < cols; ++col) {
        Sums s{};
        for (int y = row * 4; y < row * 4 + 4; ++y) {
          const std::uint8_t* a = frame_->data[0] + y * frame_->linesize[0] + col * 4;
          const std::uint8_t* b = truth.data[0] + y * truth.stride[0] + col * 4;
          for (int x = 0; x < 4; ++x) {
            s.a += a[x];
            s.b += b[x];
            s.squares += a[x] * a[x] + b[x] * b[x];
            s.product += a[x] * b[x];
          }
        }
        now[static_cast<std::size_t>(col)] = s;
      }
      if (row == 0) continue;
      for (std::size_t col = 0; col + 1 < now.size(); ++col) {
        Sums s{};
        for (const Sums& part : {now[col], now[col + 1], above[col], above[col + 1]}) {
          s.a += part.a;
          s.b += part.b;
          s.squares += part.squares;
          s.product += part.product;
        }
        total += window(s.a, s.b, s.squares, s.product);
      }
    }
    return total / (static_cast<double>(cols - 1) * (rows - 1));
  }

  static double window(double a, double b, double squares, double product) {
    constexpr double kSamples = 64;
    constexpr double kC1 = 0.01 * 0.01 * 255 * 255 * kSamples * kSamples;
    constexpr double kC2 = 0.03 * 0.03 * 255 * 255 * kSamples * (kSamples - 1);
    const double variances = squares * kSamples - a * a - b * b;
    const double covariance = product * kSamples - a * b;
    return (2 * a * b + kC1) * (2 * covariance + kC2) / ((a * a + b * b + kC1) * (variances + kC2));
  }

  int divide_;  // luma pixels to one of chroma, along a side
  ff::Context context_;
  ff::Frame frame_;
  double luma_ = 0;
  double chroma_ = 0;
  double samples_ = 0;
  double changed_luma_ = 0;
  double changed_samples_ = 0;
  double ssim_ = 0;
  int pictures_ = 0;
};

}  // namespace kvm::bench
