// For builds without FFmpeg.
#include "base/build_info.hpp"
#include "convert/convert.hpp"

namespace kvm {

std::map<std::string, std::string> build_info() {
  return {{"simd", convert_target()}};
}

}  // namespace kvm
