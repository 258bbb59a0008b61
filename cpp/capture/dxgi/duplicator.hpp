// What capture asks of DXGI: which outputs there are, and a duplication of one. Tests put their own
// in its place.
#pragma once

#include <d3d11.h>
#include <dxgi1_6.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/com_ptr.hpp"
#include "capture/dxgi/tone_map.hpp"
#include "capture/source.hpp"

namespace kvm::dxgi {

struct Output {
  DisplayInfo monitor;  // its bounds are those on the desktop: after rotation
  DXGI_MODE_ROTATION rotation = DXGI_MODE_ROTATION_IDENTITY;
  bool hdr = false;                        // its colour space is scRGB or PQ
  float sdr_white_nits = kScrgbWhiteNits;  // what the user set for SDR content on an HDR output
};

// An output under duplication, on a device of the adapter that owns it.
struct Duplicated {
  ComPtr<ID3D11Device> device;
  ComPtr<ID3D11DeviceContext> context;
  ComPtr<IDXGIOutputDuplication> duplication;
  Output output;
};

// Capture thread only.
class Duplicator {
 public:
  virtual ~Duplicator() = default;
  Duplicator() = default;
  Duplicator(const Duplicator&) = delete;
  Duplicator& operator=(const Duplicator&) = delete;

  // As displays() lists them, those too that DXGI does not know. Empty where the session has no
  // desktop.
  [[nodiscard]] virtual std::vector<DisplayInfo> monitors() = 0;
  // By DisplayInfo::id. What DXGI answers, S_OK or one of DXGI_ERROR_… and E_…; `result` is set at
  // S_OK only.
  [[nodiscard]] virtual HRESULT duplicate(const std::string& id, Duplicated& result) = 0;
  // False once the adapters or outputs are others than at the last call of monitors().
  [[nodiscard]] virtual bool is_current() = 0;
};

// What the system's duplicator calls; tests put their own in its place.
struct SystemCalls {
  std::function<HRESULT(IDXGIFactory1** factory)> make_factory;
  std::function<HRESULT(IDXGIAdapter1* adapter, ID3D11Device** device,
                        ID3D11DeviceContext** context)>
      make_device;
  std::function<std::vector<DisplayInfo>()> list_monitors;
};
[[nodiscard]] SystemCalls system_calls();

[[nodiscard]] std::unique_ptr<Duplicator> system_duplicator(SystemCalls calls = system_calls());

}  // namespace kvm::dxgi
