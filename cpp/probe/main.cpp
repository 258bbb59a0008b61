// kvmstream-probe ENCODER: a real test encode in a process of its own, because a graphics driver
// may crash or hang. Says "ok" and exits with 0, or says why not and exits with 1.
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "base/clock.hpp"
#include "base/error.hpp"
#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/encoder.hpp"
#include "encode/h264_sps.hpp"

namespace {

constexpr int kWidth = 640;
constexpr int kHeight = 360;
constexpr int kPictures = 4;

// A diagonal that moves: not so flat that a broken encoder would get away with it.
void draw(std::vector<std::uint8_t>& nv12, int picture) {
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      nv12[static_cast<std::size_t>(y * kWidth + x)] =
          static_cast<std::uint8_t>(16 + (x + y + 4 * picture) % 220);
    }
  }
}

// "" or why not.
std::string test_encode(const std::string& name) {
  kvm::StreamConfig config;
  kvm::EncoderFormat format{kWidth, kHeight, kvm::PixelFormat::kNv12};
  std::vector<std::string> notes;
  const auto encoder = kvm::make_avcodec_encoder(name);
  encoder->open(format, config, notes);
  std::vector<std::uint8_t> picture(static_cast<std::size_t>(kWidth * kHeight * 3 / 2), 128);
  kvm::CpuPlanes planes;
  planes.data = {picture.data(), picture.data() + kWidth * kHeight, nullptr};
  planes.stride = {kWidth, kWidth, 0};
  std::vector<kvm::AccessUnit> units;
  for (int i = 0; i < kPictures; ++i) {
    draw(picture, i);
    kvm::EncodeHints hints;
    hints.keyframe = i % 2 == 0;  // one in the middle, too: some drivers give none on demand
    hints.pts_us = i * 16'667;
    hints.wall_ns = kvm::now_ns();
    auto result = encoder->encode(planes, hints);
    if (const auto* failed = std::get_if<kvm::Failed>(&result)) return failed->reason;
    if (auto* unit = std::get_if<kvm::AccessUnit>(&result)) units.push_back(std::move(*unit));
  }
  if (units.empty()) return "no access unit came for " + std::to_string(kPictures) + " pictures";
  if (!units.front().keyframe || !kvm::is_idr_access_unit(units.front().data)) {
    return "the first access unit is not a keyframe with SPS and PPS";
  }
  std::string verdict = "the SPS cannot be parsed";
  kvm::for_each_nal(units.front().data, [&](const kvm::NalUnit& unit) {
    if (unit.type() != kvm::kNalSps) return true;
    const auto sps = kvm::parse_sps(unit.bytes);
    if (!sps) return false;
    verdict = sps->width == kWidth && sps->height == kHeight
                  ? ""
                  : "the SPS says " + std::to_string(sps->width) + "x" +
                        std::to_string(sps->height) + " for a picture of " +
                        std::to_string(kWidth) + "x" + std::to_string(kHeight);
    return false;
  });
  return verdict;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: kvmstream-probe ENCODER\n", stderr);
    return 2;
  }
#if !defined(_WIN32)
  constexpr unsigned kOrphanSeconds =
      30;  // should the parent die and nobody be left to kill a hung driver
  ::alarm(kOrphanSeconds);
#endif
  std::string reason;
  try {
    reason = test_encode(argv[1]);
  } catch (const std::exception& error) {
    reason = error.what();
  }
  std::puts(reason.empty() ? "ok" : reason.c_str());
  std::fflush(stdout);
  // Past the verdict no driver's exit handler gets a chance to hang.
  std::_Exit(reason.empty() ? 0 : 1);
}
