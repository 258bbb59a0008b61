#include <dxgi.h>

#include "base/com_ptr.hpp"
#include "capture/gdi/monitors.hpp"
#include "encode/gpus.hpp"

namespace kvm {
namespace {

[[nodiscard]] bool has_output(IDXGIAdapter1& adapter, const std::string& monitor) {
  for (UINT i = 0;; ++i) {
    ComPtr<IDXGIOutput> output;
    if (adapter.EnumOutputs(i, output.put()) != S_OK) return false;
    DXGI_OUTPUT_DESC facts{};
    if (output->GetDesc(&facts) == S_OK && gdi::monitor_id(facts.DeviceName) == monitor)
      return true;
  }
}

// Of the part of the driver that runs in our process, which every update changes.
[[nodiscard]] std::string driver_version(IDXGIAdapter1& adapter) {
  LARGE_INTEGER version{};
  if (adapter.CheckInterfaceSupport(__uuidof(IDXGIDevice), &version) != S_OK) return "";
  return std::to_string(version.QuadPart);
}

}  // namespace

std::vector<Gpu> list_gpus(const std::string& display) {
  std::vector<Gpu> gpus;
  ComPtr<IDXGIFactory1> factory;
  if (CreateDXGIFactory1(__uuidof(IDXGIFactory1), reinterpret_cast<void**>(factory.put())) != S_OK)
    return gpus;
  const auto monitors = gdi::list_monitors();
  const DisplayInfo* const captured = find_monitor(monitors, display);
  for (UINT i = 0;; ++i) {
    ComPtr<IDXGIAdapter1> adapter;
    if (factory->EnumAdapters1(i, adapter.put()) != S_OK) return gpus;
    DXGI_ADAPTER_DESC1 facts{};
    if (adapter->GetDesc1(&facts) != S_OK || (facts.Flags & DXGI_ADAPTER_FLAG_SOFTWARE) != 0)
      continue;
    const bool shows = captured != nullptr && has_output(*adapter, captured->id);
    gpus.push_back(
        {static_cast<GpuVendor>(facts.VendorId), facts.DeviceId, shows, driver_version(*adapter)});
  }
}

}  // namespace kvm
