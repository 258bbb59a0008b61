// A ring's textures as both devices know them, and what the encoder's side does with them.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "capture/dxgi/texture_sharing.hpp"
#include "frame/frame.hpp"

namespace kvm::dxgi {

// Of one subresource, top left corner of `rect` at (x, y) of `to`.
void copy_rect(ID3D11DeviceContext& context, ID3D11Texture2D& from, const Rect& rect,
               ID3D11Texture2D& to, unsigned subresource, int x, int y);

// Lives as long as the ring or any picture of it. What the capture's side has of it is the ring's.
class SharedTextures final : public GpuDevice {
 public:
  // As a FramePool: one in the slot, one being encoded, one being written.
  static constexpr std::size_t kSlots = 3;
  // Of the keyed mutexes: what a slot was released with last, and is to be acquired with.
  static constexpr std::uint64_t kRead = 0;
  static constexpr std::uint64_t kWritten = 1;

  struct Slot {
    ComPtr<ID3D11Texture2D> theirs;  // on the encoder's device
    std::atomic<std::uint64_t> key{kRead};
    std::atomic<bool> leased{false};
  };

  SharedTextures(std::shared_ptr<TextureSharing> sharing, int wide, int high)
      : width(wide), height(high), sharing_(std::move(sharing)) {}

  // Where an encoder may make textures of its own to copy pictures to. Multithread-protected.
  [[nodiscard]] const EncoderDevice& encoder() const noexcept { return encoder_; }
  // From capture to encoder; nothing more is handed over then. Any thread; the first reason stays.
  void lose(const std::string& why);
  [[nodiscard]] bool lost() const noexcept { return lost_; }
  [[nodiscard]] std::string why_lost() const;

  const int width;
  const int height;
  std::array<Slot, kSlots> slots;

 private:
  friend class SharedPicture;
  friend class TextureRing;

  // Calls fn(texture) while the encoder's side holds the slot's mutex. False when that is lost.
  template <typename Fn>
  [[nodiscard]] bool hold(Slot& slot, Fn&& fn);
  [[nodiscard]] bool prepare_staging();

  std::shared_ptr<TextureSharing> sharing_;
  EncoderDevice encoder_;
  std::mutex reading_;  // one at a time: the encode thread, and whoever wants a thumbnail
  ComPtr<ID3D11Texture2D> staging_;
  std::atomic<bool> lost_{false};
  mutable std::mutex mutex_;
  std::string why_;
};

// One slot's picture; the slot is not written while it lives.
class SharedPicture final : public GpuPicture {
 public:
  SharedPicture(std::shared_ptr<SharedTextures> textures, std::size_t slot);
  ~SharedPicture() override;

  [[nodiscard]] const std::shared_ptr<GpuDevice>& device() const noexcept override {
    return device_;
  }
  [[nodiscard]] bool read(const TileMap& tiles, const CpuPlanes& to) const override;
  // Into a texture of the encoder's device that may be a column wider and a row higher: the last
  // ones are repeated there. False when the textures are lost.
  [[nodiscard]] bool copy_to(ID3D11Texture2D& to, unsigned subresource, int coded_width,
                             int coded_height) const;
  // On the encoder's device; it has the picture only while use() runs `read`, which has to give the
  // GPU all that is to read it. False when the textures are lost.
  [[nodiscard]] ID3D11Texture2D& texture() const noexcept { return *slot_.theirs; }
  [[nodiscard]] bool use(const std::function<void()>& read) const;
  [[nodiscard]] const SharedTextures& textures() const noexcept { return *textures_; }

 private:
  std::shared_ptr<SharedTextures> textures_;
  std::shared_ptr<GpuDevice> device_;  // the same
  SharedTextures::Slot& slot_;
};

}  // namespace kvm::dxgi
