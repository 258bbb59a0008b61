#include "capture/dxgi/duplicator.hpp"

#include <algorithm>
#include <array>
#include <cwchar>
#include <optional>
#include <utility>

#include "capture/gdi/handles.hpp"
#include "capture/gdi/monitors.hpp"

namespace kvm::dxgi {
namespace {

// What the user set as brightness of SDR content, by GDI's name of the source.
float sdr_white(const wchar_t* device) {
  UINT32 path_count = 0;
  UINT32 mode_count = 0;
  if (GetDisplayConfigBufferSizes(QDC_ONLY_ACTIVE_PATHS, &path_count, &mode_count) != ERROR_SUCCESS)
    return kScrgbWhiteNits;
  std::vector<DISPLAYCONFIG_PATH_INFO> paths(path_count);
  std::vector<DISPLAYCONFIG_MODE_INFO> modes(mode_count);
  if (QueryDisplayConfig(QDC_ONLY_ACTIVE_PATHS, &path_count, paths.data(), &mode_count,
                         modes.data(), nullptr) != ERROR_SUCCESS)
    return kScrgbWhiteNits;
  paths.resize(path_count);
  for (const DISPLAYCONFIG_PATH_INFO& path : paths) {
    DISPLAYCONFIG_SOURCE_DEVICE_NAME name{};
    name.header.type = DISPLAYCONFIG_DEVICE_INFO_GET_SOURCE_NAME;
    name.header.size = sizeof name;
    name.header.adapterId = path.sourceInfo.adapterId;
    name.header.id = path.sourceInfo.id;
    if (DisplayConfigGetDeviceInfo(&name.header) != ERROR_SUCCESS ||
        std::wcscmp(name.viewGdiDeviceName, device) != 0)
      continue;
    DISPLAYCONFIG_SDR_WHITE_LEVEL level{};
    level.header.type = DISPLAYCONFIG_DEVICE_INFO_GET_SDR_WHITE_LEVEL;
    level.header.size = sizeof level;
    level.header.adapterId = path.targetInfo.adapterId;
    level.header.id = path.targetInfo.id;
    if (DisplayConfigGetDeviceInfo(&level.header) == ERROR_SUCCESS && level.SDRWhiteLevel != 0)
      return static_cast<float>(level.SDRWhiteLevel) * kScrgbWhiteNits / 1000.0F;
  }
  return kScrgbWhiteNits;
}

class SystemDuplicator final : public Duplicator {
 public:
  explicit SystemDuplicator(SystemCalls calls) : calls_(std::move(calls)) {}

  [[nodiscard]] std::vector<DisplayInfo> monitors() override;
  [[nodiscard]] HRESULT duplicate(const std::string& id, Duplicated& result) override;
  [[nodiscard]] bool is_current() override { return factory_ && factory_->IsCurrent(); }

 private:
  struct Found {
    ComPtr<IDXGIAdapter1> adapter;
    ComPtr<IDXGIOutput1> output;
    DXGI_OUTPUT_DESC facts{};
  };

  [[nodiscard]] std::optional<Found> find(const std::string& id) const;
  // Of the adapter; the one of the last call where that still works.
  [[nodiscard]] HRESULT device_of(IDXGIAdapter1* adapter, Duplicated& result);

