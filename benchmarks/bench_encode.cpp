// What the software encoders cost on recorded pictures, and what they make of them.
//
//   bench_encode FILE WIDTH HEIGHT [--damage FILE] [--crf N,N…] [--passes N] [--timed N]
//                [--chroma 420|444] [--only NAME] [--pictures N] [--ceiling N]
//                [--streams DIRECTORY] [--once] [--paced]
//
// FILE: raw B G R X pictures without padding, one after the other. The damage file has a line for
// each of them: "x,y,width,height" of the rectangles that the X server reported since the one
// before; without it all is damage.
//
// For each crf (23) every encoder codes the sequence in turns, --passes times (5) with the damage
// known and as often with nothing known. Both search for what changed, tile by tile, as capture
// does: inside the damage, or in the whole frame. CPU is the mean of a picture in a pass (all
// threads; search, conversion and coding), median of the passes; "wall" is the time that the same
// takes with the damage known. --timed N: measure times at this crf alone. Then once more for the
// size of a P picture, PSNR and SSIM after libavcodec has decoded it; "PSNR-Y changed" is that of
// the tiles that differ from the picture before. The first two pictures, an IDR and what it left to
// do, are left out of all figures.
//
// --paced: sleep before each picture until a screen of 60 Hz would show it. A thread that has slept
// pays more for the same work than one that never stops; live it always has.
//
// --ceiling: bit/s. --streams: write what was coded, and the truth as I420 or I444.
// --once: code once with the damage known and print nothing, for callgrind.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "convert/convert.hpp"
#include "encode_contestants.hpp"
#include "encode_judge.hpp"

namespace {

using namespace kvm;
using namespace kvm::bench;

constexpr std::int64_t kPictureNs = 16'666'667;
// The IDR, and the picture after it, in which encoders do what the IDR left them: ours copies all
// that it changed, x264 as the product calls it sharpens all of it.
constexpr std::size_t kLeftOut = 2;

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

struct Options {
  std::string pictures_file;
  int width = 0;
  int height = 0;
  std::string damage_file;
  std::vector<double> crfs{23};
  int passes = 5;
  double timed_crf = -1;  // < 0: all
  Chroma chroma = Chroma::k420;
  std::string only;
  std::size_t most_pictures = SIZE_MAX;
  std::string streams;
  bool once = false;
  bool paced = false;
  // bit/s; out of the reach of every sequence, so that it is the quality that decides.
  int ceiling = 600'000'000;
};

Options parse(int argc, char** argv) {
  if (argc < 4) throw std::invalid_argument("too few arguments; usage: see bench_encode.cpp");
  Options options;
  options.pictures_file = argv[1];
  options.width = std::atoi(argv[2]);
  options.height = std::atoi(argv[3]);
  for (int i = 4; i < argc; ++i) {
    const std::string key = argv[i];
    if (key == "--once") {
      options.once = true;
      continue;
    }
    if (key == "--paced") {
      options.paced = true;
      continue;
    }
    if (++i == argc) throw std::invalid_argument(key + " wants a value");
    const std::string value = argv[i];
    if (key == "--damage") {
      options.damage_file = value;
    } else if (key == "--crf") {
      options.crfs.clear();
      std::istringstream list(value);
      for (std::string one; std::getline(list, one, ',');) options.crfs.push_back(std::stod(one));
    } else if (key == "--passes") {
      options.passes = std::stoi(value);
    } else if (key == "--timed") {
      options.timed_crf = std::stod(value);
    } else if (key == "--chroma") {
      if (value != "420" && value != "444") throw std::invalid_argument("--chroma: 420 or 444");
      options.chroma = value == "444" ? Chroma::k444 : Chroma::k420;
    } else if (key == "--only") {
      options.only = value;
    } else if (key == "--pictures") {
      options.most_pictures = std::stoul(value);
    } else if (key == "--ceiling") {
      options.ceiling = std::stoi(value);
    } else if (key == "--streams") {
      options.streams = value;
    } else {
      throw std::invalid_argument("unknown argument " + key);
    }
  }
  return options;
}

// Pictures in a mapped file, and the damage of each.
class Sequence {
 public:
  explicit Sequence(const Options& options) : width_(options.width), height_(options.height) {
    if (width_ < 1 || height_ < 1) throw std::invalid_argument("width and height must be positive");
    const int file = open(options.pictures_file.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status{};
    if (file < 0 || fstat(file, &status) != 0) {
      throw std::runtime_error("cannot read " + options.pictures_file);
    }
    bytes_ = static_cast<std::size_t>(status.st_size);
    count_ = std::min(bytes_ / picture_bytes(), options.most_pictures);
    // Private, for the planes of the seam may be written to in principle. In memory from the
    // start: the first encoder shall not pay for it.
    if (count_ > 0)
      memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, file, 0);
    ::close(file);
    if (count_ <= kLeftOut || memory_ == MAP_FAILED) {
      throw std::runtime_error(options.pictures_file + " holds fewer than three pictures of " +
                               std::to_string(width_) + "x" + std::to_string(height_));
    }
    read_damage(options.damage_file);
  }
  ~Sequence() { munmap(memory_, bytes_); }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;

