// The monitors of this desktop.
#pragma once

#include <string>
#include <vector>

#include "capture/find_monitor.hpp"

namespace kvm::gdi {

// In physical pixels of the virtual desktop, whose origin is the primary monitor's: others may have
// negative places. Empty where the session has no desktop.
[[nodiscard]] std::vector<DisplayInfo> list_monitors();

// DisplayInfo::id of the monitor that Windows calls "\\.\DISPLAY1".
[[nodiscard]] std::string monitor_id(const wchar_t* device);

}  // namespace kvm::gdi
