// The capture's ring of BGRA buffers with buffer age: which tiles of each are out of date.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

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
    std::unique_ptr<std::uint8_t[]> own;  // its memory, where the pool has none of the caller's
  };

  // `memory` holds kBuffers pictures of width × height × 4 bytes, tightly packed, kept alive by
  // `owner`.
  FramePool(int width, int height, std::uint8_t* memory, std::shared_ptr<void> owner)
      : FramePool(width, height, kBuffers, std::move(owner)) {
    for (std::size_t i = 0; i < kBuffers; ++i)
      state_->buffers[i].planes.data[0] = memory + i * picture_bytes();
  }
  // With memory of its own: kBuffers pictures, and up to `most` while consumers hold that many.
  FramePool(int width, int height, std::size_t most) : FramePool(width, height, most, nullptr) {
    for (std::size_t i = 0; i < kBuffers; ++i) {
      Buffer& buffer = state_->buffers[i];
      buffer.own = std::make_unique<std::uint8_t[]>(picture_bytes());
      buffer.planes.data[0] = buffer.own.get();
    }
  }

  // A buffer to write: not leased, not the newest. Null while others hold all of them.
  [[nodiscard]] Buffer* free_buffer() noexcept {
    for (Buffer& buffer : state_->buffers) {
      if (&buffer == newest_ || buffer.leased.load(std::memory_order_acquire)) continue;
      if (buffer.planes.data[0] == nullptr) {
        buffer.own.reset(new (std::nothrow) std::uint8_t[picture_bytes()]);
        buffer.planes.data[0] = buffer.own.get();
        if (!buffer.own) return nullptr;
      }
      return &buffer;
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
    State(std::size_t count, std::shared_ptr<void> kept) : owner(std::move(kept)), buffers(count) {}
    std::shared_ptr<void> owner;
    std::vector<Buffer> buffers;  // never moved
  };

  FramePool(int width, int height, std::size_t count, std::shared_ptr<void> owner)
      : width_(width), height_(height), state_(std::make_shared<State>(count, std::move(owner))) {
    for (Buffer& buffer : state_->buffers) {
      buffer.planes.stride[0] = std::ptrdiff_t{width} * 4;
      buffer.stale = TileMap(width, height);
      buffer.stale.set_all();
    }
  }
  [[nodiscard]] std::size_t picture_bytes() const noexcept {
    return static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_) * 4;
  }

  int width_;
  int height_;
  std::shared_ptr<State> state_;
  Buffer* newest_ = nullptr;
};

}  // namespace kvm