  [[nodiscard]] int width() const { return width_; }
  [[nodiscard]] int height() const { return height_; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] const TileMap& damage(std::size_t i) const { return damage_[i]; }
  [[nodiscard]] CpuPlanes picture(std::size_t i) const {
    return {{static_cast<std::uint8_t*>(memory_) + i * picture_bytes(), nullptr, nullptr},
            {std::ptrdiff_t{4} * width_, 0, 0}};
  }

 private:
  [[nodiscard]] std::size_t picture_bytes() const {
    return static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_) * 4;
  }
  void read_damage(const std::string& path) {
    TileMap all(width_, height_);
    all.set_all();
    damage_.assign(count_, all);
    if (path.empty()) return;
    std::ifstream file(path);
    std::string line;
    for (std::size_t i = 0; i < count_; ++i) {
      if (!std::getline(file, line)) throw std::runtime_error(path + " has too few lines");
      damage_[i].clear();
      std::istringstream words(line);
      for (std::string word; words >> word;) {
        Rect rect;
        if (std::sscanf(word.c_str(), "%d,%d,%d,%d", &rect.x, &rect.y, &rect.width, &rect.height) !=
            4) {
          throw std::runtime_error(path + ": " + word + " is no rectangle");
        }
        damage_[i].add(rect);
      }
    }
  }

  int width_;
  int height_;
  std::size_t bytes_ = 0;
  std::size_t count_ = 0;
  void* memory_ = MAP_FAILED;
  std::vector<TileMap> damage_;
};

enum class Known { kDamage, kNothing };

// What capture hands to the encoder as changed.
TileMap search(const Sequence& sequence, std::size_t i, Known known) {
  TileMap changed = sequence.damage(i);
  if (i == 0 || known == Known::kNothing) changed.set_all();
  if (i > 0) trim_equal_tiles(sequence.picture(i - 1), sequence.picture(i), changed);
  return changed;
}

struct Pass {  // means of a P picture
  double cpu_ms = 0;
  double wall_ms = 0;
};

// One encoder over the sequence.
class Run {
 public:
  Run(const Sequence& sequence, const Contestant& contestant, double crf, const Options& options)
      : sequence_(sequence),
        contestant_(contestant),
        paced_(options.paced),
        planar_(options.chroma == Chroma::k444 ? PixelFormat::kI444 : PixelFormat::kI420),
        encoder_(contestant.make()) {
    StreamConfig config;
    config.chroma = options.chroma;
    config.preset = contestant.preset;
    config.use_hardware_encoder = false;
    config.crf = crf;
    config.bitrate = options.ceiling;
    EncoderFormat format{(sequence.width() + 1) & ~1, (sequence.height() + 1) & ~1,
                         contestant.format, 0, 0};
    if (is_bgra()) {
      format.bgra_width = sequence.width();
      format.bgra_height = sequence.height();
    }
    std::vector<std::string> notes;
    encoder_->open(format, config, notes);
    input_ =
        YuvPicture(is_bgra() ? planar_ : contestant.format, sequence.width(), sequence.height());
  }

  [[nodiscard]] Pass time(Known known) {
    Pass pass;
    auto due = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < sequence_.count(); ++i) {
      due += std::chrono::nanoseconds(kPictureNs);
      if (paced_) std::this_thread::sleep_until(due);
      const double cpu = cpu_ms();
      const double wall = clock_ms(CLOCK_MONOTONIC);
      const AccessUnit unit = code(i, search(sequence_, i, known));
      if (i < kLeftOut) continue;
      pass.cpu_ms += cpu_ms() - cpu;
      pass.wall_ms += clock_ms(CLOCK_MONOTONIC) - wall;
    }
    const auto pictures = static_cast<double>(sequence_.count() - kLeftOut);
    return {pass.cpu_ms / pictures, pass.wall_ms / pictures};
  }

  // Bytes of a P picture. `stream`, `truth`: where to write both, or null.
  [[nodiscard]] double judge(Judge& judge, std::ofstream* stream, std::ofstream* truth) {
    YuvPicture original(planar_, sequence_.width(), sequence_.height());
    double bytes = 0;
    for (std::size_t i = 0; i < sequence_.count(); ++i) {
      const TileMap changed = search(sequence_, i, Known::kDamage);
      const AccessUnit unit = code(i, changed);
      convert_tiles(sequence_.picture(i), changed, original);
      judge.add(unit.data, original.planes(), changed, i >= kLeftOut);
      if (i >= kLeftOut) bytes += static_cast<double>(unit.data.size());
      if (stream != nullptr) write(*stream, unit.data.data(), unit.data.size());
      if (truth != nullptr) write_picture(*truth, original);
    }
    return bytes / static_cast<double>(sequence_.count() - kLeftOut);
  }

 private:
  [[nodiscard]] bool is_bgra() const { return contestant_.format == PixelFormat::kBgra; }

  [[nodiscard]] AccessUnit code(std::size_t i, const TileMap& changed) {
    const CpuPlanes now = sequence_.picture(i);
    if (!is_bgra()) convert_tiles(now, changed, input_);
    EncodeHints hints;
    hints.keyframe = i == 0;
    hints.damage = &changed;
    hints.wall_ns = 1'000'000'000 + static_cast<std::int64_t>(i) * kPictureNs;
    hints.pts_us = hints.wall_ns / 1000;
    EncodeResult result = encoder_->encode(is_bgra() ? now : input_.planes(), hints);
    auto* unit = std::get_if<AccessUnit>(&result);
    if (unit == nullptr) throw std::runtime_error(contestant_.name + " gave no access unit");
    return std::move(*unit);
  }

  static void write(std::ofstream& file, const std::uint8_t* bytes, std::size_t count) {
    file.write(reinterpret_cast<const char*>(bytes), static_cast<std::streamsize>(count));
  }
  static void write_picture(std::ofstream& file, const YuvPicture& picture) {
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const int divide = plane == 0 || picture.format() == PixelFormat::kI444 ? 1 : 2;
      for (int y = 0; y < picture.coded_height() / divide; ++y) {
        write(file, picture.planes().data[plane] + y * picture.planes().stride[plane],
              static_cast<std::size_t>(picture.coded_width() / divide));
      }
    }
  }

  const Sequence& sequence_;
  const Contestant& contestant_;
  bool paced_;
  PixelFormat planar_;  // of the truth
  std::unique_ptr<Encoder> encoder_;
  YuvPicture input_;
};

