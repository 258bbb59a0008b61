#include "base/build_info.hpp"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/avutil.h>
}

#include "convert/convert.hpp"

namespace kvm {

std::map<std::string, std::string> build_info() {
  const unsigned version = avcodec_version();
  return {
      {"ffmpeg", av_version_info()},
      {"ffmpeg_license", avcodec_license()},
      {"libavcodec", std::to_string(version >> 16) + "." + std::to_string((version >> 8) & 0xff) +
                         "." + std::to_string(version & 0xff)},
      {"simd", convert_target()},
  };
}

}  // namespace kvm
