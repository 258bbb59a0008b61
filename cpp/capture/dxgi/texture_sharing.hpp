// What it takes of Windows to hand textures from one D3D11 device to another. Tests put their own
// in its place: Wine has none of it.
#pragma once

#include "base/windows.hpp"
// Windows' own first.
#include <d3d11.h>

#include <cstdint>
#include <memory>

#include "base/com_ptr.hpp"

namespace kvm::dxgi {

struct HandleCloser {
  void operator()(HANDLE handle) const noexcept { CloseHandle(handle); }
};
using SharedHandle = std::unique_ptr<void, HandleCloser>;

// What an encoder works on. The capture has another one: a wait in AcquireNextFrame holds its
// device's lock.
struct EncoderDevice {
  ComPtr<ID3D11Device> device;
  ComPtr<ID3D11DeviceContext> context;
  ComPtr<ID3D11VideoDevice> video_device;  // FFmpeg asks for both
  ComPtr<ID3D11VideoContext> video_context;
};

class TextureSharing {
 public:
  virtual ~TextureSharing() = default;
  TextureSharing() = default;
  TextureSharing(const TextureSharing&) = delete;
  TextureSharing& operator=(const TextureSharing&) = delete;

  // Another device on the adapter of `like`.
  [[nodiscard]] virtual HRESULT make_device(ID3D11Device& like, EncoderDevice& made) = 0;
  [[nodiscard]] virtual HRESULT adapter_of(ID3D11Device& device, LUID& adapter) = 0;
  // A BGRA8 texture that another device can open() by the handle; closing that ends nothing.
  [[nodiscard]] virtual HRESULT create(ID3D11Device& on, int width, int height,
                                       ComPtr<ID3D11Texture2D>& texture, SharedHandle& handle) = 0;
  [[nodiscard]] virtual HRESULT open(ID3D11Device& on, HANDLE handle,
                                     ComPtr<ID3D11Texture2D>& texture) = 0;
  // The texture's keyed mutex. Among its answers are WAIT_TIMEOUT and WAIT_ABANDONED, which look
  // like successes: only S_OK is one.
  [[nodiscard]] virtual HRESULT acquire(ID3D11Texture2D& texture, std::uint64_t key,
                                        unsigned milliseconds) = 0;
  [[nodiscard]] virtual HRESULT release(ID3D11Texture2D& texture, std::uint64_t key) = 0;
};

[[nodiscard]] std::shared_ptr<TextureSharing> system_texture_sharing();

}  // namespace kvm::dxgi
