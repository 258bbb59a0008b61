// Which part of the desktop a configuration means, on every platform.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "capture/find_monitor.hpp"

namespace kvm {

// What the sources of one stream know together, as any of them may have to go on for another.
// Capture thread only.
struct AreaMemory {
  bool streaming = false;  // one of them was opened
  std::string told;        // the newest notice
};

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

// Logs the notice, once for as long as it holds.
void tell(const ChosenArea& chosen, AreaMemory& memory, LogRing& log, const char* component);

}  // namespace kvm
