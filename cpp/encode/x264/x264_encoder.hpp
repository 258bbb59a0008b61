// x264 called directly. libavcodec's wrapper offers neither a quantiser for each picture nor,
// before FFmpeg 6.1, the map of unchanged macroblocks; with both a picture costs about half the
// CPU. Built where x264.h is there.
#pragma once

#include <memory>

#include "encode/encoder.hpp"

namespace kvm {

[[nodiscard]] std::unique_ptr<Encoder> make_x264_encoder();

}  // namespace kvm
