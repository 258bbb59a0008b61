#include "encode/d3d11/nv12_converter.hpp"

#include <d3dcompiler.h>

#include <initializer_list>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.hpp"
#include "convert/bt709.hpp"

namespace kvm {
namespace {

// Without calls, conditions and constant buffers: Wine's compiler has none of them. Integers, as a
// float has too few bits for chroma's sums. Loaded bytes come as n/255, to within a few ULPs.
constexpr std::string_view kShaders = R"(
Texture2D picture;

float4 whole(uint corner : SV_VertexID) : SV_Position {
  float x = (float)(corner & 1);
  float y = (float)(corner >> 1);
  return float4(x * 4.0 - 1.0, 1.0 - y * 4.0, 0.0, 1.0);
}

float4 luma(float4 at : SV_Position) : SV_Target {
  int x = min((int)at.x, LAST_X);
  int y = min((int)at.y, LAST_Y);
  float3 c = picture.Load(int3(x, y, 0)).rgb * 255.0 + 0.5;
  int r = (int)c.r;
  int g = (int)c.g;
  int b = (int)c.b;
  int value = (Y_B * b + Y_G * g + Y_R * r + Y_BIAS) >> Y_SHIFT;
  return (float)value / 255.0;
}

float4 chroma(float4 at : SV_Position) : SV_Target {
  int left = min((int)at.x * 2, LAST_X);
  int top = min((int)at.y * 2, LAST_Y);
  int right = min(left + 1, LAST_X);
  int bottom = min(top + 1, LAST_Y);
  float3 sum = picture.Load(int3(left, top, 0)).rgb + picture.Load(int3(right, top, 0)).rgb;
  sum = sum + picture.Load(int3(left, bottom, 0)).rgb + picture.Load(int3(right, bottom, 0)).rgb;
  float3 c = sum * 255.0 + 0.5;
  int r = (int)c.r;
  int g = (int)c.g;
  int b = (int)c.b;
  int u = (U_B * b + U_G * g + U_R * r + C_BIAS) >> C_SHIFT;
  int v = (V_B * b + V_G * g + V_R * r + C_BIAS) >> C_SHIFT;
  return float4((float)u / 255.0, (float)v / 255.0, 0.0, 0.0);
}
)";

[[nodiscard]] std::string shaders(int width, int height) {
  constexpr int kShift = bt709::kChromaShift + 2;  // of sums over 2×2
  std::string text;
  const auto define = [&text](const char* name, int value) {
    text += std::string("#define ") + name + " (" + std::to_string(value) + ")\n";
  };
  define("LAST_X", width - 1);
  define("LAST_Y", height - 1);
  define("Y_B", bt709::kY.b);
  define("Y_G", bt709::kY.g);
  define("Y_R", bt709::kY.r);
  define("Y_BIAS", bt709::kLumaBias);
  define("Y_SHIFT", bt709::kLumaShift);
  define("U_B", bt709::kU.b);
  define("U_G", bt709::kU.g);
  define("U_R", bt709::kU.r);
  define("V_B", bt709::kV.b);
  define("V_G", bt709::kV.g);
  define("V_R", bt709::kV.r);
  define("C_BIAS", bt709::chroma_bias(kShift));
  define("C_SHIFT", kShift);
  return text += kShaders;
}

[[noreturn]] void refuse(const std::string& what, HRESULT answer, std::string_view more = {}) {
  const auto line = more.substr(0, more.find('\n'));
  throw Error(ErrorKind::kEncoder, what + " (Windows answers " + hex(answer) +
                                       (line.empty() ? "" : ": " + std::string(line)) + ")");
}

// D3DCompile, which every Windows 10 has in its own folder.
class Compiler {
 public:
  Compiler()
      : library_(LoadLibraryExW(L"d3dcompiler_47.dll", nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32)) {
    if (!library_)
      throw Error(ErrorKind::kEncoder, last_error("no d3dcompiler_47.dll to compile shaders"));
    compile_ = reinterpret_cast<pD3DCompile>(
        reinterpret_cast<void*>(GetProcAddress(library_.get(), "D3DCompile")));
    if (compile_ == nullptr)
      throw Error(ErrorKind::kEncoder, last_error("d3dcompiler_47.dll has no D3DCompile"));
  }
  // `target`: what the shader is and the least that a device has to know.
  [[nodiscard]] ComPtr<ID3DBlob> compile(const std::string& text, const char* entry,
                                         const char* target) const {
    ComPtr<ID3DBlob> code;
    ComPtr<ID3DBlob> said;
    const HRESULT answer = compile_(text.data(), text.size(), nullptr, nullptr, nullptr, entry,
                                    target, 0, 0, code.put(), said.put());
    if (answer == S_OK) return code;
    refuse(std::string("the shader \"") + entry + "\" does not compile", answer,
           said ? std::string_view(static_cast<const char*>(said->GetBufferPointer()),
                                   said->GetBufferSize())
                : std::string_view());
  }

