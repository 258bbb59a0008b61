#include "capture/dxgi/texture_ring.hpp"

#include <d3d10.h>

#include <utility>

#include "base/clock.hpp"
#include "convert/rects.hpp"

namespace kvm::dxgi {
namespace {

// A slot that nobody has may still be read by the encoder's GPU, but not for as long as that.
constexpr std::int64_t kBusyNs = kNsPerSec;

// FFmpeg and drivers use the device from threads of their own.
bool protect(ID3D11Device& device) {
  ComPtr<ID3D10Multithread> threads;
  if (device.QueryInterface(__uuidof(ID3D10Multithread), reinterpret_cast<void**>(threads.put())) !=
      S_OK)
    return false;
  threads->SetMultithreadProtected(TRUE);
  return true;
}

}  // namespace

std::unique_ptr<TextureRing> TextureRing::make(std::shared_ptr<TextureSharing> sharing,
                                               const ComPtr<ID3D11Device>& device,
                                               const ComPtr<ID3D11DeviceContext>& context,
                                               int width, int height, std::string& why) {
  const auto refuse = [&why](const char* what, HRESULT answer) {
    why = std::string(what) + " (Windows answers " + hex(answer) + ")";
    return nullptr;
  };
  auto shared = std::make_shared<SharedTextures>(sharing, width, height);
  EncoderDevice& encoder = shared->encoder_;
  if (const HRESULT made = sharing->make_device(*device, encoder); made != S_OK)
    return refuse("no second D3D11 device for the encoder", made);
  LUID capture_adapter{};
  LUID encoder_adapter{};
  HRESULT told = sharing->adapter_of(*device, capture_adapter);
  if (told == S_OK) told = sharing->adapter_of(*encoder.device, encoder_adapter);
  if (told != S_OK) return refuse("a D3D11 device does not name its adapter", told);
  if (capture_adapter.LowPart != encoder_adapter.LowPart ||
      capture_adapter.HighPart != encoder_adapter.HighPart) {
    why = "the encoder's D3D11 device is on another adapter";
    return nullptr;
  }
  if (!protect(*encoder.device))
    return refuse("a D3D11 device for one thread alone", E_NOINTERFACE);
  std::unique_ptr<TextureRing> ring(new TextureRing(shared, device, context));
  for (std::size_t i = 0; i < ring->slots_.size(); ++i) {
    Slot& slot = ring->slots_[i];
    SharedHandle handle;
    if (const HRESULT made = sharing->create(*device, width, height, slot.ours, handle);
        made != S_OK)
      return refuse("no shared texture", made);
    if (const HRESULT opened =
            sharing->open(*encoder.device, handle.get(), shared->slots[i].theirs);
        opened != S_OK)
      return refuse("the encoder's device does not open a shared texture", opened);
    slot.stale = TileMap(width, height);
    slot.stale.set_all();
  }
  return ring;
}

bool TextureRing::acquire(std::size_t index) {
  Slot& slot = slots_[index];
  const HRESULT taken = textures_->sharing_->acquire(*slot.ours, textures_->slots[index].key, 0);
  if (taken == S_OK) {
    slot.busy_since_ns = 0;
    return true;
  }
  const std::int64_t now = now_ns();
  if (taken != static_cast<HRESULT>(WAIT_TIMEOUT)) {
    textures_->lose("the capture does not get a shared texture (AcquireSync answers " + hex(taken) +
                    ")");
  } else if (slot.busy_since_ns == 0) {
    slot.busy_since_ns = now;
  } else if (now - slot.busy_since_ns >= kBusyNs) {
    textures_->lose("the encoder's device has kept a shared texture for " +
                    std::to_string(kBusyNs / kNsPerSec) + " s");
  }
  return false;
}

std::optional<Frame> TextureRing::publish(ID3D11Texture2D& picture, int x, int y,
                                          TileMap& changed) {
  std::size_t free = 0;
  for (;; ++free) {
    if (lost() || free == slots_.size()) return std::nullopt;
    if (!textures_->slots[free].leased.load(std::memory_order_acquire) && acquire(free)) break;
  }
  Slot& slot = slots_[free];
  TileMap wanted = slot.stale;
  wanted.merge(changed);
  for_each_rect(wanted, [&](const Rect& rect) {
    const Rect from{rect.x + x, rect.y + y, rect.width, rect.height};
    copy_rect(*context_, picture, from, *slot.ours, 0, rect.x, rect.y);
  });
  const HRESULT released = textures_->sharing_->release(*slot.ours, SharedTextures::kWritten);
  const HRESULT removed = device_->GetDeviceRemovedReason();
  if (released != S_OK || removed != S_OK) {
    textures_->lose("the capture does not give a shared texture away (ReleaseSync answers " +
                    hex(released != S_OK ? released : removed) + ")");
    return std::nullopt;
  }
  textures_->slots[free].key = SharedTextures::kWritten;
  for (Slot& other : slots_) {
    if (&other != &slot) other.stale.merge(changed);
  }
  slot.stale.clear();
  if (!std::exchange(published_, true)) changed.set_all();
  Frame frame;
  const auto held = std::make_shared<SharedPicture>(textures_, free);
  frame.picture = std::shared_ptr<GpuPicture>(held);
  frame.lease = held;
  frame.format = PixelFormat::kBgra;
  frame.width = textures_->width;
  frame.height = textures_->height;
  frame.damage = std::move(changed);
  return frame;
}

}  // namespace kvm::dxgi
