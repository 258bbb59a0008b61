// For builds without FFmpeg: our own encoder alone, and no thumbnails.
#include <string>

#include "base/error.hpp"
#include "encode/jpeg.hpp"
#include "encode/ladder.hpp"
#include "encode/screen/screen_encoder.hpp"

namespace kvm {

std::vector<Candidate> default_candidates(const ProbeOptions& /*options*/) {
  Candidate screen;
  screen.name = "screen";
  screen.create = make_screen_encoder;
  std::vector<Candidate> candidates;
  candidates.push_back(std::move(screen));
  return candidates;
}

std::vector<std::uint8_t> encode_jpeg(const CpuPlanes& /*bgra*/, int width, int height,
                                      int /*max_width*/, int /*quality*/) {
  throw Error(ErrorKind::kEncoder, "no JPEG of " + std::to_string(width) + "x" +
                                       std::to_string(height) +
                                       " pixels: this build is without FFmpeg; build with it");
}

}  // namespace kvm
