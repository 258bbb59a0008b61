#include "capture/dxgi/shared_textures.hpp"

#include <utility>

#include "convert/convert.hpp"
#include "convert/rects.hpp"

namespace kvm::dxgi {
namespace {

// The capture lets go of a texture before it hands it on: what is waited for is the GPU.
constexpr unsigned kPatienceMs = 100;

}  // namespace

void copy_rect(ID3D11DeviceContext& context, ID3D11Texture2D& from, const Rect& rect,
               ID3D11Texture2D& to, unsigned subresource, int x, int y) {
  const D3D11_BOX box{static_cast<UINT>(rect.x),       static_cast<UINT>(rect.y),        0,
                      static_cast<UINT>(rect.right()), static_cast<UINT>(rect.bottom()), 1};
  context.CopySubresourceRegion(&to, subresource, static_cast<UINT>(x), static_cast<UINT>(y), 0,
                                &from, 0, &box);
}

void SharedTextures::lose(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (!lost_) why_ = why;
  lost_ = true;
}

std::string SharedTextures::why_lost() const {
  const std::lock_guard lock(mutex_);
  return why_;
}

template <typename Fn>
bool SharedTextures::hold(Slot& slot, Fn&& fn) {
  if (lost_) return false;
  const HRESULT taken = sharing_->acquire(*slot.theirs, slot.key, kPatienceMs);
  if (taken != S_OK) {
    lose("the encoder's device does not get a shared texture (AcquireSync answers " + hex(taken) +
         ")");
    return false;
  }
  fn(*slot.theirs);
  const HRESULT released = sharing_->release(*slot.theirs, kRead);
  slot.key = kRead;
  // What was copied by a device that is gone is anything.
  const HRESULT removed = encoder_.device->GetDeviceRemovedReason();
  if (released == S_OK && removed == S_OK) return true;
  lose("the encoder's device does not give a shared texture back (ReleaseSync answers " +
       hex(released != S_OK ? released : removed) + ")");
  return false;
}

bool SharedTextures::prepare_staging() {
  if (staging_) return true;
  D3D11_TEXTURE2D_DESC facts{};
  slots[0].theirs->GetDesc(&facts);
  facts.Usage = D3D11_USAGE_STAGING;
  facts.BindFlags = facts.MiscFlags = 0;
  facts.CPUAccessFlags = D3D11_CPU_ACCESS_READ;
  const HRESULT made = encoder_.device->CreateTexture2D(&facts, nullptr, staging_.put());
  if (made != S_OK) lose("no staging texture (CreateTexture2D answers " + hex(made) + ")");
  return made == S_OK;
}

SharedPicture::SharedPicture(std::shared_ptr<SharedTextures> textures, std::size_t slot)
    : textures_(std::move(textures)), device_(textures_), slot_(textures_->slots[slot]) {
  slot_.leased.store(true, std::memory_order_relaxed);
}

SharedPicture::~SharedPicture() {
  slot_.leased.store(false, std::memory_order_release);
}

bool SharedPicture::read(const TileMap& tiles, const CpuPlanes& to) const {
  SharedTextures& all = *textures_;
  const std::lock_guard lock(all.reading_);
  if (!all.prepare_staging()) return false;
  ID3D11DeviceContext& context = *all.encoder_.context;
  const bool copied = all.hold(slot_, [&](ID3D11Texture2D& texture) {
    for_each_rect(tiles, [&](const Rect& rect) {
      copy_rect(context, texture, rect, *all.staging_, 0, rect.x, rect.y);
    });
  });
  if (!copied) return false;
  D3D11_MAPPED_SUBRESOURCE map{};
  const HRESULT mapped = context.Map(all.staging_.get(), 0, D3D11_MAP_READ, 0, &map);
  if (mapped != S_OK) {
    all.lose("a shared texture cannot be read (Map answers " + hex(mapped) + ")");
    return false;
  }
  CpuPlanes from;
  from.data[0] = static_cast<std::uint8_t*>(map.pData);
  from.stride[0] = static_cast<std::ptrdiff_t>(map.RowPitch);
  copy_tiles(from, to, tiles);
  context.Unmap(all.staging_.get(), 0);
  return true;
}

bool SharedPicture::use(const std::function<void()>& read) const {
  const std::lock_guard lock(textures_->reading_);
  return textures_->hold(slot_, [&](ID3D11Texture2D&) { read(); });
}

bool SharedPicture::copy_to(ID3D11Texture2D& to, unsigned subresource, int coded_width,
                            int coded_height) const {
  const SharedTextures& all = *textures_;
  return use([&] {
    const int width = all.width;
    const int height = all.height;
    const auto copy = [&](const Rect& rect, int x, int y) {
      copy_rect(*all.encoder_.context, texture(), rect, to, subresource, x, y);
    };
    copy({0, 0, width, height}, 0, 0);
    if (coded_width > width) copy({width - 1, 0, 1, height}, width, 0);
    if (coded_height > height) copy({0, height - 1, width, 1}, 0, height);
    if (coded_width > width && coded_height > height)
      copy({width - 1, height - 1, 1, 1}, width, height);
  });
}

}  // namespace kvm::dxgi
