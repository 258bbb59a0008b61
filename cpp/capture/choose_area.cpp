#include "capture/choose_area.hpp"

#include <utility>

#include "base/error.hpp"

namespace kvm {

ChosenArea choose_area(const std::vector<DisplayInfo>& monitors, const std::string& name,
                       const std::optional<Rect>& region, bool streaming,
                       const std::string& desktop) {
  if (monitors.empty())
    throw Error(ErrorKind::kCapture,
                desktop + " has no monitor at this moment; plug one in, or log on");
  const DisplayInfo* monitor = find_monitor(monitors, name);
  std::string notice;
  if (monitor == nullptr && streaming) {
    monitor = find_monitor(monitors, "");
    notice = "monitor '" + name + "' is gone; showing " + monitor->id + " until it returns";
  }
  if (monitor == nullptr) {
    throw Error(ErrorKind::kConfig, "display = '" + name + "': " + desktop + " has no monitor '" +
                                        name + "'; it has " + describe(monitors));
  }
  ChosenArea chosen{*monitor, monitor->bounds, std::move(notice)};
  if (!region) return chosen;
  const Rect wanted{monitor->bounds.x + region->x, monitor->bounds.y + region->y, region->width,
                    region->height};
  const Rect inside = intersect(wanted, monitor->bounds);
  if (inside != wanted && !streaming) {
    throw Error(ErrorKind::kConfig,
                "region = (" + std::to_string(region->x) + ", " + std::to_string(region->y) + ", " +
                    std::to_string(region->width) + ", " + std::to_string(region->height) +
                    ") reaches outside display " + monitor->id + ", which is " +
                    std::to_string(monitor->bounds.width) + "x" +
                    std::to_string(monitor->bounds.height));
  }
  if (!inside.empty()) chosen.area = inside;
  return chosen;
}

void tell(const ChosenArea& chosen, AreaMemory& memory, LogRing& log, const char* component) {
  if (chosen.notice == memory.told) return;
  memory.told = chosen.notice;
  if (!chosen.notice.empty()) log.add(LogLevel::kWarning, component, chosen.notice);
}

}  // namespace kvm
