// BGRA to NV12 by a GPU, beside the CPU's converter.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "encode/d3d11/nv12_converter.hpp"
#include "fake_sharing.hpp"
#include "nv12_support.hpp"
#include "texture_support.hpp"

namespace kvm {
namespace {

using namespace test;

constexpr UINT kDrawable = D3D11_BIND_RENDER_TARGET;

struct Gpu {
  Gpu() {
    REQUIRE(D3D11CreateDevice(nullptr, D3D_DRIVER_TYPE_HARDWARE, nullptr,
                              D3D11_CREATE_DEVICE_BGRA_SUPPORT, nullptr, 0, D3D11_SDK_VERSION,
                              device.put(), nullptr, context.put()) == S_OK);
    device.as<ID3D10Multithread>()->SetMultithreadProtected(TRUE);
  }
  // Null when the device makes no such thing.
  [[nodiscard]] ComPtr<ID3D11Texture2D> texture(int width, int height, DXGI_FORMAT format,
                                                UINT bind, UINT slices = 1) const {
    D3D11_TEXTURE2D_DESC facts{};
    facts.Width = static_cast<UINT>(width);
    facts.Height = static_cast<UINT>(height);
    facts.MipLevels = 1;
    facts.ArraySize = slices;
    facts.Format = format;
    facts.SampleDesc.Count = 1;
    facts.BindFlags = bind;
    ComPtr<ID3D11Texture2D> made;
    device->CreateTexture2D(&facts, nullptr, made.put());
    return made;
  }
  [[nodiscard]] ComPtr<ID3D11Texture2D> picture(int width, int height,
                                                const std::vector<std::uint32_t>& pixels) const {
    const auto made =
        texture(width, height, DXGI_FORMAT_B8G8R8A8_UNORM, kDrawable | D3D11_BIND_SHADER_RESOURCE);
    REQUIRE(made);
    fill(*made, pixels);
    return made;
  }
  ComPtr<ID3D11Device> device;
  ComPtr<ID3D11DeviceContext> context;
};

using Pixels = std::vector<std::uint32_t>;

// Mostly saturated: where rounding and sums are at their limits. The fourth byte is anything.
Pixels random_pixels(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  Pixels pixels(static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
  for (std::uint32_t& pixel : pixels) {
    pixel = random();
    for (unsigned shift = 0; shift < 24; shift += 8) {
      const std::uint32_t kind = random() % 4;
      if (kind < 2) pixel = (pixel & ~(0xffU << shift)) | (kind == 0 ? 0 : 0xffU << shift);
    }
  }
  return pixels;
}

// What the CPU makes of it, with its last column and row repeated up to `wide` and `high`.
std::vector<std::uint8_t> expected(const Pixels& pixels, int width, int height, int wide,
                                   int high) {
  Pixels padded;
  for (int y = 0; y < high; ++y) {
    for (int x = 0; x < wide; ++x)
      padded.push_back(pixels[static_cast<std::size_t>(std::min(y, height - 1) * width +
                                                       std::min(x, width - 1))]);
  }
  return to_nv12(std::move(padded), wide, high);
}

int even(int size) {
  return (size + 1) & ~1;
}

// Drawn to two textures, each a plane.
std::vector<std::uint8_t> drawn(const Gpu& gpu, const Pixels& pixels, int width, int height,
                                int wide, int high) {
  const Nv12Converter converter(gpu.device, gpu.context, width, height);
  const auto luma = gpu.texture(wide, high, DXGI_FORMAT_R8_UNORM, kDrawable);
  const auto chroma = gpu.texture(wide / 2, high / 2, DXGI_FORMAT_R8G8_UNORM, kDrawable);
  Nv12Planes planes{{}, {}, wide, high};
  REQUIRE(gpu.device->CreateRenderTargetView(luma.get(), nullptr, planes.luma.put()) == S_OK);
  REQUIRE(gpu.device->CreateRenderTargetView(chroma.get(), nullptr, planes.chroma.put()) == S_OK);
  const auto picture = gpu.picture(width, height, pixels);
  converter.draw(*converter.source(*picture), planes);
  std::vector<std::uint8_t> bytes = bytes_of(*luma);
  const auto more = bytes_of(*chroma);
  bytes.insert(bytes.end(), more.begin(), more.end());
  return bytes;
}

template <typename Act>
std::string refusal(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.kind() == ErrorKind::kEncoder ? error.what() : "another kind";
  }
  return "";
}

}  // namespace

TEST_CASE("a GPU makes the bytes that the CPU makes, at odd sizes and where planes are larger") {
  const Gpu gpu;
  unsigned seed = 0;
  for (const auto& [width, height] : {std::pair(1, 1),
                                      {2, 1},
                                      {1, 2},
                                      {3, 3},
                                      {64, 48},
                                      {142, 84},
                                      {141, 83},
                                      {33, 2},
                                      {1366, 768}}) {
    for (const int more : {0, 14}) {
      CAPTURE(width);
      CAPTURE(height);
      CAPTURE(more);
      const int wide = even(width) + more;
      const int high = even(height) + more;
      const Pixels pixels = random_pixels(width, height, ++seed);
      CHECK(drawn(gpu, pixels, width, height, wide, high) ==
            expected(pixels, width, height, wide, high));
    }
  }
}

TEST_CASE("every grey and every colour of the corners, as they stand and side by side") {
  const Gpu gpu;
  Pixels pixels;
  for (std::uint32_t grey = 0; grey < 256; ++grey) pixels.push_back(grey * 0x010101);
  for (std::uint32_t i = 0; i < 256; ++i) {  // in blocks of 2×2 two corners meet
    const std::uint32_t corner = i % 2 == 0 ? i / 2 % 8 : i / 16 % 8;
    pixels.push_back((corner & 1 ? 0xff : 0) | (corner & 2 ? 0xff00 : 0) |
                     (corner & 4 ? 0xff0000 : 0));
  }
  for (std::size_t i = 0; i < 512; ++i) pixels.push_back(pixels[511 - i]);
  for (const int width : {256, 128, 32})
    CHECK(drawn(gpu, pixels, width, 1024 / width, width, 1024 / width) ==
          expected(pixels, width, 1024 / width, width, 1024 / width));
}

TEST_CASE("what others left in the context changes nothing, and nothing is left there") {
  const Gpu gpu;
  const Pixels pixels = random_pixels(38, 20, 77);
  const auto foreign = gpu.texture(38, 20, DXGI_FORMAT_B8G8R8A8_UNORM, kDrawable);
  const int before = references(*gpu.device);
  {
    D3D11_BLEND_DESC blending{};
    blending.RenderTarget[0] = {TRUE,
                                D3D11_BLEND_DEST_COLOR,
                                D3D11_BLEND_ONE,
                                D3D11_BLEND_OP_ADD,
                                D3D11_BLEND_ONE,
                                D3D11_BLEND_ONE,
                                D3D11_BLEND_OP_ADD,
                                0};
    ComPtr<ID3D11BlendState> blend;
    REQUIRE(gpu.device->CreateBlendState(&blending, blend.put()) == S_OK);
    D3D11_RASTERIZER_DESC raster{};
    raster.FillMode = D3D11_FILL_SOLID;
    raster.CullMode = D3D11_CULL_FRONT;
    raster.ScissorEnable = TRUE;
    ComPtr<ID3D11RasterizerState> rasterizer;
    REQUIRE(gpu.device->CreateRasterizerState(&raster, rasterizer.put()) == S_OK);
    ComPtr<ID3D11RenderTargetView> target;
    REQUIRE(gpu.device->CreateRenderTargetView(foreign.get(), nullptr, target.put()) == S_OK);
    const D3D11_RECT scissor{0, 0, 3, 3};
    ID3D11RenderTargetView* const bound = target.get();
    gpu.context->OMSetRenderTargets(1, &bound, nullptr);
    gpu.context->OMSetBlendState(blend.get(), nullptr, 0);
    gpu.context->RSSetState(rasterizer.get());
    gpu.context->RSSetScissorRects(1, &scissor);
    CHECK(drawn(gpu, pixels, 38, 20, 38, 20) == expected(pixels, 38, 20, 38, 20));
  }
  ComPtr<ID3D11RenderTargetView> left;
  gpu.context->OMGetRenderTargets(1, left.put(), nullptr);
  CHECK(!left);
  ComPtr<ID3D11ShaderResourceView> read;
  gpu.context->PSGetShaderResources(0, 1, read.put());
  CHECK(!read);
  CHECK(references(*gpu.device) == before);
}

TEST_CASE("an NV12 texture is drawn to by its planes, and a slice of several alone") {
  const Gpu gpu;
  const Nv12Support support(*gpu.device);
  const Pixels pixels = random_pixels(37, 21, 5);
  const Nv12Converter converter(gpu.device, gpu.context, 37, 21);
  const auto picture = gpu.picture(37, 21, pixels);
  const auto view = converter.source(*picture);
  const auto want = expected(pixels, 37, 21, 38, 22);
  const auto single = gpu.texture(38, 22, DXGI_FORMAT_NV12, kDrawable);
  REQUIRE(single);
  converter.draw(*view, converter.planes(*single, 0));
  CHECK(nv12_of(*single) == want);
  const auto several = gpu.texture(38, 22, DXGI_FORMAT_NV12, kDrawable, 3);
  REQUIRE(several);
  converter.draw(*view, converter.planes(*several, 1));
  CHECK(nv12_of(*several, 0) != want);
  CHECK(nv12_of(*several, 1) == want);
  CHECK(nv12_of(*several, 2) != want);
}

TEST_CASE("what a device does not do is a reason") {
  const Gpu gpu;
  Nv12Support support(*gpu.device);
  const auto planar = gpu.texture(38, 22, DXGI_FORMAT_NV12, kDrawable);
  REQUIRE(planar);
  const auto packed = gpu.texture(38, 22, DXGI_FORMAT_B8G8R8A8_UNORM, kDrawable);
  const auto whole = [&] {
    const Nv12Converter converter(gpu.device, gpu.context, 38, 22);
    static_cast<void>(converter.source(*gpu.picture(38, 22, Pixels(38 * 22))));
    static_cast<void>(converter.planes(*planar, 0));
  };
  CHECK(refusal(whole) == "");
  using Call = Nv12Support::Call;
  for (const auto& [call, after, said] :
       {std::tuple(Call::kVertexShader, 0, "no vertex shader"),
        {Call::kPixelShader, 0, "no pixel shader"},
        {Call::kPixelShader, 1, "no pixel shader"},
        {Call::kSource, 0, "no view of a BGRA texture"},
        {Call::kPlane, 0, "no plane of an NV12 texture can be drawn to"},
        {Call::kPlane, 1, "no plane of an NV12 texture can be drawn to"}}) {
    support.fail(call, E_OUTOFMEMORY, after);
    CHECK(refusal(whole) == std::string(said) + " (Windows answers " + hex(E_OUTOFMEMORY) + ")");
    support.mend();
  }
  const Nv12Converter converter(gpu.device, gpu.context, 38, 22);
  CHECK(refusal([&] { static_cast<void>(converter.planes(*packed, 0)); }) != "");
  CHECK(refusal([&] { static_cast<void>(converter.source(*packed)); }) != "");
  CHECK(refusal(whole) == "");
}

// Run by itself, where Wine is told to have none.
TEST_CASE("without the compiler of shaders that is the reason" * doctest::skip()) {
  const Gpu gpu;
  CHECK(refusal([&] {
          Nv12Converter(gpu.device, gpu.context, 38, 22);
        }).find("no d3dcompiler_47.dll to compile shaders: Windows error ") == 0);
}

}  // namespace kvm
