#include "fake_sharing.hpp"

#include <cstring>
#include <stdexcept>

#include "base/clock.hpp"
#include "fake_object.hpp"

namespace kvm::test {
namespace {

constexpr std::uint32_t kGarbage = 0x003a3a3a;

// Wine has neither interface; FFmpeg, which asks for them, lets go of them and no more where it
// encodes. Every COM object's first three functions are the same ones.
class Counted final : public FakeObject<IDXGIObject> {};

template <typename T>
ComPtr<T> stand_in() {
  ComPtr<T> object;
  *object.put() = reinterpret_cast<T*>(new Counted);
  return object;
}

ComPtr<ID3D11DeviceContext> context_of(ID3D11Texture2D& texture) {
  ComPtr<ID3D11Device> device;
  texture.GetDevice(device.put());
  ComPtr<ID3D11DeviceContext> context;
  device->GetImmediateContext(context.put());
  return context;
}

}  // namespace

std::vector<std::uint32_t> pixels_of(ID3D11Texture2D& texture, unsigned subresource) {
  D3D11_TEXTURE2D_DESC facts{};
  texture.GetDesc(&facts);
  facts.ArraySize = 1;
  facts.Usage = D3D11_USAGE_STAGING;
  facts.BindFlags = facts.MiscFlags = 0;
  facts.CPUAccessFlags = D3D11_CPU_ACCESS_READ;
  ComPtr<ID3D11Device> device;
  texture.GetDevice(device.put());
  ComPtr<ID3D11Texture2D> staging;
  const auto context = context_of(texture);
  D3D11_MAPPED_SUBRESOURCE map{};
  if (device->CreateTexture2D(&facts, nullptr, staging.put()) != S_OK)
    throw std::runtime_error("no staging texture");
  context->CopySubresourceRegion(staging.get(), 0, 0, 0, 0, &texture, subresource, nullptr);
  if (context->Map(staging.get(), 0, D3D11_MAP_READ, 0, &map) != S_OK)
    throw std::runtime_error("no map");
  std::vector<std::uint32_t> pixels(std::size_t{facts.Width} * facts.Height);
  for (std::size_t y = 0; y < facts.Height; ++y) {
    std::memcpy(&pixels[y * facts.Width],
                static_cast<const std::uint8_t*>(map.pData) + y * map.RowPitch,
                std::size_t{facts.Width} * 4);
  }
  context->Unmap(staging.get(), 0);
  for (std::uint32_t& pixel : pixels) pixel &= 0x00ffffff;
  return pixels;
}

void fill(ID3D11Texture2D& texture, const std::vector<std::uint32_t>& pixels) {
  D3D11_TEXTURE2D_DESC facts{};
  texture.GetDesc(&facts);
  context_of(texture)->UpdateSubresource(&texture, 0, nullptr, pixels.data(), facts.Width * 4, 0);
}

void FakeSharing::spoil(ID3D11Texture2D& texture) {
  D3D11_TEXTURE2D_DESC facts{};
  texture.GetDesc(&facts);
  fill(texture, std::vector<std::uint32_t>(std::size_t{facts.Width} * facts.Height, kGarbage));
}

void FakeSharing::fail(Call call, HRESULT code, int after) {
  const std::lock_guard lock(mutex_);
  Plan& plan = plans_[static_cast<std::size_t>(call)];
  plan.code = code;
  plan.after = plan.calls + after;
}

void FakeSharing::mend() {
  const std::lock_guard lock(mutex_);
  for (Plan& plan : plans_) plan.after = INT_MAX;
}

void FakeSharing::keep_reading(bool on) {
  const std::lock_guard lock(mutex_);
  reading_ = on;
}

int FakeSharing::calls(Call call) const {
  const std::lock_guard lock(mutex_);
  return plans_[static_cast<std::size_t>(call)].calls;
}

int FakeSharing::wrong_calls() const {
  const std::lock_guard lock(mutex_);
  return wrong_;
}

int FakeSharing::held() const {
  const std::lock_guard lock(mutex_);
  return held_;
}

HRESULT FakeSharing::begin(Call call) {
  Plan& plan = plans_[static_cast<std::size_t>(call)];
  return plan.calls++ >= plan.after ? plan.code : S_OK;
}

HRESULT FakeSharing::make_device(ID3D11Device& like, dxgi::EncoderDevice& made) {
  const std::lock_guard lock(mutex_);
  if (const HRESULT answer = begin(Call::kMakeDevice); answer != S_OK) return answer;
  ComPtr<IDXGIDevice> dxgi;
  ComPtr<IDXGIAdapter> adapter;
  like.QueryInterface(__uuidof(IDXGIDevice), reinterpret_cast<void**>(dxgi.put()));
  if (dxgi->GetAdapter(adapter.put()) != S_OK) return E_FAIL;
  made.video_device = stand_in<ID3D11VideoDevice>();
  made.video_context = stand_in<ID3D11VideoContext>();
  const HRESULT answer = D3D11CreateDevice(
      adapter.get(), D3D_DRIVER_TYPE_UNKNOWN, nullptr, D3D11_CREATE_DEVICE_BGRA_SUPPORT, nullptr, 0,
      D3D11_SDK_VERSION, made.device.put(), nullptr, made.context.put());
  made_ = made.device.get();
  return answer;
}

HRESULT FakeSharing::adapter_of(ID3D11Device& device, LUID& adapter) {
  const std::lock_guard lock(mutex_);
  if (const HRESULT answer = begin(Call::kAdapter); answer != S_OK) return answer;
  adapter = {17, 4};
  if (elsewhere_ && &device == made_) ++adapter.HighPart;
  return S_OK;
}

HRESULT FakeSharing::make_texture(ID3D11Device& on, const std::shared_ptr<Shared>& shared,
                                  ComPtr<ID3D11Texture2D>& texture) {
  if (on.CreateTexture2D(&shared->facts, nullptr, texture.put()) != S_OK) return E_OUTOFMEMORY;
  textures_[texture.get()] = shared;
  spoil(*texture);
  return S_OK;
}

HRESULT FakeSharing::create(ID3D11Device& on, int width, int height,
                            ComPtr<ID3D11Texture2D>& texture, dxgi::SharedHandle& handle) {
  const std::lock_guard lock(mutex_);
  if (const HRESULT answer = begin(Call::kCreate); answer != S_OK) return answer;
  auto shared = std::make_shared<Shared>();
  shared->facts.Width = static_cast<UINT>(width);
  shared->facts.Height = static_cast<UINT>(height);
  shared->facts.MipLevels = shared->facts.ArraySize = 1;
  shared->facts.Format = DXGI_FORMAT_B8G8R8A8_UNORM;
  shared->facts.SampleDesc.Count = 1;
  shared->facts.BindFlags = D3D11_BIND_RENDER_TARGET | D3D11_BIND_SHADER_RESOURCE;
  shared->content.assign(std::size_t{shared->facts.Width} * shared->facts.Height, kGarbage);
  if (const HRESULT made = make_texture(on, shared, texture); made != S_OK) return made;
  shared->created = texture.get();
  handle.reset(CreateEventW(nullptr, FALSE, FALSE, nullptr));  // a handle to be closed like any
  handles_[handle.get()] = shared;
  return S_OK;
}

HRESULT FakeSharing::open(ID3D11Device& on, HANDLE handle, ComPtr<ID3D11Texture2D>& texture) {
  const std::lock_guard lock(mutex_);
  if (const HRESULT answer = begin(Call::kOpen); answer != S_OK) return answer;
  DWORD flags = 0;
  const auto found = handles_.find(handle);
  if (found == handles_.end() || GetHandleInformation(handle, &flags) == FALSE) return E_HANDLE;
  const auto shared = found->second;
  handles_.erase(found);  // once: its value may come again
  return make_texture(on, shared, texture);
}

HRESULT FakeSharing::acquire(ID3D11Texture2D& texture, std::uint64_t key, unsigned milliseconds) {
  const std::int64_t deadline = now_ns() + std::int64_t{milliseconds} * kNsPerMs;
  std::unique_lock lock(mutex_);
  if (const HRESULT answer = begin(Call::kAcquire); answer != S_OK) return answer;
  Shared& shared = *textures_.at(&texture);
  const auto free = [&] {
    return shared.holder == nullptr && shared.key == key &&
           !(reading_ && shared.created == &texture);
  };
  if (shared.holder == &texture) {
    ++wrong_;
    return DXGI_ERROR_INVALID_CALL;
  }
  while (!free()) {
    if (now_ns() >= deadline) return static_cast<HRESULT>(WAIT_TIMEOUT);
    lock.unlock();
    Sleep(1);
    lock.lock();
  }
  shared.holder = &texture;
  fill(texture, shared.content);
  ++held_;
  return S_OK;
}

HRESULT FakeSharing::release(ID3D11Texture2D& texture, std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  const HRESULT answer = begin(Call::kRelease);
  Shared& shared = *textures_.at(&texture);
  if (shared.holder != &texture) {
    ++wrong_;
    return DXGI_ERROR_INVALID_CALL;
  }
  if (answer != S_OK) return answer;
  shared.content = pixels_of(texture);
  spoil(texture);
  shared.holder = nullptr;
  shared.key = key;
  --held_;
  return S_OK;
}

}  // namespace kvm::test
