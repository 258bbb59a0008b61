#include "capture/dxgi/pointer.hpp"

#include <cstring>

#include "capture/gdi/cursor.hpp"

namespace kvm::dxgi {
namespace {

constexpr std::uint32_t kRgb = 0x00ffffffU;
constexpr std::uint32_t kOpaque = 0xff000000U;

std::uint32_t blend(std::uint32_t screen, std::uint32_t colour) noexcept {
  const std::uint32_t alpha = colour >> 24;
  std::uint32_t out = 0;
  for (unsigned shift = 0; shift < 24; shift += 8) {
    const std::uint32_t mixed =
        (colour >> shift & 0xff) * alpha + (screen >> shift & 0xff) * (255 - alpha);
    out |= (mixed + 127) / 255 << shift;
  }
  return out;
}

// All rows of pixels, or of masks one over the other, fit into what Windows sent.
bool makes_sense(const DXGI_OUTDUPL_POINTER_SHAPE_INFO& info, std::size_t size) noexcept {
  if (info.Width == 0 || info.Width > kMaxSide || info.Height == 0 || info.Height > kMaxSide)
    return false;
  const bool masks = info.Type == DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MONOCHROME;
  if (!masks && info.Type != DXGI_OUTDUPL_POINTER_SHAPE_TYPE_COLOR &&
      info.Type != DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MASKED_COLOR)
    return false;
  if (masks && info.Height % 2 != 0) return false;
  const std::size_t row = masks ? (info.Width + 7) / 8 : std::size_t{info.Width} * 4;
  return info.Pitch >= row && std::size_t{info.Height - 1} * info.Pitch + row <= size;
}

}  // namespace

bool Pointer::update(const DXGI_OUTDUPL_FRAME_INFO& info, IDXGIOutputDuplication& duplication) {
  if (info.LastMouseUpdateTime.QuadPart == 0) return false;
  const CursorUpdate before = metadata({});
  visible_ = info.PointerPosition.Visible != FALSE;
  if (visible_) {  // elsewhere the place says nothing
    x_ = info.PointerPosition.Position.x;
    y_ = info.PointerPosition.Position.y;
  }
  if (info.PointerShapeBufferSize != 0) read_shape(info.PointerShapeBufferSize, duplication);
  const CursorUpdate now = metadata({});
  return now.x != before.x || now.y != before.y || now.visible != before.visible ||
         now.shape != before.shape;
}

void Pointer::read_shape(UINT size, IDXGIOutputDuplication& duplication) {
  std::vector<std::uint8_t> bytes(size);
  DXGI_OUTDUPL_POINTER_SHAPE_INFO info{};
  UINT needed = 0;
  if (duplication.GetFramePointerShape(size, bytes.data(), &needed, &info) != S_OK ||
      !makes_sense(info, bytes.size()))
    return;
  bytes_ = std::move(bytes);
  info_ = info;
  shape_ = make_shape();
}

int Pointer::height() const noexcept {
  const auto height = static_cast<int>(info_.Height);
  return info_.Type == DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MONOCHROME ? height / 2 : height;
}

Rect Pointer::bounds() const noexcept {
  if (!visible_ || bytes_.empty()) return {};
  return {x_, y_, width(), height()};
}

CursorUpdate Pointer::metadata(const Rect& area) const {
  CursorUpdate update;
  update.x = x_ + static_cast<int>(info_.HotSpot.x) - area.x;
  update.y = y_ + static_cast<int>(info_.HotSpot.y) - area.y;
  update.visible = visible_ && shape_ != nullptr;
  update.shape = shape_;
  return update;
}

bool Pointer::mask_bit(int x, int row) const noexcept {
  const auto at = static_cast<std::size_t>(row) * info_.Pitch + static_cast<std::size_t>(x / 8);
  return (bytes_[at] >> (7 - x % 8) & 1) != 0;
}

std::uint32_t Pointer::colour(int x, int y) const noexcept {
  std::uint32_t bgra = 0;
  const auto at = static_cast<std::size_t>(y) * info_.Pitch + static_cast<std::size_t>(x) * 4;
  std::memcpy(&bgra, bytes_.data() + at, sizeof bgra);
  return bgra;
}

std::uint32_t Pointer::over(int x, int y, std::uint32_t screen) const noexcept {
  switch (info_.Type) {
    case DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MONOCHROME: {
      const std::uint32_t kept = mask_bit(x, y) ? screen & kRgb : 0;
      return mask_bit(x, y + height()) ? kept ^ kRgb : kept;
    }
    case DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MASKED_COLOR: {
      const std::uint32_t bgra = colour(x, y);
      return (bgra & kOpaque) != 0 ? (screen ^ bgra) & kRgb : bgra & kRgb;
    }
    default:
      return blend(screen, colour(x, y));
  }
}

// A viewer draws by alpha: what inverts the screen becomes black with a white edge.
std::shared_ptr<const CursorShape> Pointer::make_shape() const {
  const auto count = static_cast<std::size_t>(width()) * static_cast<std::size_t>(height());
  std::vector<std::uint32_t> pixels(count);
  std::vector<bool> inverting(count);
  const bool has_alpha = info_.Type == DXGI_OUTDUPL_POINTER_SHAPE_TYPE_COLOR;
  for (int y = 0; y < height(); ++y) {
    for (int x = 0; x < width(); ++x) {
      const auto i = static_cast<std::size_t>(y * width() + x);
      if (has_alpha) {
        pixels[i] = colour(x, y);
        continue;
      }
      const std::uint32_t on_black = over(x, y, 0);
      const bool covers = on_black == over(x, y, kRgb);
      inverting[i] = !covers && on_black != 0;
      pixels[i] = inverting[i] ? kOpaque : covers ? on_black | kOpaque : 0;
    }
  }
  if (!has_alpha) gdi::add_edge(pixels, inverting, width(), height());
  auto shape = std::make_shared<CursorShape>();
  shape->serial = next_shape_serial();
  shape->width = width();
  shape->height = height();
  shape->hot_x = static_cast<int>(info_.HotSpot.x);
  shape->hot_y = static_cast<int>(info_.HotSpot.y);
  shape->bgra.resize(count * 4);
  std::memcpy(shape->bgra.data(), pixels.data(), shape->bgra.size());
  return shape;
}

void Pointer::draw(const CpuPlanes& picture, const Rect& area) const noexcept {
  const Rect at = bounds();
  const Rect inside = intersect(at, area);
  for (int y = inside.y; y < inside.bottom(); ++y) {
    std::uint8_t* row = picture.data[0] + (y - area.y) * picture.stride[0];
    for (int x = inside.x; x < inside.right(); ++x) {
      std::uint8_t* pixel = row + std::ptrdiff_t{x - area.x} * 4;
      std::uint32_t screen = 0;
      std::memcpy(&screen, pixel, sizeof screen);
      const std::uint32_t drawn = over(x - at.x, y - at.y, screen);
      std::memcpy(pixel, &drawn, sizeof drawn);
    }
  }
}

}  // namespace kvm::dxgi
