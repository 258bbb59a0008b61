#include "capture/dxgi/desktop_picture.hpp"

#include <algorithm>
#include <cstring>

namespace kvm::dxgi {
namespace {

// Rectangles, before they are read though nobody wants the picture.
constexpr std::size_t kMostBehind = 256;

Rect to_rect(const RECT& r) noexcept {
  return {r.left, r.top, r.right - r.left, r.bottom - r.top};
}

bool holds(const Rect& outer, const Rect& inner) noexcept {
  return intersect(outer, inner) == inner;
}

}  // namespace

DesktopPicture::DesktopPicture(const Rect& area)
    : area_(area),
      memory_(static_cast<std::size_t>(area.width) * static_cast<std::size_t>(area.height) * 4) {
  planes_.data[0] = memory_.data();
  planes_.stride[0] = std::ptrdiff_t{area.width} * 4;
}

bool DesktopPicture::read_metadata(const DXGI_OUTDUPL_FRAME_INFO& info,
                                   IDXGIOutputDuplication& duplication, const Rotation& rotation) {
  moves_.clear();
  dirty_.clear();
  if (info.TotalMetadataBufferSize == 0) return false;
  metadata_.resize(info.TotalMetadataBufferSize);
  const Rect surface = rotation.surface();
  const auto size = static_cast<UINT>(metadata_.size());
  UINT used = 0;
  if (duplication.GetFrameMoveRects(
          size, reinterpret_cast<DXGI_OUTDUPL_MOVE_RECT*>(metadata_.data()), &used) != S_OK)
    return false;
  for (UINT at = 0; at + sizeof(DXGI_OUTDUPL_MOVE_RECT) <= std::min(used, size);
       at += sizeof(DXGI_OUTDUPL_MOVE_RECT)) {
    DXGI_OUTDUPL_MOVE_RECT move;
    std::memcpy(&move, metadata_.data() + at, sizeof move);
    const Rect to = to_rect(move.DestinationRect);
    const Rect from{move.SourcePoint.x, move.SourcePoint.y, to.width, to.height};
    if (to.empty()) continue;
    if (!holds(surface, to) || !holds(surface, from)) return false;
    const Rect source = rotation.to_upright(from);
    moves_.push_back({rotation.to_upright(to), source.x, source.y});
  }
  if (duplication.GetFrameDirtyRects(size, reinterpret_cast<RECT*>(metadata_.data()), &used) !=
      S_OK)
    return false;
  for (UINT at = 0; at + sizeof(RECT) <= std::min(used, size); at += sizeof(RECT)) {
    RECT rect;
    std::memcpy(&rect, metadata_.data() + at, sizeof rect);
    const Rect inside = intersect(rotation.to_upright(intersect(to_rect(rect), surface)), area_);
    if (!inside.empty()) dirty_.push_back(inside);
  }
  return true;
}

// Of pixels from outside the area nothing is known.
bool DesktopPicture::can_move_all() const noexcept {
  return std::all_of(moves_.begin(), moves_.end(), [this](const Moved& m) {
    const Rect to = intersect(m.to, area_);
    if (to.empty()) return true;
    const Rect from{m.from_x + to.x - m.to.x, m.from_y + to.y - m.to.y, to.width, to.height};
    return holds(area_, from);
  });
}

void DesktopPicture::move(const Moved& moved) noexcept {
  const Rect to = intersect(moved.to, area_);
  if (to.empty()) return;
  const std::ptrdiff_t stride = planes_.stride[0];
  const auto at = [&](int x, int y) {
    return memory_.data() + (y - area_.y) * stride + std::ptrdiff_t{x - area_.x} * 4;
  };
  const int from_x = moved.from_x + to.x - moved.to.x;
  const int from_y = moved.from_y + to.y - moved.to.y;
  const bool upwards = from_y < to.y;  // from the last row on, where it goes over its own source
  for (int i = 0; i < to.height; ++i) {
    const int row = upwards ? to.height - 1 - i : i;
    std::memmove(at(to.x, to.y + row), at(from_x, from_y + row),
                 static_cast<std::size_t>(to.width) * 4);
  }
}

void DesktopPicture::damaged(const Rect& upright, TileMap& damage) const {
  Rect inside = intersect(upright, area_);
  if (inside.empty()) return;
  inside.x -= area_.x;
  inside.y -= area_.y;
  damage.add(inside);
}

bool DesktopPicture::apply(const DXGI_OUTDUPL_FRAME_INFO& info, IDXGIOutputDuplication& duplication,
                           ID3D11Texture2D* surface, SurfaceReader& reader, TileMap& damage) {
  if (!read_metadata(info, duplication, reader.rotation())) return replace(surface, reader, damage);
  // What a move takes has to be there.
  const bool in_place = !reader.on_gpu() && behind_.empty() && can_move_all();
  for (const Moved& moved : moves_) {
    damaged(moved.to, damage);
    const Rect to = intersect(moved.to, area_);
    // The surface has what all of the frame's moves have led to.
    if (!in_place && !to.empty()) dirty_.push_back(to);
  }
  if (!dirty_.empty() && !reader.fetch(surface, dirty_)) return false;
  if (in_place)
    for (const Moved& moved : moves_) move(moved);
  for (const Rect& rect : dirty_) {
    damaged(rect, damage);
    fall_behind(rect);
  }
  if (behind_.size() <= kMostBehind) return true;
  if (!reader.on_gpu()) return catch_up(reader);
  behind_.assign(1, area_);  // nobody may ever want it in memory
  return true;
}

void DesktopPicture::fall_behind(const Rect& rect) {
  if (std::any_of(behind_.begin(), behind_.end(), [&](const Rect& r) { return holds(r, rect); }))
    return;
  std::erase_if(behind_, [&](const Rect& r) { return holds(rect, r); });
  behind_.push_back(rect);
}

bool DesktopPicture::catch_up(SurfaceReader& reader) {
  if (behind_.empty()) return true;
  const bool read = reader.read(behind_, planes_, area_.x, area_.y);
  behind_.clear();
  return read;
}

bool DesktopPicture::replace(ID3D11Texture2D* surface, SurfaceReader& reader, TileMap& damage) {
  const Rect all[] = {area_};
  if (surface != nullptr && !reader.fetch(surface, all)) return false;
  behind_.clear();
  damage.set_all();
  return reader.read(all, planes_, area_.x, area_.y);
}

}  // namespace kvm::dxgi
