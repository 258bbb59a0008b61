// RandR monitors: what there is to capture and where it lies in the root window.
#pragma once

#include <string>
#include <vector>

#include "capture/source.hpp"
#include "capture/x11/connection.hpp"

namespace kvm::x11 {

// Never empty: without RandR the root window counts as one monitor named "screen".
[[nodiscard]] std::vector<DisplayInfo> list_monitors(const Connection& connection);

// By name or decimal index; "" = the primary one, else the first. Null when there is no such
// monitor.
[[nodiscard]] const DisplayInfo* find_monitor(const std::vector<DisplayInfo>& monitors,
                                              const std::string& name);

// "HDMI-1 (1920x1080+0+0), …" for messages.
[[nodiscard]] std::string describe(const std::vector<DisplayInfo>& monitors);

}  // namespace kvm::x11
