// What this libkvmstream was built with and links to, for doctor.
#pragma once

#include <map>
#include <string>

namespace kvm {

// "ffmpeg", "ffmpeg_license", "libavcodec", "simd", and "x264" where it is linked directly.
[[nodiscard]] std::map<std::string, std::string> build_info();

}  // namespace kvm
