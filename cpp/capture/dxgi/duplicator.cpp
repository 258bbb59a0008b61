#include "capture/dxgi/duplicator.hpp"

#include <array>
#include <cwchar>
#include <map>
#include <utility>

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
  [[nodiscard]] std::vector<Output> outputs() override;
  [[nodiscard]] HRESULT duplicate(const std::string& id, Duplicated& result) override;
  [[nodiscard]] bool is_current() override { return factory_ && factory_->IsCurrent(); }

 private:
  struct Known {
    ComPtr<IDXGIAdapter1> adapter;
    ComPtr<IDXGIOutput1> output;
    Output facts;
  };

  void look();
  // Of the adapter that owns the output; the one of the last call where that still works.
  [[nodiscard]] HRESULT device_of(const Known& known, Duplicated& result);

  ComPtr<IDXGIFactory1> factory_;
  std::vector<Known> known_;
  ComPtr<IDXGIAdapter1> device_adapter_;
  ComPtr<ID3D11Device> device_;
  ComPtr<ID3D11DeviceContext> context_;
};

void SystemDuplicator::look() {
  known_.clear();
  if (CreateDXGIFactory1(__uuidof(IDXGIFactory1), reinterpret_cast<void**>(factory_.put())) != S_OK)
    return;
  // Names, scale and rate as GDI tells them: both captures show the same list.
  std::map<std::string, DisplayInfo> monitors;
  for (DisplayInfo& monitor : gdi::list_monitors()) monitors.emplace(monitor.id, monitor);
  for (UINT a = 0;; ++a) {
    ComPtr<IDXGIAdapter1> adapter;
    if (factory_->EnumAdapters1(a, adapter.put()) != S_OK) break;
    for (UINT o = 0;; ++o) {
      ComPtr<IDXGIOutput> output;
      if (adapter->EnumOutputs(o, output.put()) != S_OK) break;
      DXGI_OUTPUT_DESC facts{};
      if (output->GetDesc(&facts) != S_OK || !facts.AttachedToDesktop) continue;
      const auto monitor = monitors.find(gdi::monitor_id(facts.DeviceName));
      if (monitor == monitors.end()) continue;
      Known known;
      known.adapter = adapter;
      known.output = output.as<IDXGIOutput1>();
      known.facts.monitor = monitor->second;
      const RECT& at = facts.DesktopCoordinates;
      known.facts.monitor.bounds = {at.left, at.top, at.right - at.left, at.bottom - at.top};
      known.facts.rotation = facts.Rotation;
      if (const auto newer = output.as<IDXGIOutput6>()) {
        DXGI_OUTPUT_DESC1 more{};
        known.facts.hdr = newer->GetDesc1(&more) == S_OK &&
                          more.ColorSpace == DXGI_COLOR_SPACE_RGB_FULL_G2084_NONE_P2020;
      }
      if (known.facts.hdr) known.facts.sdr_white_nits = sdr_white(facts.DeviceName);
      if (known.output) known_.push_back(std::move(known));
    }
  }
}

std::vector<Output> SystemDuplicator::outputs() {
  look();
  std::vector<Output> outputs;
  for (const Known& known : known_) outputs.push_back(known.facts);
  return outputs;
}

HRESULT SystemDuplicator::device_of(const Known& known, Duplicated& result) {
  const bool same = device_ && device_adapter_.get() == known.adapter.get() &&
                    device_->GetDeviceRemovedReason() == S_OK;
  if (!same) {
    context_.reset();
    const HRESULT made = D3D11CreateDevice(
        known.adapter.get(), D3D_DRIVER_TYPE_UNKNOWN, nullptr, D3D11_CREATE_DEVICE_BGRA_SUPPORT,
        nullptr, 0, D3D11_SDK_VERSION, device_.put(), nullptr, context_.put());
    if (made != S_OK) {
      device_.reset();
      return made;
    }
    device_adapter_ = known.adapter;
  }
  result.device = device_;
  result.context = context_;
  return S_OK;
}

HRESULT SystemDuplicator::duplicate(const std::string& id, Duplicated& result) {
  // A mode change gives the same output another size and rotation.
  look();
  for (const Known& known : known_) {
    if (known.facts.monitor.id != id) continue;
    if (const HRESULT made = device_of(known, result); made != S_OK) return made;
    result.output = known.facts;
    HRESULT answer = E_NOINTERFACE;
    if (const auto newer = known.output.as<IDXGIOutput5>()) {
      // The first that fits: FP16 is worth its bandwidth on an HDR desktop alone.
      static constexpr std::array kSdr{DXGI_FORMAT_B8G8R8A8_UNORM, DXGI_FORMAT_R16G16B16A16_FLOAT};
      static constexpr std::array kHdr{DXGI_FORMAT_R16G16B16A16_FLOAT, DXGI_FORMAT_B8G8R8A8_UNORM};
      const auto& formats = known.facts.hdr ? kHdr : kSdr;
      answer = newer->DuplicateOutput1(result.device.get(), 0, static_cast<UINT>(formats.size()),
                                       formats.data(), result.duplication.put());
    }
    // Older Windows, and threads that are not aware of each monitor's DPI, have only this one.
    if (answer == E_NOINTERFACE || answer == E_NOTIMPL || answer == DXGI_ERROR_UNSUPPORTED)
      answer = known.output->DuplicateOutput(result.device.get(), result.duplication.put());
    return answer;
  }
  return DXGI_ERROR_NOT_FOUND;
}

}  // namespace

std::unique_ptr<Duplicator> system_duplicator() {
  return std::make_unique<SystemDuplicator>();
}

}  // namespace kvm::dxgi
