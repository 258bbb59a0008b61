#include "encode/jpeg.hpp"

#include <doctest/doctest.h>

extern "C" {
#include <libavcodec/avcodec.h>
}

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "encode/avcodec/ffmpeg.hpp"

namespace kvm {
namespace {

class Bgra {
 public:
  Bgra(int width, int height)
      : width_(width), storage_(static_cast<std::size_t>((width + 3) * height * 4)) {
    planes_.data[0] = storage_.data();
    planes_.stride[0] = (width + 3) * 4;  // wider than the picture
  }
  void set(int x, int y, int r, int g, int b) {
    std::uint8_t* p = planes_.data[0] + y * planes_.stride[0] + x * 4;
    p[0] = static_cast<std::uint8_t>(b);
    p[1] = static_cast<std::uint8_t>(g);
    p[2] = static_cast<std::uint8_t>(r);
    p[3] = 0x5a;  // X: must not matter
  }
  [[nodiscard]] const CpuPlanes& planes() const { return planes_; }
  [[nodiscard]] int width() const { return width_; }

 private:
  int width_;
  std::vector<std::uint8_t> storage_;
  CpuPlanes planes_;
};

struct Rgb {
  int r;
  int g;
  int b;
};

class DecodedJpeg {
 public:
  explicit DecodedJpeg(const std::vector<std::uint8_t>& jpeg) {
    REQUIRE(jpeg.size() > 4);
    CHECK(jpeg[0] == 0xff);
    CHECK(jpeg[1] == 0xd8);
    CHECK(jpeg[jpeg.size() - 2] == 0xff);
    CHECK(jpeg[jpeg.size() - 1] == 0xd9);
    const ff::LogCapture log;
    const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_MJPEG);
    REQUIRE(codec != nullptr);
    const auto context = ff::own<ff::Context>(avcodec_alloc_context3(codec));
    REQUIRE(avcodec_open2(context.get(), codec, nullptr) == 0);
    std::vector<std::uint8_t> padded = jpeg;
    padded.resize(jpeg.size() + AV_INPUT_BUFFER_PADDING_SIZE, 0);
    const auto packet = ff::own<ff::Packet>(av_packet_alloc());
    packet->data = padded.data();
    packet->size = static_cast<int>(jpeg.size());
    frame_ = ff::own<ff::Frame>(av_frame_alloc());
    REQUIRE(avcodec_send_packet(context.get(), packet.get()) == 0);
    REQUIRE(avcodec_receive_frame(context.get(), frame_.get()) == 0);
    CHECK(std::string(log.last_line()) == "");
  }
  [[nodiscard]] int width() const { return frame_->width; }
  [[nodiscard]] int height() const { return frame_->height; }
  [[nodiscard]] Rgb at(int x, int y) const {
    const double luma = frame_->data[0][y * frame_->linesize[0] + x];
    const double cb = frame_->data[1][y / 2 * frame_->linesize[1] + x / 2] - 128.0;
    const double cr = frame_->data[2][y / 2 * frame_->linesize[2] + x / 2] - 128.0;
    return {static_cast<int>(luma + 1.402 * cr),
            static_cast<int>(luma - 0.344136 * cb - 0.714136 * cr),
            static_cast<int>(luma + 1.772 * cb)};
  }

 private:
  ff::Frame frame_;
};

void check_near(const Rgb& got, int r, int g, int b, int tolerance) {
  CHECK(std::abs(got.r - r) <= tolerance);
  CHECK(std::abs(got.g - g) <= tolerance);
  CHECK(std::abs(got.b - b) <= tolerance);
}

TEST_CASE("a thumbnail keeps colours and the aspect ratio") {
  Bgra picture(1920, 1080);
  for (int y = 0; y < 1080; ++y) {
    for (int x = 0; x < 1920; ++x) {
      if (x < 960) {
        picture.set(x, y, 220, 40, 30);
      } else {
        picture.set(x, y, 20, 90, 200);
      }
    }
  }
  const DecodedJpeg jpeg(encode_jpeg(picture.planes(), 1920, 1080, 320));
  CHECK(jpeg.width() == 320);
  CHECK(jpeg.height() == 180);
  check_near(jpeg.at(80, 90), 220, 40, 30, 6);
  check_near(jpeg.at(240, 90), 20, 90, 200, 6);
}

TEST_CASE("shrinking takes the mean of all pixels, not one of them") {
  Bgra picture(640, 480);
  for (int y = 0; y < 480; ++y) {
    for (int x = 0; x < 640; ++x) {
      const int value = (x + y) % 2 == 0 ? 255 : 0;
      picture.set(x, y, value, value, value);
    }
  }
  const DecodedJpeg jpeg(encode_jpeg(picture.planes(), 640, 480, 160));
  for (int y = 10; y < 110; y += 20) check_near(jpeg.at(80, y), 128, 128, 128, 4);
}

TEST_CASE("any size works, also odd and tiny ones; a picture is never enlarged") {
  for (const auto& sizes :
       {std::array{1, 1, 320}, std::array{3, 2, 320}, std::array{641, 359, 320},
        std::array{100, 37, 33}, std::array{5000, 3, 320}, std::array{7, 1000, 5}}) {
    const int width = sizes[0];
    const int height = sizes[1];
    const int max_width = sizes[2];
    CAPTURE(width);
    CAPTURE(height);
    Bgra picture(width, height);
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) picture.set(x, y, 30, 200, 90);
    }
    const DecodedJpeg jpeg(encode_jpeg(picture.planes(), width, height, max_width));
    CHECK(jpeg.width() == std::min(width, max_width));
    CHECK(jpeg.height() >= 1);
    check_near(jpeg.at(jpeg.width() - 1, jpeg.height() - 1), 30, 200, 90, 6);
  }
}

TEST_CASE("quality costs bytes") {
  Bgra picture(320, 240);
  unsigned state = 1;
  for (int y = 0; y < 240; ++y) {
    for (int x = 0; x < 320; ++x) {
      state = state * 1'664'525U + 1'013'904'223U;
      picture.set(x, y, static_cast<int>(state >> 24), static_cast<int>((state >> 16) & 255U), 100);
    }
  }
  std::size_t last = 0;
  for (const int quality : {1, 40, 80, 100}) {
    const std::size_t size = encode_jpeg(picture.planes(), 320, 240, 320, quality).size();
    CHECK(size > last);
    last = size;
  }
}

TEST_CASE("sizes without pixels are refused") {
  Bgra picture(4, 4);
  CHECK_THROWS_AS((void)encode_jpeg(picture.planes(), 0, 4, 320), Error);
  CHECK_THROWS_AS((void)encode_jpeg(picture.planes(), 4, 4, 0), Error);
}

}  // namespace
}  // namespace kvm