 private:
  struct Unload {
    void operator()(HMODULE library) const noexcept { FreeLibrary(library); }
  };
  std::unique_ptr<std::remove_pointer_t<HMODULE>, Unload> library_;
  pD3DCompile compile_ = nullptr;
};

}  // namespace

Nv12Converter::Nv12Converter(const ComPtr<ID3D11Device>& device,
                             const ComPtr<ID3D11DeviceContext>& context, int width, int height)
    : device_(device), context_(context), threads_(device.as<ID3D10Multithread>()) {
  if (!threads_) refuse("a D3D11 device for one thread alone", E_NOINTERFACE);
  const Compiler compiler;
  const std::string text = shaders(width, height);
  const auto whole = compiler.compile(text, "whole", "vs_4_0");
  if (const HRESULT made = device_->CreateVertexShader(
          whole->GetBufferPointer(), whole->GetBufferSize(), nullptr, whole_.put());
      made != S_OK)
    refuse("no vertex shader", made);
  for (const auto& [entry, shader] : {std::pair("luma", &luma_), std::pair("chroma", &chroma_)}) {
    const auto code = compiler.compile(text, entry, "ps_4_0");
    if (const HRESULT made = device_->CreatePixelShader(
            code->GetBufferPointer(), code->GetBufferSize(), nullptr, shader->put());
        made != S_OK)
      refuse("no pixel shader", made);
  }
}

ComPtr<ID3D11ShaderResourceView> Nv12Converter::source(ID3D11Texture2D& bgra) const {
  ComPtr<ID3D11ShaderResourceView> view;
  if (const HRESULT made = device_->CreateShaderResourceView(&bgra, nullptr, view.put());
      made != S_OK)
    refuse("no view of a BGRA texture", made);
  return view;
}

Nv12Planes Nv12Converter::planes(ID3D11Texture2D& nv12, unsigned slice) const {
  D3D11_TEXTURE2D_DESC texture{};
  nv12.GetDesc(&texture);
  D3D11_RENDER_TARGET_VIEW_DESC facts{};
  if (texture.ArraySize > 1) {
    facts.ViewDimension = D3D11_RTV_DIMENSION_TEXTURE2DARRAY;
    facts.Texture2DArray.FirstArraySlice = slice;
    facts.Texture2DArray.ArraySize = 1;
  } else {
    facts.ViewDimension = D3D11_RTV_DIMENSION_TEXTURE2D;
  }
  Nv12Planes planes;
  planes.width = static_cast<int>(texture.Width);
  planes.height = static_cast<int>(texture.Height);
  // A view's format says which plane it is of.
  for (const auto& [format, view] : {std::pair(DXGI_FORMAT_R8_UNORM, &planes.luma),
                                     std::pair(DXGI_FORMAT_R8G8_UNORM, &planes.chroma)}) {
    facts.Format = format;
    if (const HRESULT made = device_->CreateRenderTargetView(&nv12, &facts, view->put());
        made != S_OK)
      refuse("no plane of an NV12 texture can be drawn to", made);
  }
  return planes;
}

void Nv12Converter::draw(ID3D11ShaderResourceView& source, const Nv12Planes& to) const {
  ID3D11DeviceContext& context = *context_;
  ID3D11ShaderResourceView* const picture = &source;
  const auto plane = [&](ID3D11PixelShader* shader, ID3D11RenderTargetView* view, int width,
                         int height) {
    const D3D11_VIEWPORT all{0, 0, static_cast<float>(width), static_cast<float>(height), 0, 1};
    context.RSSetViewports(1, &all);
    context.OMSetRenderTargets(1, &view, nullptr);
    context.PSSetShader(shader, nullptr, 0);
    context.Draw(3, 0);
  };
  threads_->Enter();  // drivers have threads that use the same context
  context.ClearState();
  context.IASetPrimitiveTopology(D3D11_PRIMITIVE_TOPOLOGY_TRIANGLELIST);
  context.VSSetShader(whole_.get(), nullptr, 0);
  context.PSSetShaderResources(0, 1, &picture);
  plane(luma_.get(), to.luma.get(), to.width, to.height);
  plane(chroma_.get(), to.chroma.get(), to.width / 2, to.height / 2);
  context.ClearState();
  threads_->Leave();
}

}  // namespace kvm
