// The capture's ring of BGRA buffers with buffer age: which tiles of each are out of date.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "frame/frame.hpp"

namespace kvm {

// Capture thread only, but for the leases, which may end on any thread.
class FramePool {
 public:
  // One is the newest picture (compared against), one may be under conversion, one is being
  // written.
  static constexpr std::size_t kBuffers = 3;

  struct Buffer {
    CpuPlanes planes;
    TileMap stale;  // differs from the newest picture
    std::atomic<bool> leased{false};
  };

  // `memory` holds kBuffers pictures of width × height × 4 bytes, tightly packed, kept alive by
  // `owner`.
  FramePool(int width, int height, std::uint8_t* memory, std::shared_ptr<void> owner)
      : width_(width), height_(height), state_(std::make_shared<State>()) {
    state_->owner = std::move(owner);
    const std::size_t picture =
        static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 4;
    for (std::size_t i = 0; i < kBuffers; ++i) {
      Buffer& buffer = state_->buffers[i];
      buffer.planes.data[0] = memory + i * picture;
      buffer.planes.stride[0] = std::ptrdiff_t{width} * 4;
      buffer.stale = TileMap(width, height);
      buffer.stale.set_all();
    }
  }

  // A buffer to write: not leased, not the newest. Null while others hold all of them.
  [[nodiscard]] Buffer* free_buffer() noexcept {
    for (Buffer& buffer : state_->buffers) {
      if (&buffer != newest_ && !buffer.leased.load(std::memory_order_acquire)) return &buffer;
    }
    return nullptr;
  }
  // Null before the first publish().
  [[nodiscard]] const Buffer* newest() const noexcept { return newest_; }

  // `buffer` is now the newest picture; `changed` is where it differs from the one before.
  [[nodiscard]] Frame publish(Buffer& buffer, TileMap changed) {
    for (Buffer& other : state_->buffers) {
      if (&other != &buffer) other.stale.merge(changed);
    }
    buffer.stale.clear();
    newest_ = &buffer;
    buffer.leased.store(true, std::memory_order_relaxed);
    Frame frame;
    frame.picture = buffer.planes;
    frame.format = PixelFormat::kBgra;
    frame.width = width_;
    frame.height = height_;
    frame.damage = std::move(changed);
    frame.lease = FrameLease(&buffer, [state = state_](void* held) {
      static_cast<Buffer*>(held)->leased.store(false, std::memory_order_release);
    });
    return frame;
  }

 private:
  struct State {
    std::shared_ptr<void> owner;
    std::array<Buffer, kBuffers> buffers;
  };

  int width_;
  int height_;
  std::shared_ptr<State> state_;
  Buffer* newest_ = nullptr;
};

}  // namespace kvm
