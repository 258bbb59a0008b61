#include "capture/dxgi/surface_reader.hpp"

#include <cstring>

#include "capture/dxgi/shared_textures.hpp"

namespace kvm::dxgi {
namespace {

constexpr std::ptrdiff_t kBgraBytes = 4;
constexpr std::ptrdiff_t kHalvesBytes = 8;

// Mapped for reading while it lives.
class Mapped {
 public:
  Mapped(ID3D11DeviceContext* context, ID3D11Texture2D* texture) noexcept
      : context_(context), texture_(texture) {
    valid_ = texture != nullptr && context->Map(texture, 0, D3D11_MAP_READ, 0, &map_) == S_OK;
  }
  ~Mapped() {
    if (valid_) context_->Unmap(texture_, 0);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  [[nodiscard]] explicit operator bool() const noexcept { return valid_; }
  [[nodiscard]] std::ptrdiff_t pitch() const noexcept {
    return static_cast<std::ptrdiff_t>(map_.RowPitch);
  }
  [[nodiscard]] const std::uint8_t* at(int x, int y, std::ptrdiff_t pixel) const noexcept {
    return static_cast<const std::uint8_t*>(map_.pData) + y * pitch() + x * pixel;
  }

 private:
  ID3D11DeviceContext* context_;
  ID3D11Texture2D* texture_;
  D3D11_MAPPED_SUBRESOURCE map_{};
  bool valid_ = false;
};

}  // namespace

SurfaceReader::SurfaceReader(const Duplicated& from, bool on_gpu)
    : device_(from.device),
      context_(from.context),
      on_gpu_(on_gpu),
      rotation_(from.output.rotation, from.output.monitor.bounds.width,
                from.output.monitor.bounds.height),
      sdr_white_nits_(from.output.sdr_white_nits) {}

bool SurfaceReader::prepare(const D3D11_TEXTURE2D_DESC& surface) {
  const Rect size = rotation_.surface();
  if (surface.Width != static_cast<UINT>(size.width) ||
      surface.Height != static_cast<UINT>(size.height))
    return false;
  if (kept_ || staging_) return surface.Format == format_;  // what was fetched has to stay
  format_ = surface.Format;
  if (format_ == DXGI_FORMAT_R16G16B16A16_FLOAT) {
    tone_map_.emplace(sdr_white_nits_);
  } else if (format_ != DXGI_FORMAT_B8G8R8A8_UNORM) {
    return false;  // neither was asked for
  }
  on_gpu_ = on_gpu_ && format_ == DXGI_FORMAT_B8G8R8A8_UNORM;  // that is what encoders take
  if (!on_gpu_) return make_staging();
  D3D11_TEXTURE2D_DESC wanted = surface;
  wanted.MipLevels = wanted.ArraySize = 1;
  wanted.SampleDesc = {1, 0};
  wanted.Usage = D3D11_USAGE_DEFAULT;
  wanted.BindFlags = D3D11_BIND_SHADER_RESOURCE;
  wanted.MiscFlags = wanted.CPUAccessFlags = 0;
  return device_->CreateTexture2D(&wanted, nullptr, kept_.put()) == S_OK;
}

bool SurfaceReader::make_staging() {
  const Rect size = rotation_.surface();
  D3D11_TEXTURE2D_DESC wanted{};
  wanted.Width = static_cast<UINT>(size.width);
  wanted.Height = static_cast<UINT>(size.height);
  wanted.MipLevels = wanted.ArraySize = 1;
  wanted.Format = format_;
  wanted.SampleDesc = {1, 0};
  wanted.Usage = D3D11_USAGE_STAGING;
  wanted.CPUAccessFlags = D3D11_CPU_ACCESS_READ;
  return device_->CreateTexture2D(&wanted, nullptr, staging_.put()) == S_OK;
}

void SurfaceReader::copy_to_staging(std::span<const Rect> upright) {
  if (!kept_ || (!staging_ && !make_staging())) return;
  for (const Rect& rect : upright) {
    const Rect on = rotation_.to_surface(rect);
    copy_rect(*context_, *kept_, on, *staging_, 0, on.x, on.y);
  }
}

bool SurfaceReader::leave_gpu() {
  if (kept_) {
    if (!staging_ && !make_staging()) return false;
    context_->CopyResource(staging_.get(), kept_.get());
    kept_.reset();
  }
  on_gpu_ = false;
  return true;
}

bool SurfaceReader::fetch(ID3D11Texture2D* surface, std::span<const Rect> rects) {
  D3D11_TEXTURE2D_DESC facts{};
  surface->GetDesc(&facts);
  if (!prepare(facts)) return false;
  for (const Rect& rect : rects) {
    const Rect on = rotation_.to_surface(rect);
    copy_rect(*context_, *surface, on, on_gpu_ ? *kept_ : *staging_, 0, on.x, on.y);
  }
  return true;
}

bool SurfaceReader::read(std::span<const Rect> rects, const CpuPlanes& picture, int origin_x,
                         int origin_y) {
  copy_to_staging(rects);
  const Mapped map(context_.get(), staging_.get());
  if (!map) return false;
  const std::ptrdiff_t pixel = tone_map_ ? kHalvesBytes : kBgraBytes;
  for (const Rect& rect : rects) {
    const Rotation::Walk walk = rotation_.walk(rect, pixel, map.pitch());
    const std::uint8_t* from = map.at(walk.x, walk.y, pixel);
    std::uint8_t* to = picture.data[0] + (rect.y - origin_y) * picture.stride[0] +
                       std::ptrdiff_t{rect.x - origin_x} * kBgraBytes;
    for (int row = 0; row < rect.height; ++row, from += walk.down, to += picture.stride[0]) {
      if (!tone_map_ && walk.right == kBgraBytes) {
        std::memcpy(to, from, static_cast<std::size_t>(rect.width * kBgraBytes));
        continue;
      }
      const std::uint8_t* p = from;
      std::uint8_t* q = to;
      for (int col = 0; col < rect.width; ++col, p += walk.right, q += kBgraBytes) {
        if (tone_map_) {
          std::uint16_t halves[3];
          std::memcpy(halves, p, sizeof halves);
          const std::uint32_t bgrx = (*tone_map_)(halves);
          std::memcpy(q, &bgrx, sizeof bgrx);
        } else {
          std::memcpy(q, p, kBgraBytes);
        }
      }
    }
  }
  return true;
}

std::optional<bool> SurfaceReader::is_black(const Rect& rect) {
  copy_to_staging({&rect, 1});
  const Mapped map(context_.get(), staging_.get());
  if (!map) return std::nullopt;
  const std::ptrdiff_t pixel = tone_map_ ? kHalvesBytes : kBgraBytes;
  const std::ptrdiff_t colours = pixel / 4 * 3;  // alpha comes last
  const Rect on = rotation_.to_surface(rect);
  for (int y = on.y; y < on.bottom(); ++y) {
    const std::uint8_t* p = map.at(on.x, y, pixel);
    for (int x = 0; x < on.width; ++x, p += pixel) {
      for (std::ptrdiff_t i = 0; i < colours; ++i)
        if (p[i] != 0) return false;
    }
  }
  return true;
}

}  // namespace kvm::dxgi
