// The capture's side of textures that an encoder reads without a way through memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "capture/dxgi/shared_textures.hpp"
#include "frame/frame.hpp"

namespace kvm::dxgi {

// Shared BGRA textures with buffer age: which tiles of each are out of date. As FramePool, but that
// damage is what the caller says: nothing is compared. Capture thread only, but for the frames,
// which may end on any thread.
class TextureRing {
 public:
  // Makes the textures on the capture's device, and the encoder's device on the same adapter. Null
  // with the reason in `why`.
  [[nodiscard]] static std::unique_ptr<TextureRing> make(std::shared_ptr<TextureSharing> sharing,
                                                         const ComPtr<ID3D11Device>& device,
                                                         const ComPtr<ID3D11DeviceContext>& context,
                                                         int width, int height, std::string& why);

  // What `picture` has from (x, y) on is the newest picture; `changed`, which is moved from then,
  // is where it differs from the one before. Nothing when every slot is in use, for a moment or for
  // as long as frames live, or when the textures are lost(). Never waits.
  [[nodiscard]] std::optional<Frame> publish(ID3D11Texture2D& picture, int x, int y,
                                             TileMap& changed);

  [[nodiscard]] bool is_on(const ComPtr<ID3D11Device>& device) const noexcept {
    return device.get() == device_.get();
  }
  // For ever. The slots, and what is in them, are not to be trusted then.
  [[nodiscard]] bool lost() const noexcept { return textures_->lost(); }
  [[nodiscard]] std::string why_lost() const { return textures_->why_lost(); }
  [[nodiscard]] const std::shared_ptr<SharedTextures>& textures() const noexcept {
    return textures_;
  }

 private:
  struct Slot {
    ComPtr<ID3D11Texture2D> ours;
    TileMap stale;                   // differs from the newest picture
    std::int64_t busy_since_ns = 0;  // not leased, and yet not to be had; 0 = it was
  };

  TextureRing(std::shared_ptr<SharedTextures> textures, const ComPtr<ID3D11Device>& device,
              const ComPtr<ID3D11DeviceContext>& context)
      : textures_(std::move(textures)), device_(device), context_(context) {}
  // True when the slot's mutex is held.
  [[nodiscard]] bool acquire(std::size_t slot);

  std::shared_ptr<SharedTextures> textures_;
  ComPtr<ID3D11Device> device_;
  ComPtr<ID3D11DeviceContext> context_;
  std::array<Slot, SharedTextures::kSlots> slots_;
  bool published_ = false;
};

}  // namespace kvm::dxgi
