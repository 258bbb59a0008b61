#include "model_desktop.hpp"

#include <cstddef>
#include <utility>

namespace kvm::test {
namespace {

constexpr unsigned kBgraBytes = 4;

PointerShape blank(DXGI_OUTDUPL_POINTER_SHAPE_TYPE type, int width, int rows, unsigned row_bytes,
                   POINT hot) {
  PointerShape shape;
  shape.info.Type = static_cast<UINT>(type);
  shape.info.Width = static_cast<UINT>(width);
  shape.info.Height = static_cast<UINT>(rows);
  shape.info.Pitch = row_bytes + 4;
  shape.info.HotSpot = hot;
  shape.bytes.assign(std::size_t{shape.info.Pitch} * shape.info.Height, 0xcc);
  return shape;
}

PointerShape bgra_pointer(DXGI_OUTDUPL_POINTER_SHAPE_TYPE type, int width, int height, POINT hot,
                          unsigned seed, bool soft) {
  PointerShape shape = blank(type, width, height, static_cast<unsigned>(width) * kBgraBytes, hot);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      std::uint8_t* pixel = shape.bytes.data() + static_cast<unsigned>(y) * shape.info.Pitch +
                            static_cast<unsigned>(x) * kBgraBytes;
      const std::uint32_t colour = colour_at(x, y, seed);
      for (unsigned i = 0; i < 3; ++i) pixel[i] = static_cast<std::uint8_t>(colour >> (8 * i));
      const std::uint32_t dice = colour_at(y, x, seed + 77) & 0xff;
      pixel[3] = static_cast<std::uint8_t>(soft ? dice : dice < 128 ? 0 : 255);
    }
  }
  return shape;
}

bool bit(const PointerShape& shape, int x, int row) noexcept {
  const std::uint8_t byte =
      shape.bytes[static_cast<unsigned>(row) * shape.info.Pitch + static_cast<unsigned>(x) / 8];
  return (byte >> (7 - x % 8) & 1) != 0;
}

}  // namespace

std::uint32_t colour_at(int x, int y, unsigned seed) noexcept {
  std::uint32_t h = static_cast<std::uint32_t>(x) * 0x9e3779b1U ^
                    static_cast<std::uint32_t>(y) * 0x85ebca77U ^ seed * 0xc2b2ae3dU;
  h ^= h >> 15;
  h *= 0x2c1b3c6dU;
  h ^= h >> 13;
  h *= 0x297a2d39U;
  return (h ^ h >> 16) & 0x00ffffffU;
}

int PointerShape::height() const noexcept {
  const auto rows = static_cast<int>(info.Height);
  return info.Type == DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MONOCHROME ? rows / 2 : rows;
}

PointerShape colour_pointer(int width, int height, POINT hot, unsigned seed, bool soft) {
  return bgra_pointer(DXGI_OUTDUPL_POINTER_SHAPE_TYPE_COLOR, width, height, hot, seed, soft);
}

PointerShape masked_pointer(int width, int height, POINT hot, unsigned seed) {
  return bgra_pointer(DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MASKED_COLOR, width, height, hot, seed,
                      false);
}

PointerShape monochrome_pointer(int width, int height, POINT hot, unsigned seed) {
  const auto row_bytes = (static_cast<unsigned>(width) + 7) / 8;
  PointerShape shape =
      blank(DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MONOCHROME, width, height * 2, row_bytes, hot);
  for (int row = 0; row < height * 2; ++row) {
    for (unsigned i = 0; i < row_bytes; ++i) {
      shape.bytes[static_cast<unsigned>(row) * shape.info.Pitch + i] =
          static_cast<std::uint8_t>(colour_at(static_cast<int>(i), row, seed));
    }
  }
  return shape;
}

std::uint32_t under_pointer(const PointerShape& shape, int x, int y,
                            std::uint32_t screen) noexcept {
  constexpr std::uint32_t kRgb = 0x00ffffffU;
  if (shape.info.Type == DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MONOCHROME) {
    const std::uint32_t kept = bit(shape, x, y) ? screen : 0;
    return bit(shape, x, y + shape.height()) ? kept ^ kRgb : kept;
  }
  const std::uint8_t* pixel = shape.bytes.data() + static_cast<unsigned>(y) * shape.info.Pitch +
                              static_cast<unsigned>(x) * kBgraBytes;
  const std::uint32_t colour = pixel[0] | static_cast<std::uint32_t>(pixel[1]) << 8 |
                               static_cast<std::uint32_t>(pixel[2]) << 16;
  if (shape.info.Type == DXGI_OUTDUPL_POINTER_SHAPE_TYPE_MASKED_COLOR) {
    return pixel[3] == 0 ? colour : screen ^ colour;
  }
  std::uint32_t out = 0;
  for (unsigned shift = 0; shift < 24; shift += 8) {
    const std::uint32_t above = (colour >> shift & 0xff) * pixel[3];
    const std::uint32_t below = (screen >> shift & 0xff) * (255U - pixel[3]);
    out |= (above + below + 127) / 255 << shift;
  }
  return out;
}

ModelDesktop::ModelDesktop(int width, int height, unsigned seed) {
  resize(width, height, seed);
}

void ModelDesktop::resize(int width, int height, unsigned seed) {
  width_ = width;
  height_ = height;
  pixels_.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
  apply(Fill{{0, 0, width, height}, seed});
}

std::uint32_t& ModelDesktop::at(int x, int y) noexcept {
  return pixels_[static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
                 static_cast<std::size_t>(x)];
}

void ModelDesktop::apply(const Update& update) {
  if (const auto* fill = std::get_if<Fill>(&update)) {
    const Rect& r = fill->rect;
    for (int y = r.y; y < r.bottom(); ++y) {
      for (int x = r.x; x < r.right(); ++x) at(x, y) = colour_at(x, y, fill->seed);
    }
    return;
  }
  const Move& move = std::get<Move>(update);
  const std::vector<std::uint32_t> before = pixels_;
  for (int y = 0; y < move.to.height; ++y) {
    for (int x = 0; x < move.to.width; ++x) {
      at(move.to.x + x, move.to.y + y) =
          before[static_cast<std::size_t>((move.from_y + y) * width_ + move.from_x + x)];
    }
  }
}

void ModelDesktop::move_pointer(int x, int y, bool visible) {
  pointer_x_ = x;
  pointer_y_ = y;
  pointer_visible_ = visible;
}

void ModelDesktop::set_shape(PointerShape shape) {
  shape_ = std::move(shape);
}

std::vector<std::uint32_t> ModelDesktop::picture(bool with_pointer) const {
  std::vector<std::uint32_t> out = pixels_;
  if (!with_pointer || !pointer_visible_) return out;
  for (int y = 0; y < shape_.height(); ++y) {
    for (int x = 0; x < shape_.width(); ++x) {
      const int to_x = pointer_x_ + x;
      const int to_y = pointer_y_ + y;
      if (to_x < 0 || to_y < 0 || to_x >= width_ || to_y >= height_) continue;
      std::uint32_t& pixel = out[static_cast<std::size_t>(to_y * width_ + to_x)];
      pixel = under_pointer(shape_, x, y, pixel);
    }
  }
  return out;
}

}  // namespace kvm::test
