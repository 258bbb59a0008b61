// What the software encoders cost on recorded pictures, and what they make of them.
//
//   bench_encode FILE WIDTH HEIGHT [CRF...]
//
// FILE: raw B G R X pictures without padding, one after the other. For each crf (23 when none is
// given) every encoder codes the sequence three times, in turns; the table shows the CPU of a
// picture (medians; all threads) for comparing it with the one before and for conversion + encode,
// the time from picture to access unit ("wall"), the size of a P picture, and PSNR of luma and
// chroma after libavcodec has decoded it. The first picture, an IDR, is left out. "screen, 2" is
// our own encoder with two slices at once.
extern "C" {
#include <libavcodec/avcodec.h>
}

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "convert/convert.hpp"
#include "encode/avcodec/ffmpeg.hpp"
#include "encode/ladder.hpp"
#include "encode/screen/screen_encoder.hpp"

namespace {

using namespace kvm;

constexpr int kPasses = 3;
constexpr std::int64_t kPictureNs = 16'666'667;

double clock_ms(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

double cpu_ms() {
  return clock_ms(CLOCK_PROCESS_CPUTIME_ID);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

struct Sequence {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> bytes;

  [[nodiscard]] std::size_t picture_bytes() const {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 4;
  }
  [[nodiscard]] std::size_t count() const { return bytes.size() / picture_bytes(); }
  [[nodiscard]] CpuPlanes picture(std::size_t i) {
    return {{bytes.data() + i * picture_bytes(), nullptr, nullptr},
            {std::ptrdiff_t{4} * width, 0, 0}};
  }
};

// Squared errors of the decoded pictures.
class Judge {
 public:
  Judge() {
    const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_H264);
    context_ = ff::own<ff::Context>(avcodec_alloc_context3(codec));
    context_->thread_count = 1;
    if (avcodec_open2(context_.get(), codec, nullptr) != 0) std::abort();
  }
  void add(const std::vector<std::uint8_t>& unit, const CpuPlanes& truth, bool counts) {
    std::vector<std::uint8_t> padded = unit;
    padded.resize(unit.size() + AV_INPUT_BUFFER_PADDING_SIZE, 0);
    const auto packet = ff::own<ff::Packet>(av_packet_alloc());
    packet->data = padded.data();
    packet->size = static_cast<int>(unit.size());
    const auto frame = ff::own<ff::Frame>(av_frame_alloc());
    if (avcodec_send_packet(context_.get(), packet.get()) != 0 ||
        avcodec_receive_frame(context_.get(), frame.get()) != 0) {
      std::fprintf(stderr, "the stream does not decode\n");
      std::exit(1);
    }
    if (!counts) return;
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const int divide = plane == 0 ? 1 : 2;
      double& sum = plane == 0 ? luma_ : chroma_;
      for (int y = 0; y < frame->height / divide; ++y) {
        const std::uint8_t* a = frame->data[plane] + y * frame->linesize[plane];
        const std::uint8_t* b = truth.data[plane] + y * truth.stride[plane];
        for (int x = 0; x < frame->width / divide; ++x) sum += (a[x] - b[x]) * (a[x] - b[x]);
      }
    }
    pixels_ += static_cast<double>(frame->width) * frame->height;
  }
  [[nodiscard]] double luma_psnr() const { return psnr(luma_, pixels_); }
  [[nodiscard]] double chroma_psnr() const { return psnr(chroma_, pixels_ / 2); }

 private:
  static double psnr(double error, double samples) {
    return 10 * std::log10(255.0 * 255.0 * samples / std::max(error, 1.0));
  }
  ff::Context context_;
  double luma_ = 0;
  double chroma_ = 0;
  double pixels_ = 0;
};

struct Figures {
  std::vector<double> compare_ms;
  std::vector<double> encode_ms;
  std::vector<double> wall_ms;
  double bytes = 0;
  double luma_psnr = 0;
  double chroma_psnr = 0;
};

struct Contestant {
  std::string encoder;
  int slices = 1;  // of our own
  std::string preset = "ultrafast";
  [[nodiscard]] std::string name() const {
    if (slices > 1) return encoder + ", " + std::to_string(slices);
    return preset == "ultrafast" ? encoder : encoder + ", " + preset;
  }
};

void code(Sequence& sequence, const Contestant& candidate, double crf, bool judge,
          Figures& figures) {
  StreamConfig config;
  config.encoder = candidate.encoder;
  config.preset = candidate.preset;
  config.use_hardware_encoder = false;
  config.crf = crf;
  config.bitrate = 200'000'000;
  EncoderFormat format{(sequence.width + 1) & ~1, (sequence.height + 1) & ~1, PixelFormat::kNv12,
                       sequence.width, sequence.height};
  std::vector<std::string> notes;
  Ladder ladder(default_candidates({}), std::make_shared<LogRing>());
  std::unique_ptr<Encoder> encoder;
  if (candidate.encoder == "screen") {
    encoder = std::make_unique<screen::ScreenEncoder>(screen::Slicing{.most = candidate.slices});
    format.pixel_format = PixelFormat::kBgra;
    encoder->open(format, config, notes);
  } else {
    encoder = ladder.open(format, config, notes);
  }
  const bool bgra = format.pixel_format == PixelFormat::kBgra;
  YuvPicture input(bgra ? PixelFormat::kI420 : format.pixel_format, sequence.width,
                   sequence.height);
  YuvPicture truth(PixelFormat::kI420, sequence.width, sequence.height);
  Judge judged;
  for (std::size_t i = 0; i < sequence.count(); ++i) {
    const CpuPlanes now = sequence.picture(i);
    TileMap damage(sequence.width, sequence.height);
    damage.set_all();
    const double begin = cpu_ms();
    if (i > 0) trim_equal_tiles(sequence.picture(i - 1), now, damage);
    const double compared = cpu_ms();
    const double began = clock_ms(CLOCK_MONOTONIC);
    if (!bgra) convert_tiles(now, damage, input);
    EncodeHints hints;
    hints.keyframe = i == 0;
    hints.damage = &damage;
    hints.wall_ns = 1'000'000'000 + static_cast<std::int64_t>(i) * kPictureNs;
    hints.pts_us = hints.wall_ns / 1000;
    const EncodeResult result = encoder->encode(bgra ? now : input.planes(), hints);
    const double encoded = cpu_ms();
    const double ended = clock_ms(CLOCK_MONOTONIC);
    const auto* unit = std::get_if<AccessUnit>(&result);
    if (unit == nullptr) {
      std::fprintf(stderr, "%s gave no access unit\n", candidate.name().c_str());
      std::exit(1);
    }
    if (judge) {
      convert_tiles(now, damage, truth);
      judged.add(unit->data, truth.planes(), i > 0);
      if (i > 0) figures.bytes += static_cast<double>(unit->data.size());
    } else if (i > 0) {
      figures.compare_ms.push_back(compared - begin);
      figures.encode_ms.push_back(encoded - compared);
      figures.wall_ms.push_back(ended - began);
    }
  }
  if (!judge) return;
  figures.luma_psnr = judged.luma_psnr();
  figures.chroma_psnr = judged.chroma_psnr();
}

}  // namespace

