// The encoders that bench_encode compares, all behind the product's own seam.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "encode/encoder.hpp"
#include "frame/config.hpp"

namespace kvm::bench {

struct Contestant {
  std::string name;
  PixelFormat format = PixelFormat::kNv12;  // that it gets; kBgra: it converts by itself
  std::function<std::unique_ptr<Encoder>()> make;
  std::string preset = "ultrafast";  // of the product's own
};

// Ours with one slice and two and in CABAC, libx264 as the product calls it; then, at constant
// quantisers and with one thread, libx264 through libavcodec and, where it was there at build time,
// OpenH264. Those that can code `chroma`.
[[nodiscard]] std::vector<Contestant> contestants(Chroma chroma);

}  // namespace kvm::bench
