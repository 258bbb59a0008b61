// The graphics adapters of this machine, and whose encoder is tried first.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvm {

// PCI's numbers. Others exist.
enum class GpuVendor : unsigned { kAmd = 0x1002, kIntel = 0x8086, kNvidia = 0x10de };

struct Gpu {
  GpuVendor vendor{};
  unsigned device = 0;  // PCI
  bool shows = false;   // the captured monitor is plugged into it; only Windows tells
  std::string driver;   // its version; "" where only the file system tells
};

// In the system's order, without software renderers. Empty where the system does not say.
// `display` is that of find_monitor().
[[nodiscard]] std::vector<Gpu> list_gpus(const std::string& display = "");

// All of Windows' hardware encoders by libavcodec's names: those of the adapter that shows, of the
// others in their order, of the vendors that are not there, and last the one that is of no vendor.
[[nodiscard]] std::vector<std::string_view> vendor_order(std::span<const Gpu> gpus);

}  // namespace kvm
