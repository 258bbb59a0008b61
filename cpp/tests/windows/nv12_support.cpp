#include "nv12_support.hpp"

#include <stdexcept>

#include "base/com_ptr.hpp"
#include "convert/convert.hpp"

namespace kvm::test {
namespace {

// Where they are in ID3D11Device, whose order of functions is part of Windows.
constexpr std::array<std::size_t, Nv12Support::kCalls> kPlaces{5, 7, 9, 12, 15};

Nv12Support* current = nullptr;

// What a texture keeps its planes by.
GUID key_of(unsigned plane, unsigned slice) {
  return {0x6e763132 + plane, static_cast<unsigned short>(slice), 0x4b56, {1, 2, 3, 4, 5, 6, 7, 8}};
}

ComPtr<ID3D11Texture2D> plane_of(ID3D11Texture2D& nv12, unsigned plane, unsigned slice) {
  ComPtr<ID3D11Texture2D> texture;
  UINT size = sizeof(ID3D11Texture2D*);
  if (nv12.GetPrivateData(key_of(plane, slice), &size, texture.put()) != S_OK) return {};
  return texture;
}

template <Nv12Support::Call kCall, typename... Parameters>
HRESULT call_real(ID3D11Device* self, Parameters... parameters) {
  using Function = HRESULT(STDMETHODCALLTYPE*)(ID3D11Device*, Parameters...);
  return reinterpret_cast<Function>(current->real[static_cast<std::size_t>(kCall)])(self,
                                                                                    parameters...);
}

// Fails where it is told to.
template <Nv12Support::Call kCall, typename... Parameters>
HRESULT STDMETHODCALLTYPE counted(ID3D11Device* self, Parameters... parameters) {
  const HRESULT answer = current->begin(kCall);
  return answer == S_OK ? call_real<kCall>(self, parameters...) : answer;
}

HRESULT make_texture(ID3D11Device* self, const D3D11_TEXTURE2D_DESC* facts,
                     const D3D11_SUBRESOURCE_DATA* data, ID3D11Texture2D** texture) {
  return call_real<Nv12Support::Call::kTexture>(self, facts, data, texture);
}

HRESULT make_view(ID3D11Device* self, ID3D11Resource* resource,
                  const D3D11_RENDER_TARGET_VIEW_DESC* facts, ID3D11RenderTargetView** view) {
  return call_real<Nv12Support::Call::kPlane>(self, resource, facts, view);
}

HRESULT STDMETHODCALLTYPE create_texture(ID3D11Device* self, const D3D11_TEXTURE2D_DESC* facts,
                                         const D3D11_SUBRESOURCE_DATA* data,
                                         ID3D11Texture2D** texture) {
  if (const HRESULT answer = current->begin(Nv12Support::Call::kTexture); answer != S_OK)
    return answer;
  const HRESULT made = make_texture(self, facts, data, texture);
  if (made == S_OK || facts->Format != DXGI_FORMAT_NV12 ||
      (facts->BindFlags & D3D11_BIND_RENDER_TARGET) == 0 || facts->Width % 2 != 0 ||
      facts->Height % 2 != 0)
    return made;
  D3D11_TEXTURE2D_DESC plain = *facts;
  plain.BindFlags = 0;
  if (const HRESULT answer = make_texture(self, &plain, data, texture); answer != S_OK)
    return answer;
  plain.ArraySize = 1;
  plain.BindFlags = D3D11_BIND_RENDER_TARGET;
  for (unsigned slice = 0; slice < facts->ArraySize; ++slice) {
    for (unsigned plane = 0; plane < 2; ++plane) {
      plain.Format = plane == 0 ? DXGI_FORMAT_R8_UNORM : DXGI_FORMAT_R8G8_UNORM;
      plain.Width = facts->Width >> plane;
      plain.Height = facts->Height >> plane;
      ComPtr<ID3D11Texture2D> made_plane;
      if (make_texture(self, &plain, nullptr, made_plane.put()) != S_OK ||
          (*texture)->SetPrivateDataInterface(key_of(plane, slice), made_plane.get()) != S_OK)
        throw std::runtime_error("no textures for the planes of NV12");
    }
  }
  return S_OK;
}

HRESULT STDMETHODCALLTYPE create_plane(ID3D11Device* self, ID3D11Resource* resource,
                                       const D3D11_RENDER_TARGET_VIEW_DESC* facts,
                                       ID3D11RenderTargetView** view) {
  if (const HRESULT answer = current->begin(Nv12Support::Call::kPlane); answer != S_OK)
    return answer;
  ComPtr<ID3D11Texture2D> texture;
  resource->QueryInterface(__uuidof(ID3D11Texture2D), reinterpret_cast<void**>(texture.put()));
  if (!texture || !plane_of(*texture, 0, 0)) return make_view(self, resource, facts, view);
  if (facts == nullptr ||
      (facts->Format != DXGI_FORMAT_R8_UNORM && facts->Format != DXGI_FORMAT_R8G8_UNORM))
    return E_INVALIDARG;
  D3D11_TEXTURE2D_DESC whole{};
  texture->GetDesc(&whole);
  const bool array = facts->ViewDimension == D3D11_RTV_DIMENSION_TEXTURE2DARRAY;
  if (array ? facts->Texture2DArray.ArraySize != 1 || facts->Texture2DArray.MipSlice != 0
            : facts->ViewDimension != D3D11_RTV_DIMENSION_TEXTURE2D ||
                  facts->Texture2D.MipSlice != 0 || whole.ArraySize != 1)
    return E_INVALIDARG;
  const auto plane = plane_of(*texture, facts->Format == DXGI_FORMAT_R8_UNORM ? 0 : 1,
                              array ? facts->Texture2DArray.FirstArraySlice : 0);
  if (!plane) return E_INVALIDARG;
  return make_view(self, plane.get(), nullptr, view);
}

// The functions of an interface stand in memory that is not to be written.
void put_function(void** place, void* function) {
  DWORD before = 0;
  if (VirtualProtect(place, sizeof *place, PAGE_READWRITE, &before) == FALSE)
    throw std::runtime_error(last_error("VirtualProtect"));
  *place = function;
  VirtualProtect(place, sizeof *place, before, &before);
}

// `rows` of all that a staging copy of that slice has, each `row` bytes.
std::vector<std::uint8_t> read(ID3D11Texture2D& texture, unsigned slice, std::size_t row,
                               std::size_t rows) {
  D3D11_TEXTURE2D_DESC facts{};
  texture.GetDesc(&facts);
  facts.ArraySize = 1;
  facts.Usage = D3D11_USAGE_STAGING;
  facts.BindFlags = facts.MiscFlags = 0;
  facts.CPUAccessFlags = D3D11_CPU_ACCESS_READ;
  ComPtr<ID3D11Device> device;
  texture.GetDevice(device.put());
  ComPtr<ID3D11DeviceContext> context;
  device->GetImmediateContext(context.put());
  ComPtr<ID3D11Texture2D> staging;
  D3D11_MAPPED_SUBRESOURCE map{};
  if (device->CreateTexture2D(&facts, nullptr, staging.put()) != S_OK)
    throw std::runtime_error("no staging texture");
  context->CopySubresourceRegion(staging.get(), 0, 0, 0, 0, &texture, slice, nullptr);
  if (context->Map(staging.get(), 0, D3D11_MAP_READ, 0, &map) != S_OK)
    throw std::runtime_error("no map");
  std::vector<std::uint8_t> bytes;
  for (std::size_t y = 0; y < rows; ++y) {
    const auto* from = static_cast<const std::uint8_t*>(map.pData) + y * map.RowPitch;
    bytes.insert(bytes.end(), from, from + row);
  }
  context->Unmap(staging.get(), 0);
  return bytes;
}

}  // namespace

Nv12Support::Nv12Support(ID3D11Device& device) : functions_(*reinterpret_cast<void***>(&device)) {
  if (current != nullptr) throw std::logic_error("one Nv12Support at a time");
  using Texture = HRESULT(STDMETHODCALLTYPE*)(ID3D11Device*, const D3D11_TEXTURE2D_DESC*,
                                              const D3D11_SUBRESOURCE_DATA*, ID3D11Texture2D**);
  using Plane =
      HRESULT(STDMETHODCALLTYPE*)(ID3D11Device*, ID3D11Resource*,
                                  const D3D11_RENDER_TARGET_VIEW_DESC*, ID3D11RenderTargetView**);
  const Texture texture = create_texture;
  const Plane plane = create_plane;
  const auto source = &counted<Call::kSource, ID3D11Resource*,
                               const D3D11_SHADER_RESOURCE_VIEW_DESC*, ID3D11ShaderResourceView**>;
  const auto vertex =
      &counted<Call::kVertexShader, const void*, SIZE_T, ID3D11ClassLinkage*, ID3D11VertexShader**>;
  const auto pixel =
      &counted<Call::kPixelShader, const void*, SIZE_T, ID3D11ClassLinkage*, ID3D11PixelShader**>;
  const std::array<void*, kCalls> ours{
      reinterpret_cast<void*>(texture), reinterpret_cast<void*>(source),
      reinterpret_cast<void*>(plane), reinterpret_cast<void*>(vertex),
      reinterpret_cast<void*>(pixel)};
  current = this;
  for (std::size_t i = 0; i < kCalls; ++i) {
    real[i] = functions_[kPlaces[i]];
    put_function(functions_ + kPlaces[i], ours[i]);
  }
}

Nv12Support::~Nv12Support() {
  for (std::size_t i = 0; i < kCalls; ++i) put_function(functions_ + kPlaces[i], real[i]);
  current = nullptr;
}

void Nv12Support::fail(Call call, HRESULT code, int after) {
  Plan& plan = plans_[static_cast<std::size_t>(call)];
  plan.code = code;
  plan.after = plan.calls + after;
}

void Nv12Support::mend() {
  for (Plan& plan : plans_) plan.after = INT_MAX;
}

HRESULT Nv12Support::begin(Call call) {
  Plan& plan = plans_[static_cast<std::size_t>(call)];
  return plan.calls++ >= plan.after ? plan.code : S_OK;
}

std::vector<std::uint8_t> bytes_of(ID3D11Texture2D& texture) {
  D3D11_TEXTURE2D_DESC facts{};
  texture.GetDesc(&facts);
  return read(texture, 0, std::size_t{facts.Width} * (facts.Format == DXGI_FORMAT_R8_UNORM ? 1 : 2),
              facts.Height);
}

std::vector<std::uint8_t> nv12_of(ID3D11Texture2D& texture, unsigned slice) {
  const auto luma = plane_of(texture, 0, slice);
  const auto chroma = plane_of(texture, 1, slice);
  if (luma && chroma) {
    std::vector<std::uint8_t> bytes = bytes_of(*luma);
    const auto more = bytes_of(*chroma);
    bytes.insert(bytes.end(), more.begin(), more.end());
    return bytes;
  }
  D3D11_TEXTURE2D_DESC facts{};
  texture.GetDesc(&facts);
  return read(texture, slice, facts.Width, std::size_t{facts.Height} * 3 / 2);
}

std::vector<std::uint8_t> to_nv12(std::vector<std::uint32_t> pixels, int width, int height) {
  CpuPlanes bgra;
  bgra.data[0] = reinterpret_cast<std::uint8_t*>(pixels.data());
  bgra.stride[0] = std::ptrdiff_t{4} * width;
  TileMap all(width, height);
  all.set_all();
  YuvPicture yuv(PixelFormat::kNv12, width, height);
  convert_tiles(bgra, all, yuv);
  std::vector<std::uint8_t> bytes;
  for (std::size_t plane = 0; plane < 2; ++plane) {
    for (int y = 0; y < height >> plane; ++y) {
      const std::uint8_t* row = yuv.planes().data[plane] + y * yuv.planes().stride[plane];
      bytes.insert(bytes.end(), row, row + width);
    }
  }
  return bytes;
}

}  // namespace kvm::test
