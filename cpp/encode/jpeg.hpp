// JPEG thumbnails: the pipeline's second, small output.
#pragma once

#include <cstdint>
#include <vector>

#include "frame/frame.hpp"

namespace kvm {

// Baseline JPEG of a BGRA picture scaled down to at most `max_width` pixels wide. Throws
// Error{kEncoder}.
[[nodiscard]] std::vector<std::uint8_t> encode_jpeg(const CpuPlanes& bgra, int width, int height,
                                                    int max_width, int quality = 80);

}  // namespace kvm
