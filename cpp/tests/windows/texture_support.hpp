// A capture device with a desktop's picture on it, and rings of shared textures that take a part of
// it.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "capture/dxgi/texture_ring.hpp"
#include "fake_sharing.hpp"
#include "model_desktop.hpp"
#include "nv12_support.hpp"

namespace kvm::test {

inline constexpr Rect kDesktop{0, 0, 200, 120};

// And a model of the same. One thread.
class Desk {
 public:
  // `part` of the desktop is what rings are made for.
  explicit Desk(const Rect& part) : at(part) {
    REQUIRE(D3D11CreateDevice(nullptr, D3D_DRIVER_TYPE_HARDWARE, nullptr,
                              D3D11_CREATE_DEVICE_BGRA_SUPPORT, nullptr, 0, D3D11_SDK_VERSION,
                              device.put(), nullptr, context.put()) == S_OK);
    D3D11_TEXTURE2D_DESC facts{};
    facts.Width = static_cast<UINT>(kDesktop.width);
    facts.Height = static_cast<UINT>(kDesktop.height);
    facts.MipLevels = facts.ArraySize = 1;
    facts.Format = DXGI_FORMAT_B8G8R8A8_UNORM;
    facts.SampleDesc.Count = 1;
    facts.BindFlags = D3D11_BIND_RENDER_TARGET;
    REQUIRE(device->CreateTexture2D(&facts, nullptr, picture.put()) == S_OK);
    fill(*picture, model.picture(false));
  }
  // Null with the reason in `why`.
  std::unique_ptr<dxgi::TextureRing> ring() {
    return dxgi::TextureRing::make(sharing, device, context, at.width, at.height, why);
  }
  // Draws, and says where: in the ring's pixels.
  TileMap draw(const Rect& rect, unsigned seed) {
    model.apply(Fill{rect, seed});
    fill(*picture, model.picture(false));
    TileMap changed(at.width, at.height);
    changed.add({rect.x - at.x, rect.y - at.y, rect.width, rect.height});
    return changed;
  }
  std::optional<Frame> publish(dxgi::TextureRing& to, TileMap changed) {
    return to.publish(*picture, at.x, at.y, changed);
  }
  std::optional<Frame> publish(dxgi::TextureRing& to) { return publish(to, all_tiles()); }
  [[nodiscard]] TileMap all_tiles() const {
    TileMap all(at.width, at.height);
    all.set_all();
    return all;
  }
  // What the ring should show; coded sizes repeat the last column and row.
  [[nodiscard]] std::vector<std::uint32_t> expected(int coded_width = 0,
                                                    int coded_height = 0) const {
    const auto whole = model.picture(false);
    std::vector<std::uint32_t> part;
    for (int y = 0; y < std::max(at.height, coded_height); ++y) {
      for (int x = 0; x < std::max(at.width, coded_width); ++x) {
        const int from =
            (at.y + std::min(y, at.height - 1)) * kDesktop.width + at.x + std::min(x, at.width - 1);
        part.push_back(whole[static_cast<std::size_t>(from)]);
      }
    }
    return part;
  }

  // The same as the CPU converts it: rows of luma, then of chroma.
  [[nodiscard]] std::vector<std::uint8_t> expected_nv12(int coded_width, int coded_height) const {
    return to_nv12(expected(coded_width, coded_height), coded_width, coded_height);
  }

  Rect at;
  std::shared_ptr<FakeSharing> sharing = std::make_shared<FakeSharing>();
  ComPtr<ID3D11Device> device;
  ComPtr<ID3D11DeviceContext> context;
  ComPtr<ID3D11Texture2D> picture;
  ModelDesktop model{kDesktop.width, kDesktop.height, 1};
  std::string why;
};

[[nodiscard]] inline int references(ID3D11Device& device) {
  device.AddRef();
  return static_cast<int>(device.Release());
}

}  // namespace kvm::test
