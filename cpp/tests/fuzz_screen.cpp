// libFuzzer: any history of a small screen, damage true and false, through our own encoder. What it
// keeps as the decoder's picture must be, bit for bit, what libavcodec shows.
extern "C" {
#include <libavcodec/avcodec.h>
}

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "bgra_screen.hpp"
#include "encode/avcodec/ffmpeg.hpp"
#include "encode/screen/screen_encoder.hpp"

namespace {

using namespace kvm;

void require(bool holds) {
  if (!holds) std::abort();
}

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return at_ >= size_; }
  [[nodiscard]] int next() { return empty() ? 0 : data_[at_++]; }
  [[nodiscard]] int below(int limit) { return next() * limit / 256; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

Rect some_rect(const test::BgraScreen& screen, Bytes& bytes) {
  const int x = bytes.below(screen.width());
  const int y = bytes.below(screen.height());
  return {x, y, 1 + bytes.below(screen.width() - x), 1 + bytes.below(screen.height() - y)};
}

void stripes(test::BgraScreen& screen, const Rect& rect, int period, int colour) {
  screen.each(rect, [&](std::uint8_t* pixel, int x, int y) {
    std::memset(pixel, (x * y + x / 3) % (period + 1) == 0 ? colour : 255, 4);
  });
}

class Decoder {
 public:
  Decoder() {
    av_log_set_level(AV_LOG_QUIET);
    const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_H264);
    context_ = ff::own<ff::Context>(avcodec_alloc_context3(codec));
    context_->thread_count = 1;
    context_->err_recognition = AV_EF_EXPLODE;
    require(avcodec_open2(context_.get(), codec, nullptr) == 0);
  }
  void compare(const std::vector<std::uint8_t>& unit, const CpuPlanes& kept, int width, int height,
               Chroma chroma) {
    std::vector<std::uint8_t> padded = unit;
    padded.resize(unit.size() + AV_INPUT_BUFFER_PADDING_SIZE, 0);
    const auto packet = ff::own<ff::Packet>(av_packet_alloc());
    packet->data = padded.data();
    packet->size = static_cast<int>(unit.size());
    const auto frame = ff::own<ff::Frame>(av_frame_alloc());
    require(avcodec_send_packet(context_.get(), packet.get()) == 0);
    require(avcodec_receive_frame(context_.get(), frame.get()) == 0);
    require(frame->width == width && frame->height == height);
    require(frame->format == (chroma == Chroma::k444 ? AV_PIX_FMT_YUV444P : AV_PIX_FMT_YUV420P));
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const int divide = plane == 0 || chroma == Chroma::k444 ? 1 : 2;
      for (int y = 0; y < height / divide; ++y) {
        require(std::memcmp(frame->data[plane] + y * frame->linesize[plane],
                            kept.data[plane] + y * kept.stride[plane],
                            static_cast<std::size_t>(width / divide)) == 0);
      }
    }
  }

 private:
  ff::Context context_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const int width = 1 + bytes.below(100);
  const int height = 1 + bytes.below(100);
  StreamConfig config;
  config.crf = bytes.below(52);
  const int rate = bytes.next();
  config.bitrate = 50'000 << rate % 12;
  config.chroma = (rate & 0x80) != 0 ? Chroma::k444 : Chroma::k420;
  config.preset = (rate & 0x20) != 0 ? "superfast" : "ultrafast";  // CABAC, CAVLC
  EncoderFormat format;
  format.width = (width + 1) & ~1;
  format.height = (height + 1) & ~1;
  format.pixel_format = PixelFormat::kBgra;
  format.bgra_width = width;
  format.bgra_height = height;
  screen::ScreenEncoder encoder(
      {.most = 1 + static_cast<int>(size % 4), .least_tiles = 1},
      (rate & 0x40) != 0 ? screen::Deblocking::kAlways : screen::Deblocking::kByContent);
  std::vector<std::string> notes;
  encoder.open(format, config, notes);
  Decoder decoder;
  test::BgraScreen screen(width, height);
  EncodeHints hints;
  hints.wall_ns = 1'000'000'000;
  constexpr int kMostPictures = 40;
  for (int i = 0; i < kMostPictures && !bytes.empty(); ++i) {
    TileMap damage(width, height);
    hints.keyframe = false;
    hints.refine_step = 0;
    const int what = bytes.next();
    const Rect rect = some_rect(screen, bytes);
    switch (what % 8) {
      case 0:
        screen.fill(rect, 0x010101U * static_cast<std::uint32_t>(bytes.next()));
        break;
      case 1:
        screen.noise(rect, static_cast<unsigned>(bytes.next()));
        break;
      case 2:
        stripes(screen, rect, 1 + bytes.below(9), bytes.next());
        break;
      case 3:
      case 4:
        screen.move(rect, bytes.below(width), bytes.below(height));
        break;
      case 5:
        hints.refine_step = 1 + bytes.below(6);
        break;
      case 6:
        hints.keyframe = true;
        break;
      default:
        (void)encoder.update(
            {config.fps, 50'000 << bytes.below(12), static_cast<double>(bytes.below(52))});
        break;
    }
    // One time in four the damage is of another place.
    damage.add((what & 0x30) == 0 ? some_rect(screen, bytes) : rect);
    hints.damage = (what & 0xc0) == 0 ? nullptr : &damage;
    hints.wall_ns += (what & 0x08) != 0 ? 16'666'667 : 400'000'000;
    hints.pts_us = hints.wall_ns / 1000;
    const EncodeResult result = encoder.encode(screen.planes(), hints);
    const auto* unit = std::get_if<AccessUnit>(&result);
    require(unit != nullptr);
    decoder.compare(unit->data, encoder.decoded(), format.width, format.height, config.chroma);
  }
  return 0;
}
