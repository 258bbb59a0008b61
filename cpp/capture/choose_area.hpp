// Which part of the desktop a configuration means, on every platform.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "capture/find_monitor.hpp"

namespace kvm {

struct ChosenArea {
  DisplayInfo monitor;
  Rect area;           // on the desktop
  std::string notice;  // for the log: it stands in for a monitor that is gone; else empty
};

// `name` is that of find_monitor(), `region` counts from the monitor's corner, `desktop` says whose
// monitors they are ("X server :0"). Once `streaming`, a monitor that was unplugged and a region
// that became too large are made do with. Throws Error{kCapture} where there is no monitor at all,
// {kConfig} for what does not exist.
[[nodiscard]] ChosenArea choose_area(const std::vector<DisplayInfo>& monitors,
                                     const std::string& name, const std::optional<Rect>& region,
                                     bool streaming, const std::string& desktop);

}  // namespace kvm
