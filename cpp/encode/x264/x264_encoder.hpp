// x264 called directly. libavcodec's wrapper offers neither a quantiser for each picture nor,
// before FFmpeg 6.1, the map of unchanged macroblocks; with both a picture costs about half the
// CPU. Built where x264.h is there.
#pragma once

#include <memory>
#include <string>

#include "encode/encoder.hpp"

namespace kvm {

[[nodiscard]] std::unique_ptr<Encoder> make_x264_encoder();

// "0.164.3095 baee400", the library that the header at build time belongs to; for doctor.
[[nodiscard]] std::string x264_linked_version();

}  // namespace kvm
