// BGRA → NV12 on a GPU, by the arithmetic of convert/bt709.hpp: the same bytes as convert_tiles().
#pragma once

#include "base/windows.hpp"
// Windows' own first.
#include <d3d10.h>
#include <d3d11.h>

#include <string>

#include "base/com_ptr.hpp"

namespace kvm {

// Where the planes of an NV12 picture are drawn: of one texture, or of two.
struct Nv12Planes {
  ComPtr<ID3D11RenderTargetView> luma;    // R8
  ComPtr<ID3D11RenderTargetView> chroma;  // R8G8, half as wide and high
  int width = 0;                          // of luma; even, as is the height
  int height = 0;
};

// One thread, beside others that use the context.
class Nv12Converter {
 public:
  // For pictures of that size, on a multithread-protected device. Throws Error{kEncoder}, as the
  // next two.
  Nv12Converter(const ComPtr<ID3D11Device>& device, const ComPtr<ID3D11DeviceContext>& context,
                int width, int height);

  // What draw() reads a BGRA texture by.
  [[nodiscard]] ComPtr<ID3D11ShaderResourceView> source(ID3D11Texture2D& bgra) const;
  // The planes of an NV12 texture that can be drawn to, or of one of its slices.
  [[nodiscard]] Nv12Planes planes(ID3D11Texture2D& nv12, unsigned slice) const;
  // Planes that are larger than the picture repeat its last column and row. Leaves the context
  // without any state.
  void draw(ID3D11ShaderResourceView& source, const Nv12Planes& to) const;

 private:
  ComPtr<ID3D11Device> device_;
  ComPtr<ID3D11DeviceContext> context_;
  ComPtr<ID3D10Multithread> threads_;
  ComPtr<ID3D11VertexShader> whole_;
  ComPtr<ID3D11PixelShader> luma_;
  ComPtr<ID3D11PixelShader> chroma_;
};

}  // namespace kvm