  SystemCalls calls_;
  ComPtr<IDXGIFactory1> factory_;  // as old as the last look at the monitors
  LUID device_adapter_{};
  ComPtr<ID3D11Device> device_;
  ComPtr<ID3D11DeviceContext> context_;
};

std::vector<DisplayInfo> SystemDuplicator::monitors() {
  if (calls_.make_factory(factory_.put()) != S_OK) factory_.reset();
  return calls_.list_monitors();
}

std::optional<SystemDuplicator::Found> SystemDuplicator::find(const std::string& id) const {
  // Of its own: what outputs say of themselves is as old as their factory, and a mode change gives
  // the same output another size and rotation.
  ComPtr<IDXGIFactory1> factory;
  if (calls_.make_factory(factory.put()) != S_OK) return std::nullopt;
  Found found;
  for (UINT a = 0; factory->EnumAdapters1(a, found.adapter.put()) == S_OK; ++a) {
    ComPtr<IDXGIOutput> output;
    for (UINT o = 0; found.adapter->EnumOutputs(o, output.put()) == S_OK; ++o) {
      if (output->GetDesc(&found.facts) != S_OK || !found.facts.AttachedToDesktop ||
          gdi::monitor_id(found.facts.DeviceName) != id)
        continue;
      found.output = output.as<IDXGIOutput1>();
      if (found.output) return found;
    }
  }
  return std::nullopt;
}

HRESULT SystemDuplicator::device_of(IDXGIAdapter1* adapter, Duplicated& result) {
  // Every factory has objects of its own for the same adapter.
  DXGI_ADAPTER_DESC1 facts{};
  if (const HRESULT told = adapter->GetDesc1(&facts); told != S_OK) return told;
  const bool same = device_ && device_adapter_.LowPart == facts.AdapterLuid.LowPart &&
                    device_adapter_.HighPart == facts.AdapterLuid.HighPart &&
                    device_->GetDeviceRemovedReason() == S_OK;
  if (!same) {
    context_.reset();
    if (const HRESULT made = calls_.make_device(adapter, device_.put(), context_.put());
        made != S_OK) {
      device_.reset();
      return made;
    }
    device_adapter_ = facts.AdapterLuid;
  }
  result.device = device_;
  result.context = context_;
  return S_OK;
}

HRESULT SystemDuplicator::duplicate(const std::string& id, Duplicated& result) {
  // DuplicateOutput1 asks for it, and outputs give their place in pixels of the thread's kind.
  const gdi::DpiAware aware;
  const std::vector<DisplayInfo> monitors = calls_.list_monitors();
  const auto monitor = std::find_if(monitors.begin(), monitors.end(),
                                    [&](const DisplayInfo& each) { return each.id == id; });
  const std::optional<Found> found = find(id);
  if (monitor == monitors.end() || !found) return DXGI_ERROR_NOT_FOUND;
  Duplicated made;
  if (const HRESULT answer = device_of(found->adapter.get(), made); answer != S_OK) return answer;
  made.output.monitor = *monitor;
  const RECT& at = found->facts.DesktopCoordinates;
  made.output.monitor.bounds = {at.left, at.top, at.right - at.left, at.bottom - at.top};
  made.output.rotation = found->facts.Rotation;
  if (const auto newer = found->output.as<IDXGIOutput6>()) {
    DXGI_OUTPUT_DESC1 more{};
    made.output.hdr = newer->GetDesc1(&more) == S_OK &&
                      more.ColorSpace == DXGI_COLOR_SPACE_RGB_FULL_G2084_NONE_P2020;
  }
  if (made.output.hdr) made.output.sdr_white_nits = sdr_white(found->facts.DeviceName);
  HRESULT answer = E_NOINTERFACE;
  if (const auto newer = found->output.as<IDXGIOutput5>()) {
    // The first that fits: FP16 is worth its bandwidth on an HDR desktop alone.
    static constexpr std::array kSdr{DXGI_FORMAT_B8G8R8A8_UNORM, DXGI_FORMAT_R16G16B16A16_FLOAT};
    static constexpr std::array kHdr{DXGI_FORMAT_R16G16B16A16_FLOAT, DXGI_FORMAT_B8G8R8A8_UNORM};
    const auto& formats = made.output.hdr ? kHdr : kSdr;
    answer = newer->DuplicateOutput1(made.device.get(), 0, static_cast<UINT>(formats.size()),
                                     formats.data(), made.duplication.put());
  }
  // Older Windows has only this one.
  if (answer == E_NOINTERFACE || answer == E_NOTIMPL || answer == DXGI_ERROR_UNSUPPORTED)
    answer = found->output->DuplicateOutput(made.device.get(), made.duplication.put());
  if (answer == S_OK) result = std::move(made);
  return answer;
}

}  // namespace

SystemCalls system_calls() {
  SystemCalls calls;
  calls.make_factory = [](IDXGIFactory1** factory) {
    return CreateDXGIFactory1(__uuidof(IDXGIFactory1), reinterpret_cast<void**>(factory));
  };
  calls.make_device = [](IDXGIAdapter1* adapter, ID3D11Device** device,
                         ID3D11DeviceContext** context) {
    return D3D11CreateDevice(adapter, D3D_DRIVER_TYPE_UNKNOWN, nullptr,
                             D3D11_CREATE_DEVICE_BGRA_SUPPORT, nullptr, 0, D3D11_SDK_VERSION,
                             device, nullptr, context);
  };
  calls.list_monitors = gdi::list_monitors;
  return calls;
}

std::unique_ptr<Duplicator> system_duplicator(SystemCalls calls) {
  return std::make_unique<SystemDuplicator>(std::move(calls));
}

}  // namespace kvm::dxgi
