// A captured picture on its way to the encoder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <variant>

#include "frame/geometry.hpp"

namespace kvm {

// Memory order, not word order: kBgra is B, G, R, X in rising addresses (what X11 and DXGI
// deliver).
enum class PixelFormat { kBgra, kNv12, kI420, kI444 };

// Borrowed planes; strides in bytes. kBgra and unused entries: only data[0].
struct CpuPlanes {
  std::array<std::uint8_t*, 3> data{};
  std::array<std::ptrdiff_t, 3> stride{};
};

// A graphics device that encoders can read pictures from; what it is its platform knows.
class GpuDevice {
 public:
  virtual ~GpuDevice() = default;
  GpuDevice() = default;
  GpuDevice(const GpuDevice&) = delete;
  GpuDevice& operator=(const GpuDevice&) = delete;
};

// A BGRA picture that stays on the GPU. Any thread.
class GpuPicture {
 public:
  virtual ~GpuPicture() = default;
  GpuPicture() = default;
  GpuPicture(const GpuPicture&) = delete;
  GpuPicture& operator=(const GpuPicture&) = delete;

  // The one that may read it.
  [[nodiscard]] virtual const std::shared_ptr<GpuDevice>& device() const noexcept = 0;
  // Copies the marked tiles to the same place of a BGRA picture; waits for the GPU. False when the
  // device or the picture is lost: what stands in `to` is then as it was.
  [[nodiscard]] virtual bool read(const TileMap& tiles, const CpuPlanes& to) const = 0;
};

// Room for DMA-BUF: further alternatives join this variant with their capture.
using Picture = std::variant<CpuPlanes, std::shared_ptr<GpuPicture>>;

// CLOCK_MONOTONIC ns; 0 = stage not reached.
struct FrameTimes {
  std::int64_t damaged = 0;    // when the core learned of the oldest change in this frame
  std::int64_t captured = 0;   // pixels are in the frame's buffer
  std::int64_t converted = 0;  // pixels are in the encoder's format
  std::int64_t encoded = 0;    // access unit complete
};

// Gives a pool buffer back when the last owner of the frame goes. Implemented by each FramePool.
using FrameLease = std::shared_ptr<void>;

// Move-only lease on a pool buffer. The buffer is not written while any Frame on it lives.
struct Frame {
  Frame() = default;
  Frame(Frame&&) noexcept = default;
  Frame& operator=(Frame&&) noexcept = default;
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  Picture picture;
  PixelFormat format = PixelFormat::kBgra;
  int width = 0;  // true size in pixels, odd sizes included
  int height = 0;
  TileMap damage;  // changed since the frame the encoder took before this one
  FrameTimes times;
  FrameLease lease;

  [[nodiscard]] const CpuPlanes& planes() const { return std::get<CpuPlanes>(picture); }
  // Null when the picture is in memory.
  [[nodiscard]] const GpuPicture* on_gpu() const noexcept {
    const auto* held = std::get_if<std::shared_ptr<GpuPicture>>(&picture);
    return held == nullptr ? nullptr : held->get();
  }
};

}  // namespace kvm
