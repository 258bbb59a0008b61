#include "base/build_info.hpp"

extern "C" {
#include <libavcodec/avcodec.h>
}

#include "convert/convert.hpp"
#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/x264/x264_encoder.hpp"

namespace kvm {

std::map<std::string, std::string> build_info() {
  const unsigned version = avcodec_version();
  std::map<std::string, std::string> facts{
      {"ffmpeg", ffmpeg_version()},
      {"ffmpeg_license", ffmpeg_license()},
      {"libavcodec", std::to_string(version >> 16) + "." + std::to_string((version >> 8) & 0xff) +
                         "." + std::to_string(version & 0xff)},
      {"simd", convert_target()},
  };
#if defined(KVM_HAS_X264)
  facts["x264"] = x264_linked_version() + ", linked directly: GPL version 2 or later";
#endif
  return facts;
}

}  // namespace kvm
