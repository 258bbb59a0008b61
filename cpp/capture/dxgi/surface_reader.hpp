// From an output's surface on the GPU to upright BGRA rows in memory.
#pragma once

#include <d3d11.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "capture/dxgi/duplicator.hpp"
#include "capture/dxgi/rotation.hpp"
#include "capture/dxgi/tone_map.hpp"
#include "frame/frame.hpp"

namespace kvm::dxgi {

// Of one duplication. Capture thread only.
class SurfaceReader {
 public:
  explicit SurfaceReader(const Duplicated& from);

  [[nodiscard]] const Rotation& rotation() const noexcept { return rotation_; }

  // Copies `rects` (upright) out of the surface, on the GPU: the surface may be released then.
  // False when the device is lost, or the surface is not what the output's mode says.
  [[nodiscard]] bool fetch(ID3D11Texture2D* surface, std::span<const Rect> rects);
  // Puts what was fetched into `picture`, whose top left corner is `origin` of the upright
  // surface and which holds all of `rects`. Waits for the GPU. False when the device is lost.
  [[nodiscard]] bool read(std::span<const Rect> rects, const CpuPlanes& picture, int origin_x,
                          int origin_y);
  // Nothing but black in what was fetched of `rect`. Nothing when the device is lost.
  [[nodiscard]] std::optional<bool> is_black(const Rect& rect);

 private:
  [[nodiscard]] bool prepare(const D3D11_TEXTURE2D_DESC& surface);

  ComPtr<ID3D11Device> device_;
  ComPtr<ID3D11DeviceContext> context_;
  ComPtr<ID3D11Texture2D> staging_;  // as large as the surface; only what was fetched is valid
  DXGI_FORMAT format_ = DXGI_FORMAT_UNKNOWN;
  Rotation rotation_;
  float sdr_white_nits_;
  std::optional<ToneMap> tone_map_;  // FP16 only
};

}  // namespace kvm::dxgi
