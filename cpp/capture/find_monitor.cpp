#include "capture/find_monitor.hpp"

#include <algorithm>

namespace kvm {

const DisplayInfo* find_monitor(const std::vector<DisplayInfo>& monitors, const std::string& name) {
  if (name.empty()) {
    const auto primary = std::find_if(monitors.begin(), monitors.end(),
                                      [](const DisplayInfo& m) { return m.primary; });
    if (primary != monitors.end()) return &*primary;
    return monitors.empty() ? nullptr : &monitors.front();
  }
  for (const DisplayInfo& monitor : monitors) {
    if (monitor.id == name) return &monitor;
  }
  const bool digits = name.size() <= 3 && std::all_of(name.begin(), name.end(), [](char ch) {
                        return ch >= '0' && ch <= '9';
                      });
  if (digits) {
    const auto index = static_cast<std::size_t>(std::stoi(name));
    if (index < monitors.size()) return &monitors[index];
  }
  return nullptr;
}

std::string describe(const std::vector<DisplayInfo>& monitors) {
  std::string text;
  for (const DisplayInfo& monitor : monitors) {
    if (!text.empty()) text += ", ";
    const Rect& b = monitor.bounds;
    text += monitor.id + " (" + std::to_string(b.width) + "x" + std::to_string(b.height) + "+" +
            std::to_string(b.x) + "+" + std::to_string(b.y) + ")";
  }
  return text;
}

}  // namespace kvm