struct Times {
  std::vector<double> known_ms;
  std::vector<double> whole_ms;
  std::vector<double> wall_ms;
};

void print_extent(const Sequence& sequence) {
  std::size_t damaged = 0;
  std::size_t changed = 0;
  for (std::size_t i = kLeftOut; i < sequence.count(); ++i) {
    damaged += sequence.damage(i).count();
    changed += search(sequence, i, Known::kDamage).count();
  }
  const TileMap& map = sequence.damage(0);
  const double all =
      static_cast<double>(sequence.count() - kLeftOut) * map.cols() * map.rows() / 100;
  std::printf("damaged %.2f %%, changed %.2f %% of the tiles\n\n",
              static_cast<double>(damaged) / all, static_cast<double>(changed) / all);
}

void compare(const Sequence& sequence, const std::vector<Contestant>& all, const Options& options) {
  print_extent(sequence);
  std::printf(
      "| encoder | crf | known ms | whole ms | wall ms | kB/P | PSNR-Y | PSNR-UV | PSNR-Y changed "
      "| SSIM-Y |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
  for (const double crf : options.crfs) {
    std::vector<Times> times(all.size());
    const bool timed = options.timed_crf < 0 || options.timed_crf == crf;
    for (int pass = 0; timed && pass < options.passes; ++pass) {
      for (std::size_t i = 0; i < all.size(); ++i) {
        const Pass known = Run(sequence, all[i], crf, options).time(Known::kDamage);
        times[i].known_ms.push_back(known.cpu_ms);
        times[i].wall_ms.push_back(known.wall_ms);
        times[i].whole_ms.push_back(
            Run(sequence, all[i], crf, options).time(Known::kNothing).cpu_ms);
      }
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
      std::ofstream stream;
      std::ofstream truth;
      const bool writes = timed && !options.streams.empty();
      if (writes) {
        stream.open(options.streams + "/" + std::to_string(i) + ".h264", std::ios::binary);
        if (i == 0) truth.open(options.streams + "/truth.yuv", std::ios::binary);
      }
      Judge judge(options.chroma);
      const double bytes =
          Run(sequence, all[i], crf, options)
              .judge(judge, writes ? &stream : nullptr, writes && i == 0 ? &truth : nullptr);
      std::printf("| %s | %g | %.4f | %.4f | %.4f | %.4f | %.3f | %.3f | %.3f | %.5f |\n",
                  all[i].name.c_str(), crf, median(times[i].known_ms), median(times[i].whole_ms),
                  median(times[i].wall_ms), bytes / 1000, judge.luma_psnr(), judge.chroma_psnr(),
                  judge.changed_psnr(), judge.luma_ssim());
      std::fflush(stdout);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  av_log_set_level(AV_LOG_ERROR);
  try {
    const Options options = parse(argc, argv);
    const Sequence sequence(options);
    std::vector<Contestant> all = contestants(options.chroma);
    if (!options.only.empty()) {
      std::erase_if(all, [&](const Contestant& one) { return one.name != options.only; });
      if (all.empty()) throw std::invalid_argument("no encoder is called " + options.only);
    }
    if (options.once) {
      for (const Contestant& one : all) {
        (void)Run(sequence, one, options.crfs.front(), options).time(Known::kDamage);
      }
    } else {
      compare(sequence, all, options);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_encode: %s\n", error.what());
    return 2;
  }
  return 0;
}
