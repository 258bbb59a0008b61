#include "encode/jpeg.hpp"

#include <algorithm>
#include <cmath>

#include "encode/avcodec/ffmpeg.hpp"
#include "encode/shrink.hpp"

namespace kvm {
namespace {

// JFIF's matrix: BT.601, full range, 16-bit fixed point.
[[nodiscard]] std::uint8_t luma(const Bgr& c) {
  return static_cast<std::uint8_t>((19'595 * c.r + 38'470 * c.g + 7'471 * c.b + 32'768) >> 16);
}
[[nodiscard]] std::uint8_t chroma(std::int64_t r, std::int64_t g, std::int64_t b, int count) {
  const std::int64_t sum = r + g + b;  // 16-bit fixed point, of `count` pixels
  return static_cast<std::uint8_t>(
      std::clamp<std::int64_t>((sum / count + (128 << 16) + 32'768) >> 16, 0, 255));
}

void fill_yuv(const CpuPlanes& bgra, int width, int height, AVFrame& out) {
  std::vector<Bgr> rows[2];
  rows[0].resize(static_cast<std::size_t>(out.width));
  rows[1].resize(static_cast<std::size_t>(out.width));
  std::vector<Span> columns;
  for (int x = 0; x < out.width; ++x) columns.push_back(box(x, width, out.width));
  for (int y = 0; y < out.height; y += 2) {
    const int present = std::min(2, out.height - y);
    for (int i = 0; i < present; ++i) {
      auto& row = rows[i];
      shrink_row(bgra, box(y + i, height, out.height), columns, row);
      std::uint8_t* line = out.data[0] + (y + i) * out.linesize[0];
      for (int x = 0; x < out.width; ++x) line[x] = luma(row[static_cast<std::size_t>(x)]);
    }
    for (int x = 0; x < out.width; x += 2) {
      Bgr sum;
      int count = 0;
      for (int i = 0; i < present; ++i) {
        for (int j = x; j < std::min(x + 2, out.width); ++j, ++count) {
          const Bgr& c = rows[i][static_cast<std::size_t>(j)];
          sum = {sum.b + c.b, sum.g + c.g, sum.r + c.r};
        }
      }
      const std::int64_t r = sum.r;
      const std::int64_t g = sum.g;
      const std::int64_t b = sum.b;
      out.data[1][(y / 2) * out.linesize[1] + x / 2] =
          chroma(-11'059 * r, -21'709 * g, 32'768 * b, count);
      out.data[2][(y / 2) * out.linesize[2] + x / 2] =
          chroma(32'768 * r, -27'439 * g, -5'329 * b, count);
    }
  }
}

// libavcodec's quantiser 2 (finest) … 31 for the customary 1 … 100.
[[nodiscard]] int quantiser(int quality) {
  const double coarse = (100 - std::clamp(quality, 1, 100)) / 99.0;
  return 2 + static_cast<int>(std::lround(29 * std::pow(coarse, 1.5)));
}

}  // namespace

std::vector<std::uint8_t> encode_jpeg(const CpuPlanes& bgra, int width, int height, int max_width,
                                      int quality) {
  check_thumbnail_size(width, height, max_width);
  const ff::LogCapture log;
  const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
  if (codec == nullptr) {
    throw Error(ErrorKind::kEncoder,
                "the linked libavcodec has no MJPEG encoder, so there are no thumbnails");
  }
  const ff::Context context = ff::own<ff::Context>(avcodec_alloc_context3(codec));
  context->width = std::min(width, max_width);
  context->height = shrunk_height(width, height, context->width);
  context->pix_fmt = AV_PIX_FMT_YUV420P;
  context->color_range = AVCOL_RANGE_JPEG;
  context->time_base = {1, 1};
  context->thread_count = 1;
  context->flags |= AV_CODEC_FLAG_QSCALE;
  context->global_quality = FF_QP2LAMBDA * quantiser(quality);
  ff::check(avcodec_open2(context.get(), codec, nullptr), "JPEG encoder", log);

  const ff::Frame frame = ff::own<ff::Frame>(av_frame_alloc());
  frame->format = context->pix_fmt;
  frame->width = context->width;
  frame->height = context->height;
  frame->color_range = AVCOL_RANGE_JPEG;
  frame->quality = context->global_quality;
  frame->pts = 0;
  ff::check(av_frame_get_buffer(frame.get(), 0), "JPEG picture", log);
  fill_yuv(bgra, width, height, *frame);

  const ff::Packet packet = ff::own<ff::Packet>(av_packet_alloc());
  ff::check(avcodec_send_frame(context.get(), frame.get()), "JPEG", log);
  ff::check(avcodec_send_frame(context.get(), nullptr), "JPEG", log);
  ff::check(avcodec_receive_packet(context.get(), packet.get()), "JPEG", log);
  return {packet->data, packet->data + packet->size};
}

}  // namespace kvm
