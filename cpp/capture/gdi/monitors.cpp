#include "capture/gdi/monitors.hpp"

#include <shellscalingapi.h>

#include <string>

#include "base/error.hpp"
#include "base/utf_win32.hpp"
#include "capture/gdi/handles.hpp"

namespace kvm::gdi {
namespace {

BOOL CALLBACK add_monitor(HMONITOR monitor, HDC /*dc*/, LPRECT /*rect*/, LPARAM out) {
  MONITORINFOEXW facts{};
  facts.cbSize = sizeof facts;
  if (!GetMonitorInfoW(monitor, &facts)) return TRUE;  // unplugged in this moment
  DisplayInfo info;
  info.id = monitor_id(facts.szDevice);
  info.name = info.id;
  DISPLAY_DEVICEW device{};
  device.cb = sizeof device;
  if (EnumDisplayDevicesW(facts.szDevice, 0, &device, 0) && device.DeviceString[0] != L'\0') {
    info.name = to_utf8(device.DeviceString);
  }
  const RECT& at = facts.rcMonitor;
  info.bounds = {at.left, at.top, at.right - at.left, at.bottom - at.top};
  info.primary = (facts.dwFlags & MONITORINFOF_PRIMARY) != 0;
  UINT dpi_x = 0;
  UINT dpi_y = 0;
  if (SUCCEEDED(GetDpiForMonitor(monitor, MDT_EFFECTIVE_DPI, &dpi_x, &dpi_y)) && dpi_x != 0) {
    info.scale = dpi_x / static_cast<double>(USER_DEFAULT_SCREEN_DPI);
  }
  DEVMODEW mode{};
  mode.dmSize = sizeof mode;
  if (EnumDisplaySettingsW(facts.szDevice, ENUM_CURRENT_SETTINGS, &mode) &&
      mode.dmDisplayFrequency > 1) {  // 0 and 1 stand for the hardware's default
    info.refresh_hz = mode.dmDisplayFrequency;
  }
  if (!info.bounds.empty())
    reinterpret_cast<std::vector<DisplayInfo>*>(out)->push_back(std::move(info));
  return TRUE;
}

}  // namespace

std::string monitor_id(const wchar_t* device) {
  std::string id = to_utf8(device);
  if (id.starts_with("\\\\.\\")) id.erase(0, 4);
  return id;
}

std::vector<DisplayInfo> list_monitors() {
  const DpiAware aware;
  std::vector<DisplayInfo> monitors;
  EnumDisplayMonitors(nullptr, nullptr, add_monitor, reinterpret_cast<LPARAM>(&monitors));
  return monitors;
}

}  // namespace kvm::gdi

namespace kvm {

std::vector<DisplayInfo> list_displays(const std::string& /*x_display*/) {
  std::vector<DisplayInfo> monitors = gdi::list_monitors();
  if (monitors.empty()) {
    throw Error(ErrorKind::kCapture,
                "this session has no desktop (0 monitors); run in the session of a user who is "
                "logged on, not in that of services");
  }
  return monitors;
}

}  // namespace kvm
