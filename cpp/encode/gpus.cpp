#include "encode/gpus.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <tuple>

namespace kvm {

std::vector<Gpu> list_gpus(const std::string& /*display*/) {
  constexpr unsigned kDisplayClass = 0x03;
  std::vector<Gpu> gpus;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/pci/devices", error)) {
    const auto number = [&](const char* file) {
      unsigned value = 0;
      std::ifstream(entry.path() / file) >> std::hex >> value;
      return value;
    };
    const auto vendor = static_cast<GpuVendor>(number("vendor"));
    if (number("class") >> 16 == kDisplayClass && vendor != GpuVendor{})
      gpus.push_back({vendor, number("device"), false, ""});
  }
  // The directory has no order of its own.
  std::sort(gpus.begin(), gpus.end(), [](const Gpu& a, const Gpu& b) {
    return std::tie(a.vendor, a.device) < std::tie(b.vendor, b.device);
  });
  return gpus;
}

}  // namespace kvm
