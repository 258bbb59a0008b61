#include "mfx_video_memory.hpp"

#include "base/windows.hpp"
// Windows' own first.
#include <d3d10.h>
#include <d3d11.h>
#include <mfxvideo.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "../nv12_support.hpp"
#include "base/com_ptr.hpp"

namespace kvm::test {

struct MfxVideoMemory::State {
  ComPtr<ID3D11Device> device;
  std::optional<mfxFrameAllocator> allocator;
  std::optional<mfxFrameAllocResponse> surfaces;
};

MfxVideoMemory::MfxVideoMemory() : state_(std::make_unique<State>()) {}
MfxVideoMemory::~MfxVideoMemory() {
  end();
}

mfxStatus MfxVideoMemory::set_device(mfxIMPL impl, mfxHandleType type, mfxHDL handle) {
  if (type != MFX_HANDLE_D3D11_DEVICE || (impl & MFX_IMPL_VIA_D3D11) != MFX_IMPL_VIA_D3D11)
    return MFX_ERR_INVALID_HANDLE;
  auto* device = static_cast<ID3D11Device*>(handle);
  if (device == nullptr || state_->device) return MFX_ERR_UNDEFINED_BEHAVIOR;
  device->AddRef();
  *state_->device.put() = device;
  const auto threads = state_->device.as<ID3D10Multithread>();
  return threads && threads->GetMultithreadProtected() != FALSE ? MFX_ERR_NONE
                                                                : MFX_ERR_UNDEFINED_BEHAVIOR;
}

mfxStatus MfxVideoMemory::device(mfxHandleType type, mfxHDL* handle) const {
  if (type != MFX_HANDLE_D3D11_DEVICE || !state_->device) return MFX_ERR_NOT_FOUND;
  *handle = state_->device.get();
  return MFX_ERR_NONE;
}

mfxStatus MfxVideoMemory::set_allocator(const void* allocator) {
  if (allocator == nullptr || !state_->device || state_->allocator)
    return MFX_ERR_UNDEFINED_BEHAVIOR;
  state_->allocator = *static_cast<const mfxFrameAllocator*>(allocator);
  return MFX_ERR_NONE;
}

bool MfxVideoMemory::ready() const {
  return state_->device && state_->allocator;
}

mfxStatus MfxVideoMemory::begin(const mfxFrameInfo& info) {
  mfxFrameAllocRequest request{};
  request.Info = info;
  request.NumFrameMin = request.NumFrameSuggested = 2;
  request.Type = MFX_MEMTYPE_FROM_ENCODE | MFX_MEMTYPE_EXTERNAL_FRAME |
                 MFX_MEMTYPE_VIDEO_MEMORY_DECODER_TARGET;
  mfxFrameAllocResponse made{};
  const mfxFrameAllocator& from = *state_->allocator;
  const mfxStatus status = from.Alloc(from.pthis, &request, &made);
  if (status != MFX_ERR_NONE) return status;
  state_->surfaces = made;
  return made.NumFrameActual >= request.NumFrameMin ? MFX_ERR_NONE : MFX_ERR_MEMORY_ALLOC;
}

void MfxVideoMemory::end() {
  if (state_->surfaces) state_->allocator->Free(state_->allocator->pthis, &*state_->surfaces);
  state_->surfaces.reset();
}

bool MfxVideoMemory::read(mfxMemId id, const mfxFrameInfo& info,
                          const std::function<void(const Nv12&)>& read) const {
  const mfxFrameAllocResponse& known = *state_->surfaces;
  if (std::find(known.mids, known.mids + known.NumFrameActual, id) ==
      known.mids + known.NumFrameActual)
    return false;
  mfxHDLPair pair{nullptr, nullptr};
  const mfxFrameAllocator& from = *state_->allocator;
  if (from.GetHDL(from.pthis, id, reinterpret_cast<mfxHDL*>(&pair)) != MFX_ERR_NONE) return false;
  auto& texture = *static_cast<ID3D11Texture2D*>(pair.first);
  ComPtr<ID3D11Device> device;
  texture.GetDevice(device.put());
  D3D11_TEXTURE2D_DESC facts{};
  texture.GetDesc(&facts);
  if (device.get() != state_->device.get() || facts.Format != DXGI_FORMAT_NV12 ||
      facts.Width < info.Width || facts.Height < info.Height)
    return false;
  const auto bytes =
      nv12_of(texture, static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(pair.second)));
  const auto row = static_cast<std::ptrdiff_t>(facts.Width);
  read({bytes.data(), row, bytes.data() + std::size_t{facts.Width} * facts.Height, row});
  return true;
}

}  // namespace kvm::test
