// For builds without FFmpeg: our own encoder alone.
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

}  // namespace kvm
