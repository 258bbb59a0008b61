// Which monitor a name means, on every platform.
#pragma once

#include <string>
#include <vector>

#include "capture/source.hpp"

namespace kvm {

// By name or decimal index; "" = the primary one, else the first. Null when there is no such
// monitor.
[[nodiscard]] const DisplayInfo* find_monitor(const std::vector<DisplayInfo>& monitors,
                                              const std::string& name);

// "HDMI-1 (1920x1080+0+0), …" for messages.
[[nodiscard]] std::string describe(const std::vector<DisplayInfo>& monitors);

}  // namespace kvm
