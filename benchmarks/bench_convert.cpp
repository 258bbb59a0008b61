// What the convert room costs, in CPU milliseconds per picture: median and best of many rounds.
//
// "cold" takes each picture from a ring of 24 (more memory than the caches hold), "warm" the same
// one each time. Built with KVM_BENCH_SWSCALE defined and linked with libswscale, it measures that
// beside ours.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "convert/convert.hpp"

#ifdef KVM_BENCH_SWSCALE
extern "C" {
#include <libswscale/swscale.h>
}
#endif

namespace {

using kvm::CpuPlanes;
using kvm::PixelFormat;
using kvm::TileMap;
using kvm::YuvPicture;

constexpr int kRing = 24;

double cpu_ms() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

void report(const std::string& name, int rounds, const std::function<void(int)>& work) {
  std::vector<double> times;
  for (int i = 0; i < rounds + 3; ++i) {
    const double begin = cpu_ms();
    work(i);
    if (i >= 3) times.push_back(cpu_ms() - begin);
  }
  std::sort(times.begin(), times.end());
  std::printf("  %-46s %8.3f ms   best %8.3f ms\n", name.c_str(), times[times.size() / 2],
              times.front());
}

struct Bgra {
  Bgra(int width, int height, unsigned seed)
      : size(static_cast<std::size_t>(width * height) * 4),
        bytes(static_cast<std::uint8_t*>(std::aligned_alloc(4096, (size + 4095) / 4096 * 4096)),
              std::free) {
    if (!bytes) throw std::bad_alloc();
    // Flat areas and text-like noise; the kernels' time does not depend on the content.
    std::minstd_rand random(seed);
    for (std::size_t i = 0; i < size; i += 4) {
      const auto value = static_cast<std::uint32_t>(random());
      for (std::size_t c = 0; c < 4; ++c)
        bytes[i + c] = static_cast<std::uint8_t>(value >> (4 * c + 3));
    }
    planes.data[0] = bytes.get();
    planes.stride[0] = std::ptrdiff_t{4} * width;
  }
  std::size_t size;
  std::unique_ptr<std::uint8_t[], void (*)(void*)> bytes;  // page-aligned, as shared memory is
  CpuPlanes planes;
};

TileMap whole(int width, int height) {
  TileMap tiles(width, height);
  tiles.set_all();
  return tiles;
}

}  // namespace

