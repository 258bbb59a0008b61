// DXGI's factory with a test's hand on it: the system's adapters and outputs, or none.
#pragma once

#include <memory>

#include "capture/dxgi/duplicator.hpp"
#include "fake_object.hpp"

namespace kvm::test {

// What a test orders, and what it finds out.
struct FactoryScript {
  bool has_adapters = true;
  int generation = 0;     // factories made before it grew are not current
  int factories = 0;      // made
  int live = 0;           // of them
  int devices = 0;        // made
  int unaware_looks = 0;  // at adapters, by a thread that is not aware of each monitor's DPI
};

[[nodiscard]] inline bool is_dpi_aware() {
  return GetAwarenessFromDpiAwarenessContext(GetThreadDpiAwarenessContext()) ==
         DPI_AWARENESS_PER_MONITOR_AWARE;
}

// One thread. Forwards to the system's own.
class FakeFactory final : public FakeObject<IDXGIFactory1> {
 public:
  FakeFactory(FactoryScript& script, ComPtr<IDXGIFactory1> real)
      : script_(script), real_(std::move(real)), generation_(script.generation) {
    ++script_.factories;
    ++script_.live;
  }

  HRESULT STDMETHODCALLTYPE EnumAdapters(UINT, IDXGIAdapter**) override { return E_NOTIMPL; }
  HRESULT STDMETHODCALLTYPE MakeWindowAssociation(HWND, UINT) override { return E_NOTIMPL; }
  HRESULT STDMETHODCALLTYPE GetWindowAssociation(HWND*) override { return E_NOTIMPL; }
  HRESULT STDMETHODCALLTYPE CreateSwapChain(IUnknown*, DXGI_SWAP_CHAIN_DESC*,
                                            IDXGISwapChain**) override {
    return E_NOTIMPL;
  }
  HRESULT STDMETHODCALLTYPE CreateSoftwareAdapter(HMODULE, IDXGIAdapter**) override {
    return E_NOTIMPL;
  }
  HRESULT STDMETHODCALLTYPE EnumAdapters1(UINT index, IDXGIAdapter1** adapter) override {
    if (!is_dpi_aware()) ++script_.unaware_looks;
    return script_.has_adapters ? real_->EnumAdapters1(index, adapter) : DXGI_ERROR_NOT_FOUND;
  }
  BOOL STDMETHODCALLTYPE IsCurrent() override {
    return generation_ == script_.generation ? TRUE : FALSE;
  }

 private:
  ~FakeFactory() override { --script_.live; }

  FactoryScript& script_;
  ComPtr<IDXGIFactory1> real_;
  int generation_;
};

[[nodiscard]] inline dxgi::SystemCalls scripted_calls(FactoryScript& script) {
  const dxgi::SystemCalls real = dxgi::system_calls();
  dxgi::SystemCalls calls = real;
  calls.make_factory = [&script, real](IDXGIFactory1** factory) {
    ComPtr<IDXGIFactory1> inner;
    const HRESULT made = real.make_factory(inner.put());
    if (made == S_OK) *factory = new FakeFactory(script, std::move(inner));
    return made;
  };
  calls.make_device = [&script, real](IDXGIAdapter1* adapter, ID3D11Device** device,
                                      ID3D11DeviceContext** context) {
    ++script.devices;
    return real.make_device(adapter, device, context);
  };
  return calls;
}

}  // namespace kvm::test
