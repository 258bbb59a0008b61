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
  // `on_gpu`: what is fetched stays there until it is read, unless it is something else than BGRA8.
  explicit SurfaceReader(const Duplicated& from, bool on_gpu = false);

  [[nodiscard]] const Rotation& rotation() const noexcept { return rotation_; }

  // Copies `rects` (upright) out of the surface, on the GPU: the surface may be released then.
  // False when the device is lost, or the surface is not what the output's mode says.
  [[nodiscard]] bool fetch(ID3D11Texture2D* surface, std::span<const Rect> rects);
  [[nodiscard]] bool on_gpu() const noexcept { return on_gpu_; }
  // What was fetched, on the GPU and as large as the surface; null before.
  [[nodiscard]] ID3D11Texture2D* texture() const noexcept { return kept_.get(); }
  // From now on what is fetched goes to where the CPU reads it. False when the device is lost.
  [[nodiscard]] bool leave_gpu();
  // Puts what was fetched into `picture`, whose top left corner is `origin` of the upright
  // surface and which holds all of `rects`. Waits for the GPU. False when the device is lost.
  [[nodiscard]] bool read(std::span<const Rect> rects, const CpuPlanes& picture, int origin_x,
                          int origin_y);
  // Nothing but black in what was fetched of `rect`. Nothing when the device is lost.
  [[nodiscard]] std::optional<bool> is_black(const Rect& rect);

 private:
  [[nodiscard]] bool prepare(const D3D11_TEXTURE2D_DESC& surface);
  [[nodiscard]] bool make_staging();
  void copy_to_staging(std::span<const Rect> upright);

  ComPtr<ID3D11Device> device_;
  ComPtr<ID3D11DeviceContext> context_;
  bool on_gpu_;
  ComPtr<ID3D11Texture2D> kept_;     // on_gpu_: as staging_, and what was fetched is here
  ComPtr<ID3D11Texture2D> staging_;  // as large as the surface; only what was fetched is valid
  DXGI_FORMAT format_ = DXGI_FORMAT_UNKNOWN;
  Rotation rotation_;
  float sdr_white_nits_;
  std::optional<ToneMap> tone_map_;  // FP16 only
};

}  // namespace kvm::dxgi
