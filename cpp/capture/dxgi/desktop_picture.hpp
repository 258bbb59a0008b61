// The part of an output that is captured, kept up to date from one acquired frame to the next.
#pragma once

#include <dxgi1_2.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "capture/dxgi/surface_reader.hpp"
#include "frame/frame.hpp"

namespace kvm::dxgi {

// Outlives duplications. Capture thread only.
class DesktopPicture {
 public:
  DesktopPicture() = default;
  // `area` counts from the output's upper left corner as the user sees it.
  explicit DesktopPicture(const Rect& area);

  [[nodiscard]] const CpuPlanes& planes() const noexcept { return planes_; }

  // Brings in what an acquired frame changed, and adds it to `damage`; of what is new in it
  // planes() tell from catch_up() on only. False when the device is lost, or the surface is not
  // what it was; the picture is then in part as before.
  [[nodiscard]] bool apply(const DXGI_OUTDUPL_FRAME_INFO& info, IDXGIOutputDuplication& duplication,
                           ID3D11Texture2D* surface, SurfaceReader& reader, TileMap& damage);
  // All of it, from a surface or, with null, from what the reader fetched last.
  [[nodiscard]] bool replace(ID3D11Texture2D* surface, SurfaceReader& reader, TileMap& damage);
  // Reads what was fetched by that reader since the last time. False when the device is lost: the
  // picture stays as it is.
  [[nodiscard]] bool catch_up(SurfaceReader& reader);

 private:
  struct Moved {
    Rect to;  // upright
    int from_x = 0;
    int from_y = 0;
  };

  // False where Windows does not say what changed.
  [[nodiscard]] bool read_metadata(const DXGI_OUTDUPL_FRAME_INFO& info,
                                   IDXGIOutputDuplication& duplication, const Rotation& rotation);
  [[nodiscard]] bool can_move_all() const noexcept;
  void move(const Moved& moved) noexcept;
  void damaged(const Rect& upright, TileMap& damage) const;
  void fall_behind(const Rect& rect);

  Rect area_;
  std::vector<std::uint8_t> memory_;
  CpuPlanes planes_;
  // Where the reader holds what planes_ lack: fetched from the surface, which Windows takes back
  // with the frame, so that content which the next refresh covers is never read.
  std::vector<Rect> behind_;
  // Of the frame at hand; kept for their memory.
  std::vector<std::uint8_t> metadata_;
  std::vector<Moved> moves_;
  std::vector<Rect> dirty_;  // upright, within the area
};

}  // namespace kvm::dxgi
