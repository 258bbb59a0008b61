// libFuzzer: any bytes as an access unit. Built with -fsanitize=fuzzer,address,undefined.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "encode/h264_sps.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> bytes(data, size);
  (void)kvm::parse_sps(bytes);
  if (const auto mended = kvm::mend_sps(bytes, {})) {
    const auto sps = kvm::parse_sps(*mended);
    require(sps.has_value() && sps->max_num_reorder_frames == 0 && sps->colour.has_value());
    require(!kvm::mend_sps(*mended, {}).has_value());
    (void)kvm::codec_string(*sps);
  }
  std::vector<std::uint8_t> unit(bytes.begin(), bytes.end());
  if (kvm::mend_access_unit(unit, {})) require(!kvm::mend_access_unit(unit, {}));
  std::vector<std::uint8_t> kept;
  kvm::keep_parameter_sets(bytes, kept);
  (void)kvm::is_idr_access_unit(bytes);
  return 0;
}
