#include <algorithm>
#include <array>

#include "encode/gpus.hpp"

namespace kvm {

std::vector<std::string_view> vendor_order(std::span<const Gpu> gpus) {
  struct VendorEncoder {
    std::string_view name;
    GpuVendor vendor;
  };
  // The order of those that the adapters do not decide about.
  constexpr std::array kEncoders{VendorEncoder{"h264_nvenc", GpuVendor::kNvidia},
                                 VendorEncoder{"h264_qsv", GpuVendor::kIntel},
                                 VendorEncoder{"h264_amf", GpuVendor::kAmd}};
  std::vector<std::string_view> order;
  const auto add = [&](std::string_view name) {
    if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);
  };
  for (const bool shows : {true, false}) {
    for (const Gpu& gpu : gpus) {
      if (gpu.shows != shows) continue;
      for (const VendorEncoder& each : kEncoders) {
        if (each.vendor == gpu.vendor) add(each.name);
      }
    }
  }
  for (const VendorEncoder& each : kEncoders) add(each.name);
  add("h264_mf");  // Windows' own, for whatever GPU: it obeys least
  return order;
}

}  // namespace kvm
