// RandR monitors: what there is to capture and where it lies in the root window.
#pragma once

#include <vector>

#include "capture/find_monitor.hpp"
#include "capture/source.hpp"
#include "capture/x11/connection.hpp"

namespace kvm::x11 {

// Never empty: without RandR the root window counts as one monitor named "screen".
[[nodiscard]] std::vector<DisplayInfo> list_monitors(const Connection& connection);

}  // namespace kvm::x11
