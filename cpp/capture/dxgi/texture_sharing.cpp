#include "capture/dxgi/texture_sharing.hpp"

#include <d3d11_1.h>
#include <dxgi1_2.h>

namespace kvm::dxgi {
namespace {

HRESULT adapter_object_of(ID3D11Device& device, ComPtr<IDXGIAdapter>& adapter) {
  ComPtr<IDXGIDevice> dxgi;
  const HRESULT has =
      device.QueryInterface(__uuidof(IDXGIDevice), reinterpret_cast<void**>(dxgi.put()));
  return has == S_OK ? dxgi->GetAdapter(adapter.put()) : has;
}

ComPtr<IDXGIKeyedMutex> mutex_of(ID3D11Texture2D& texture) {
  ComPtr<IDXGIKeyedMutex> mutex;
  texture.QueryInterface(__uuidof(IDXGIKeyedMutex), reinterpret_cast<void**>(mutex.put()));
  return mutex;
}

class SystemTextureSharing final : public TextureSharing {
 public:
  [[nodiscard]] HRESULT make_device(ID3D11Device& like, EncoderDevice& made) override {
    ComPtr<IDXGIAdapter> adapter;
    if (const HRESULT found = adapter_object_of(like, adapter); found != S_OK) return found;
    const HRESULT answer = D3D11CreateDevice(
        adapter.get(), D3D_DRIVER_TYPE_UNKNOWN, nullptr,
        D3D11_CREATE_DEVICE_BGRA_SUPPORT | D3D11_CREATE_DEVICE_VIDEO_SUPPORT, nullptr, 0,
        D3D11_SDK_VERSION, made.device.put(), nullptr, made.context.put());
    if (answer != S_OK) return answer;
    made.video_device = made.device.as<ID3D11VideoDevice>();
    made.video_context = made.context.as<ID3D11VideoContext>();
    return made.video_device && made.video_context ? S_OK : E_NOINTERFACE;
  }
  [[nodiscard]] HRESULT adapter_of(ID3D11Device& device, LUID& luid) override {
    ComPtr<IDXGIAdapter> adapter;
    if (const HRESULT found = adapter_object_of(device, adapter); found != S_OK) return found;
    DXGI_ADAPTER_DESC facts{};
    const HRESULT told = adapter->GetDesc(&facts);
    luid = facts.AdapterLuid;
    return told;
  }
  [[nodiscard]] HRESULT create(ID3D11Device& on, int width, int height,
                               ComPtr<ID3D11Texture2D>& texture, SharedHandle& handle) override {
    D3D11_TEXTURE2D_DESC facts{};
    facts.Width = static_cast<UINT>(width);
    facts.Height = static_cast<UINT>(height);
    facts.MipLevels = facts.ArraySize = 1;
    facts.Format = DXGI_FORMAT_B8G8R8A8_UNORM;
    facts.SampleDesc = {1, 0};
    facts.Usage = D3D11_USAGE_DEFAULT;
    facts.BindFlags = D3D11_BIND_RENDER_TARGET | D3D11_BIND_SHADER_RESOURCE;
    facts.MiscFlags = D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX | D3D11_RESOURCE_MISC_SHARED_NTHANDLE;
    if (const HRESULT made = on.CreateTexture2D(&facts, nullptr, texture.put()); made != S_OK)
      return made;
    const auto resource = texture.as<IDXGIResource1>();
    if (!resource) return E_NOINTERFACE;
    HANDLE raw = nullptr;
    const HRESULT shared = resource->CreateSharedHandle(
        nullptr, DXGI_SHARED_RESOURCE_READ | DXGI_SHARED_RESOURCE_WRITE, nullptr, &raw);
    if (shared == S_OK) handle.reset(raw);
    return shared;
  }
  [[nodiscard]] HRESULT open(ID3D11Device& on, HANDLE handle,
                             ComPtr<ID3D11Texture2D>& texture) override {
    ComPtr<ID3D11Device1> newer;
    const HRESULT has =
        on.QueryInterface(__uuidof(ID3D11Device1), reinterpret_cast<void**>(newer.put()));
    return has == S_OK ? newer->OpenSharedResource1(handle, __uuidof(ID3D11Texture2D),
                                                    reinterpret_cast<void**>(texture.put()))
                       : has;
  }
  [[nodiscard]] HRESULT acquire(ID3D11Texture2D& texture, std::uint64_t key,
                                unsigned milliseconds) override {
    const auto mutex = mutex_of(texture);
    return mutex ? mutex->AcquireSync(key, milliseconds) : E_NOINTERFACE;
  }
  [[nodiscard]] HRESULT release(ID3D11Texture2D& texture, std::uint64_t key) override {
    const auto mutex = mutex_of(texture);
    return mutex ? mutex->ReleaseSync(key) : E_NOINTERFACE;
  }
};

}  // namespace

std::shared_ptr<TextureSharing> system_texture_sharing() {
  return std::make_shared<SystemTextureSharing>();
}

}  // namespace kvm::dxgi
