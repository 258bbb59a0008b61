#include "capture/gdi/cursor.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "capture/gdi/handles.hpp"

namespace kvm::gdi {
namespace {

constexpr std::uint32_t kOpaque = 0xff000000U;
constexpr std::uint32_t kWhite = 0xffffffffU;

// 32-bit pixels, top row first; empty when it fails.
std::vector<std::uint32_t> read_pixels(HBITMAP bitmap, int width, int height) {
  BITMAPINFO info = bgra_rows(width, height);
  std::vector<std::uint32_t> pixels(static_cast<std::size_t>(width) *
                                    static_cast<std::size_t>(height));
  const ScreenDc dc(GetDC(nullptr));
  const int rows = GetDIBits(dc.get(), bitmap, 0, static_cast<UINT>(height), pixels.data(), &info,
                             DIB_RGB_COLORS);
  if (rows != height) pixels.clear();
  return pixels;
}

}  // namespace

void add_edge(std::vector<std::uint32_t>& pixels, const std::vector<bool>& inverting, int width,
              int height) {
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      if (!inverting[static_cast<std::size_t>(y * width + x)]) continue;
      for (int near_y = std::max(0, y - 1); near_y <= std::min(height - 1, y + 1); ++near_y) {
        for (int near_x = std::max(0, x - 1); near_x <= std::min(width - 1, x + 1); ++near_x) {
          std::uint32_t& pixel = pixels[static_cast<std::size_t>(near_y * width + near_x)];
          if (pixel == 0) pixel = kWhite;
        }
      }
    }
  }
}

std::shared_ptr<CursorShape> read_shape(HCURSOR cursor) {
  ICONINFO info{};
  if (!GetIconInfo(cursor, &info)) return nullptr;
  const Bitmap mask(info.hbmMask);
  const Bitmap colour(info.hbmColor);
  BITMAP size{};
  if (GetObjectW(mask.get(), sizeof size, &size) == 0) return nullptr;
  const int width = size.bmWidth;
  // A monochrome cursor has its AND mask over its XOR mask in one bitmap.
  const int height = colour ? size.bmHeight : size.bmHeight / 2;
  if (width < 1 || height < 1 || width > kMaxSide || height > kMaxSide) return nullptr;
  const auto count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  const auto masks = read_pixels(mask.get(), width, size.bmHeight);
  auto pixels = colour ? read_pixels(colour.get(), width, height)
                       : std::vector<std::uint32_t>(
                             masks.begin() + static_cast<std::ptrdiff_t>(
                                                 masks.size() - std::min(count, masks.size())),
                             masks.end());
  if (masks.size() < count || pixels.size() != count) return nullptr;
  const bool has_alpha = colour && std::any_of(pixels.begin(), pixels.end(),
                                               [](std::uint32_t p) { return (p & kOpaque) != 0; });
  if (!has_alpha) {
    std::vector<bool> inverting(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t rgb = pixels[i] & ~kOpaque;
      const bool keeps_screen = (masks[i] & ~kOpaque) != 0;
      inverting[i] = keeps_screen && rgb != 0;
      pixels[i] = inverting[i] ? kOpaque : keeps_screen ? 0 : rgb | kOpaque;
    }
    add_edge(pixels, inverting, width, height);
  }
  auto shape = std::make_shared<CursorShape>();
  shape->width = width;
  shape->height = height;
  shape->hot_x = static_cast<int>(info.xHotspot);
  shape->hot_y = static_cast<int>(info.yHotspot);
  shape->bgra.resize(count * 4);
  std::memcpy(shape->bgra.data(), pixels.data(), shape->bgra.size());
  return shape;
}

bool Cursor::refresh() {
  CURSORINFO info{};
  info.cbSize = sizeof info;
  // Fails while another desktop (UAC, lock screen) has the input.
  const bool known = GetCursorInfo(&info) != FALSE;
  const bool showing = known && (info.flags & CURSOR_SHOWING) != 0 && info.hCursor != nullptr;
  bool changed = false;
  if (showing && (info.hCursor != handle_ || !shape_)) {
    if (auto shape = read_shape(info.hCursor)) {
      shape->serial = next_shape_serial();
      shape_ = std::move(shape);
      handle_ = info.hCursor;
      changed = true;
    }
  }
  const bool visible = showing && shape_ != nullptr;
  changed = changed || visible != visible_;
  visible_ = visible;
  if (known && (info.ptScreenPos.x != x_ || info.ptScreenPos.y != y_)) {
    x_ = info.ptScreenPos.x;
    y_ = info.ptScreenPos.y;
    changed = true;
  }
  return changed;
}

void Cursor::draw(HDC dc, const Rect& origin, int top) const noexcept {
  if (!visible_) return;
  DrawIconEx(dc, x_ - shape_->hot_x - origin.x, y_ - shape_->hot_y - origin.y + top, handle_, 0, 0,
             0, nullptr, DI_NORMAL);
}

}  // namespace kvm::gdi