int main(int argc, char** argv) {
  const int width = argc > 2 ? std::atoi(argv[1]) : 1920;
  const int height = argc > 2 ? std::atoi(argv[2]) : 1080;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 100;
  if (width < 16 || height < 16 || rounds < 1) {
    std::fprintf(stderr, "usage: %s [WIDTH HEIGHT [ROUNDS]], sides at least 16\n", argv[0]);
    return 2;
  }
  std::printf("%dx%d, %s, %d rounds\n", width, height, kvm::convert_target(), rounds);

  std::vector<std::unique_ptr<Bgra>> ring;
  for (int i = 0; i < kRing; ++i) {
    ring.push_back(std::make_unique<Bgra>(width, height, static_cast<unsigned>(i + 1)));
  }
  const auto at = [&](int i) -> const CpuPlanes& {
    return ring[static_cast<std::size_t>(i % kRing)]->planes;
  };
  const TileMap all = whole(width, height);

  std::printf("convert, whole picture\n");
  const struct {
    PixelFormat format;
    const char* name;
  } formats[] = {
      {PixelFormat::kNv12, "NV12"}, {PixelFormat::kI420, "I420"}, {PixelFormat::kI444, "I444"}};
  for (const auto& [format, name] : formats) {
    std::vector<YuvPicture> out;
    for (int i = 0; i < kRing; ++i) out.emplace_back(format, width, height);
    report(std::string(name) + " cold (source and picture)", rounds, [&](int i) {
      kvm::convert_tiles(at(i), all, out[static_cast<std::size_t>(i % kRing)]);
    });
    report(std::string(name) + " cold (source only)", rounds,
           [&](int i) { kvm::convert_tiles(at(i), all, out[0]); });
    report(std::string(name) + " warm", rounds,
           [&](int) { kvm::convert_tiles(at(0), all, out[0]); });
  }
  {
    // One row of tiles: source and result stay in the second-level cache, which leaves the
    // arithmetic.
    YuvPicture out(PixelFormat::kNv12, width, height);
    TileMap band(width, height);
    band.add({0, 0, width, kvm::kTile});
    report("NV12, one row of tiles 100 times, in cache", rounds, [&](int) {
      for (int i = 0; i < 100; ++i) kvm::convert_tiles(at(0), band, out);
    });
    TileMap scattered(width, height);
    for (int row = 0; row < scattered.rows(); ++row) {
      for (int col = row % 2; col < scattered.cols(); col += 2) scattered.set(col, row);
    }
    report("NV12 cold, every other tile", rounds,
           [&](int i) { kvm::convert_tiles(at(i), scattered, out); });
  }

  std::printf("tiles, whole picture\n");
  report("copy_tiles cold", rounds, [&](int i) { kvm::copy_tiles(at(i), at(i + kRing / 2), all); });
  for (int i = kRing / 2; i < kRing; ++i) kvm::copy_tiles(at(i - kRing / 2), at(i), all);
  report("trim_equal_tiles cold, all equal", rounds, [&](int i) {
    TileMap tiles = all;
    kvm::trim_equal_tiles(at(i), at(i + kRing / 2), tiles);
    if (tiles.any()) std::abort();
  });
  report("trim_equal_tiles cold, all different", rounds, [&](int i) {
    TileMap tiles = all;
    kvm::trim_equal_tiles(at(i), at(i + 1), tiles);
    if (tiles.count() != all.count()) std::abort();
  });

  std::printf("scaler, whole picture, source cold\n");
  for (const auto& [num, den] :
       {std::pair{2, 3}, std::pair{1, 2}, std::pair{1, 6}, std::pair{3, 2}}) {
    const int w = width * num / den;
    const int h = height * num / den;
    kvm::Scaler scaler(width, height, w, h);
    report("to " + std::to_string(w) + "x" + std::to_string(h), rounds / 4 + 1,
           [&](int i) { static_cast<void>(scaler.scale(at(i), all)); });
  }

#ifdef KVM_BENCH_SWSCALE
  std::printf("libswscale %s to NV12, whole picture\n", LIBSWSCALE_IDENT);
  const std::unique_ptr<SwsContext, void (*)(SwsContext*)> sws(
      sws_getContext(width, height, AV_PIX_FMT_BGR0, width, height, AV_PIX_FMT_NV12, SWS_POINT,
                     nullptr, nullptr, nullptr),
      sws_freeContext);
  if (!sws) {
    std::fprintf(stderr, "libswscale refuses this size\n");
    return 1;
  }
  const int* matrix = sws_getCoefficients(SWS_CS_ITU709);
  sws_setColorspaceDetails(sws.get(), matrix, 1, matrix, 0, 0, 1 << 16, 1 << 16);
  std::vector<YuvPicture> out;
  for (int i = 0; i < kRing; ++i) out.emplace_back(PixelFormat::kNv12, width, height);
  const auto sws_convert = [&](const CpuPlanes& from, const CpuPlanes& to) {
    const std::uint8_t* src[] = {from.data[0]};
    const int src_stride[] = {static_cast<int>(from.stride[0])};
    std::uint8_t* dst[] = {to.data[0], to.data[1]};
    const int dst_stride[] = {static_cast<int>(to.stride[0]), static_cast<int>(to.stride[1])};
    sws_scale(sws.get(), src, src_stride, 0, height, dst, dst_stride);
  };
  report("cold (source and picture)", rounds,
         [&](int i) { sws_convert(at(i), out[static_cast<std::size_t>(i % kRing)].planes()); });
  report("warm", rounds, [&](int) { sws_convert(at(0), out[0].planes()); });
#endif
  return 0;
}