int main(int argc, char** argv) {
  Sequence sequence;
  if (argc > 3) {
    sequence.width = std::atoi(argv[2]);
    sequence.height = std::atoi(argv[3]);
  }
  if (sequence.width < 1 || sequence.height < 1) {
    std::fprintf(stderr, "usage: bench_encode FILE WIDTH HEIGHT [CRF...]\n");
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  sequence.bytes.assign(std::istreambuf_iterator<char>(file), {});
  const std::size_t count = sequence.count();
  if (count < 2) {
    std::fprintf(stderr, "%s holds fewer than two pictures of %dx%d\n", argv[1], sequence.width,
                 sequence.height);
    return 2;
  }
  std::vector<double> crfs;
  for (int i = 4; i < argc; ++i) crfs.push_back(std::atof(argv[i]));
  if (crfs.empty()) crfs.push_back(23);
  std::printf(
      "| encoder | crf | compare ms | convert + encode ms | wall ms | kB/P | PSNR-Y | PSNR-UV |\n"
      "|---|---:|---:|---:|---:|---:|---:|---:|\n");
  const std::vector<Contestant> candidates{{"screen"},
                                           {"screen", 2},
                                           {"libx264"},
                                           {"libx264", 1, "superfast"},
                                           {"libx264", 1, "veryfast"}};
  for (const double crf : crfs) {
    std::vector<Figures> figures(candidates.size());
    for (int pass = 0; pass < kPasses; ++pass) {
      for (std::size_t i = 0; i < candidates.size(); ++i)
        code(sequence, candidates[i], crf, false, figures[i]);
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      code(sequence, candidates[i], crf, true, figures[i]);
      const Figures& found = figures[i];
      std::printf(
          "| %s | %g | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", candidates[i].name().c_str(),
          crf, median(found.compare_ms), median(found.encode_ms), median(found.wall_ms),
          found.bytes / 1000 / static_cast<double>(count - 1), found.luma_psnr, found.chroma_psnr);
    }
  }
  return 0;
}
