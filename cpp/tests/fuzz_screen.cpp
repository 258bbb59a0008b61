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

class Screen {
 public:
  Screen(int width, int height)
      : width_(width), height_(height), pixels_(static_cast<std::size_t>(width * height) * 4, 0) {}
  [[nodiscard]] Rect rect(Bytes& bytes) const {
    const int x = bytes.below(width_);
    const int y = bytes.below(height_);
    return {x, y, 1 + bytes.below(width_ - x), 1 + bytes.below(height_ - y)};
  }
  void fill(const Rect& rect, int colour) {
    each(rect, [&](std::uint8_t* pixel, int, int) { std::memset(pixel, colour, 4); });
  }
  void noise(const Rect& rect, unsigned seed) {
    each(rect, [&](std::uint8_t* pixel, int, int) {
      seed = seed * 1'664'525U + 1'013'904'223U;
      std::memcpy(pixel, &seed, 4);
    });
  }
  void stripes(const Rect& rect, int period, int colour) {
    each(rect, [&](std::uint8_t* pixel, int x, int y) {
      std::memset(pixel, (x * y + x / 3) % (period + 1) == 0 ? colour : 255, 4);
    });
  }
  // What stood at `from` comes to `to`.
  void move(const Rect& to, int from_x, int from_y) {
    const std::vector<std::uint8_t> before = pixels_;
    each(to, [&](std::uint8_t* pixel, int x, int y) {
      const int source_x = std::min(width_ - 1, from_x + x - to.x);
      const int source_y = std::min(height_ - 1, from_y + y - to.y);
      std::memcpy(pixel, &before[offset(source_x, source_y)], 4);
    });
  }
  [[nodiscard]] CpuPlanes planes() {
    return {{pixels_.data(), nullptr, nullptr}, {std::ptrdiff_t{4} * width_, 0, 0}};
  }

 private:
  [[nodiscard]] std::size_t offset(int x, int y) const {
    return static_cast<std::size_t>(y * width_ + x) * 4;
  }
  template <typename Fn>
  void each(const Rect& rect, Fn&& fn) {
    for (int y = rect.y; y < rect.bottom(); ++y) {
      for (int x = rect.x; x < rect.right(); ++x) fn(&pixels_[offset(x, y)], x, y);
    }
  }
  int width_;
  int height_;
  std::vector<std::uint8_t> pixels_;
};

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
  void compare(const std::vector<std::uint8_t>& unit, const CpuPlanes& kept, int width,
               int height) {
    std::vector<std::uint8_t> padded = unit;
    padded.resize(unit.size() + AV_INPUT_BUFFER_PADDING_SIZE, 0);
    const auto packet = ff::own<ff::Packet>(av_packet_alloc());
    packet->data = padded.data();
    packet->size = static_cast<int>(unit.size());
    const auto frame = ff::own<ff::Frame>(av_frame_alloc());
    require(avcodec_send_packet(context_.get(), packet.get()) == 0);
    require(avcodec_receive_frame(context_.get(), frame.get()) == 0);
    require(frame->width == width && frame->height == height);
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const int divide = plane == 0 ? 1 : 2;
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
  config.bitrate = 50'000 << bytes.below(12);
  EncoderFormat format;
  format.width = (width + 1) & ~1;
  format.height = (height + 1) & ~1;
  format.pixel_format = PixelFormat::kBgra;
  format.bgra_width = width;
  format.bgra_height = height;
  screen::ScreenEncoder encoder;
  std::vector<std::string> notes;
  encoder.open(format, config, notes);
  Decoder decoder;
  Screen screen(width, height);
  EncodeHints hints;
  hints.wall_ns = 1'000'000'000;
  constexpr int kMostPictures = 40;
  for (int i = 0; i < kMostPictures && !bytes.empty(); ++i) {
    TileMap damage(width, height);
    hints.keyframe = false;
    hints.refine_step = 0;
    const int what = bytes.next();
    const Rect rect = screen.rect(bytes);
    switch (what % 8) {
      case 0:
        screen.fill(rect, bytes.next());
        break;
      case 1:
        screen.noise(rect, static_cast<unsigned>(bytes.next()));
        break;
      case 2:
        screen.stripes(rect, 1 + bytes.below(9), bytes.next());
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
    damage.add((what & 0x30) == 0 ? screen.rect(bytes) : rect);
    hints.damage = (what & 0xc0) == 0 ? nullptr : &damage;
    hints.wall_ns += (what & 0x08) != 0 ? 16'666'667 : 400'000'000;
    hints.pts_us = hints.wall_ns / 1000;
    const EncodeResult result = encoder.encode(screen.planes(), hints);
    const auto* unit = std::get_if<AccessUnit>(&result);
    require(unit != nullptr);
    decoder.compare(unit->data, encoder.decoded(), format.width, format.height);
  }
  return 0;
}
