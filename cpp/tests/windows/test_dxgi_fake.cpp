// The fake itself, driven as a client drives Windows: what the other tests of DXGI rest on.
#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "base/clock.hpp"
#include "fake_duplication.hpp"

namespace kvm {
namespace {

using namespace test;

// The plainest client there can be. Reads whole surfaces.
struct Client {
  explicit Client(FakeDesktop& desktop, const std::string& id = "A") {
    REQUIRE(desktop.duplicate(id, held) == S_OK);
  }
  HRESULT acquire(UINT timeout_ms = 0) {
    texture = {};
    ComPtr<IDXGIResource> resource;
    const HRESULT result = held.duplication->AcquireNextFrame(timeout_ms, &info, resource.put());
    if (result == S_OK)
      REQUIRE(resource->QueryInterface(__uuidof(ID3D11Texture2D),
                                       reinterpret_cast<void**>(texture.put())) == S_OK);
    return result;
  }
  HRESULT release() {
    texture = {};
    return held.duplication->ReleaseFrame();
  }
  // 0x00RRGGBB, as the surface lies.
  std::vector<std::uint32_t> read() {
    D3D11_TEXTURE2D_DESC desc{};
    texture->GetDesc(&desc);
    width = static_cast<int>(desc.Width);
    desc.Usage = D3D11_USAGE_STAGING;
    desc.BindFlags = 0;
    desc.CPUAccessFlags = D3D11_CPU_ACCESS_READ;
    ComPtr<ID3D11Texture2D> staging;
    REQUIRE(held.device->CreateTexture2D(&desc, nullptr, staging.put()) == S_OK);
    held.context->CopyResource(staging.get(), texture.get());
    D3D11_MAPPED_SUBRESOURCE mapped{};
    REQUIRE(held.context->Map(staging.get(), 0, D3D11_MAP_READ, 0, &mapped) == S_OK);
    std::vector<std::uint32_t> pixels(desc.Width * desc.Height);
    for (UINT y = 0; y < desc.Height; ++y) {
      std::memcpy(pixels.data() + y * desc.Width,
                  static_cast<const std::uint8_t*>(mapped.pData) + y * mapped.RowPitch,
                  desc.Width * 4);
    }
    held.context->Unmap(staging.get(), 0);
    for (auto& pixel : pixels) pixel &= 0x00ffffffU;
    return pixels;
  }
  std::vector<RECT> dirty() {
    UINT needed = 0;
    held.duplication->GetFrameDirtyRects(0, nullptr, &needed);
    std::vector<RECT> rects(needed / sizeof(RECT));
    REQUIRE(held.duplication->GetFrameDirtyRects(needed, rects.data(), &needed) == S_OK);
    return rects;
  }
  std::vector<DXGI_OUTDUPL_MOVE_RECT> moves() {
    UINT needed = 0;
    held.duplication->GetFrameMoveRects(0, nullptr, &needed);
    std::vector<DXGI_OUTDUPL_MOVE_RECT> rects(needed / sizeof(DXGI_OUTDUPL_MOVE_RECT));
    REQUIRE(held.duplication->GetFrameMoveRects(needed, rects.data(), &needed) == S_OK);
    return rects;
  }

  dxgi::Duplicated held;
  DXGI_OUTDUPL_FRAME_INFO info{};
  ComPtr<ID3D11Texture2D> texture;
  int width = 0;
};

void compose(FakeOutput& output, const std::vector<Update>& updates) {
  output.compose(updates);
}

}  // namespace

TEST_CASE("a frame is acquired once, released once, and wrong calls are refused") {
  FakeDesktop desktop;
  auto& output = desktop.add("A", {});
  Client client(desktop);
  CHECK(client.held.duplication->ReleaseFrame() == DXGI_ERROR_INVALID_CALL);
  REQUIRE(client.acquire() == S_OK);
  CHECK(output.held());
  CHECK(client.acquire() == DXGI_ERROR_INVALID_CALL);
  CHECK(client.release() == S_OK);
  CHECK(client.release() == DXGI_ERROR_INVALID_CALL);
  UINT needed = 0;
  CHECK(client.held.duplication->GetFrameDirtyRects(0, nullptr, &needed) ==
        DXGI_ERROR_INVALID_CALL);
  CHECK(output.timing().wrong_calls == 4);
  const std::int64_t before = now_ns();
  CHECK(client.acquire(40) == DXGI_ERROR_WAIT_TIMEOUT);
  CHECK(now_ns() - before >= 38 * kNsPerMs);
}

TEST_CASE("an output has one duplication at a time, and what lives is counted") {
  FakeDesktop desktop;
  desktop.add("A", {});
  CHECK(desktop.live() == 0);
  {
    Client client(desktop);
    dxgi::Duplicated second;
    CHECK(desktop.duplicate("A", second) == E_INVALIDARG);
    CHECK(desktop.duplicate("B", second) == DXGI_ERROR_NOT_FOUND);
    CHECK(desktop.live() == 1);
    CHECK(desktop.device_references() > 0);
  }
  CHECK(desktop.live() == 0);
  CHECK(desktop.device_references() == 0);
  ComPtr<ID3D11Texture2D> kept;
  {
    Client client(desktop);
    REQUIRE(client.acquire() == S_OK);
    client.texture->QueryInterface(__uuidof(ID3D11Texture2D), reinterpret_cast<void**>(kept.put()));
  }
  CHECK(desktop.live() == 1);
}

TEST_CASE("moves replayed on the last picture, then dirty parts, give the surface") {
  FakeDesktop desktop;
  auto& output = desktop.add("A", {});
  Client client(desktop);
  REQUIRE(client.acquire() == S_OK);
  auto picture = client.read();
  REQUIRE(client.release() == S_OK);
  compose(output, {Fill{{10, 10, 40, 30}, 5}});
  compose(output, {Move{{100, 20, 40, 40}, 20, 5}, Move{{104, 24, 40, 40}, 100, 20}});
  REQUIRE(client.acquire() == S_OK);
  CHECK(client.info.AccumulatedFrames == 2);
  CHECK(client.info.LastPresentTime.QuadPart != 0);
  const auto moves = client.moves();
  const auto dirty = client.dirty();
  CHECK(moves.size() == 2);
  CHECK(dirty.size() >= 3);  // the fill, and what the moves took of it
  CHECK(client.info.TotalMetadataBufferSize ==
        moves.size() * sizeof moves[0] + dirty.size() * sizeof dirty[0]);
  UINT needed = 0;
  RECT one{};
  CHECK(client.held.duplication->GetFrameDirtyRects(sizeof one, &one, &needed) ==
        DXGI_ERROR_MORE_DATA);
  CHECK(needed == dirty.size() * sizeof one);
  const auto now = client.read();
  const auto index = [&](LONG x, LONG y) { return static_cast<std::size_t>(y * client.width + x); };
  for (const auto& move : moves) {
    const auto before = picture;
    const RECT& to = move.DestinationRect;
    for (LONG y = to.top; y < to.bottom; ++y)
      for (LONG x = to.left; x < to.right; ++x)
        picture[index(x, y)] =
            before[index(move.SourcePoint.x + x - to.left, move.SourcePoint.y + y - to.top)];
  }
  CHECK(picture != now);
  for (const RECT& r : dirty)
    for (LONG y = r.top; y < r.bottom; ++y)
      for (LONG x = r.left; x < r.right; ++x) picture[index(x, y)] = now[index(x, y)];
  CHECK(picture == now);
}

TEST_CASE("the surface of a turned output is un-rotated") {
  // The desktop's top left pixel, as Windows' own client finds it: turned clockwise to be shown.
  const Rect bounds{0, 0, 64, 48};
  const auto corner = [&](DXGI_MODE_ROTATION rotation, int width, int height) {
    FakeDesktop desktop;
    auto& output = desktop.add("A", {bounds, rotation});
    Client client(desktop);
    REQUIRE(client.acquire() == S_OK);
    CHECK(client.release() == S_OK);
    compose(output, {Fill{{0, 0, 4, 2}, 9}});
    REQUIRE(client.acquire() == S_OK);
    const auto pixels = client.read();
    CHECK(client.width == width);
    CHECK(pixels.size() == static_cast<std::size_t>(width * height));
    const auto dirty = client.dirty();
    REQUIRE(dirty.size() == 1);
    std::size_t found = pixels.size();
    for (std::size_t i = 0; i < pixels.size(); ++i)
      if (pixels[i] == colour_at(0, 0, 9)) found = i;
    const auto x = static_cast<LONG>(found) % width;
    const auto y = static_cast<LONG>(found) / width;
    CHECK(x >= dirty[0].left);
    CHECK(x < dirty[0].right);
    CHECK(y >= dirty[0].top);
    CHECK(y < dirty[0].bottom);
    return std::pair(x, y);
  };
  CHECK(corner(DXGI_MODE_ROTATION_IDENTITY, 64, 48) == std::pair<LONG, LONG>(0, 0));
  CHECK(corner(DXGI_MODE_ROTATION_ROTATE90, 48, 64) == std::pair<LONG, LONG>(0, 63));
  CHECK(corner(DXGI_MODE_ROTATION_ROTATE180, 64, 48) == std::pair<LONG, LONG>(63, 47));
  CHECK(corner(DXGI_MODE_ROTATION_ROTATE270, 48, 64) == std::pair<LONG, LONG>(47, 0));
}

TEST_CASE("a pointer's update has no present time, and its shape comes once") {
  FakeDesktop desktop;
  auto& output = desktop.add("A", {});
  Client client(desktop);
  REQUIRE(client.acquire() == S_OK);
  REQUIRE(client.release() == S_OK);
  output.set_shape(monochrome_pointer(13, 9, {1, 2}, 3));
  output.move_pointer(20, 30, true);
  REQUIRE(client.acquire() == S_OK);
  CHECK(client.info.LastPresentTime.QuadPart == 0);
  CHECK(client.info.AccumulatedFrames == 0);
  CHECK(client.info.LastMouseUpdateTime.QuadPart != 0);
  CHECK(client.info.PointerPosition.Position.x == 20);
  const UINT size = client.info.PointerShapeBufferSize;
  REQUIRE(size > 0);
  std::vector<std::uint8_t> bytes(size);
  DXGI_OUTDUPL_POINTER_SHAPE_INFO info{};
  UINT needed = 0;
  auto* duplication = client.held.duplication.get();
  CHECK(duplication->GetFramePointerShape(1, bytes.data(), &needed, &info) == DXGI_ERROR_MORE_DATA);
  CHECK(needed == size);
  CHECK(duplication->GetFramePointerShape(size, bytes.data(), &needed, &info) == S_OK);
  CHECK(info.Height == 18);
  REQUIRE(client.release() == S_OK);
  output.move_pointer(21, 30, true);
  REQUIRE(client.acquire() == S_OK);
  CHECK(client.info.PointerShapeBufferSize == 0);
}

TEST_CASE("what is lost stays lost, and says so to who waits") {
  FakeDesktop desktop;
  auto& output = desktop.add("A", {});
  {
    Client client(desktop);
    REQUIRE(client.acquire() == S_OK);
    REQUIRE(client.release() == S_OK);
    std::thread loses([&] {
      Sleep(30);
      output.lose(DXGI_ERROR_ACCESS_LOST);
    });
    const std::int64_t before = now_ns();
    CHECK(client.acquire(5000) == DXGI_ERROR_ACCESS_LOST);
    CHECK(now_ns() - before < 2 * kNsPerSec);
    loses.join();
    CHECK(client.acquire() == DXGI_ERROR_ACCESS_LOST);
  }
  output.refuse(E_ACCESSDENIED, 1);
  dxgi::Duplicated again;
  CHECK(desktop.duplicate("A", again) == E_ACCESSDENIED);
  output.start_with(Start::kBlack);
  Client client(desktop);
  REQUIRE(client.acquire() == S_OK);
  CHECK(client.info.LastPresentTime.QuadPart == 0);
  CHECK(client.read()[5] == 0);
  REQUIRE(client.release() == S_OK);
  compose(output, {Fill{{0, 0, 16, 16}, 4}});
  REQUIRE(client.acquire() == S_OK);
  CHECK(client.info.LastPresentTime.QuadPart != 0);
  CHECK(client.read()[5] == colour_at(5, 0, 4));
}

TEST_CASE("FP16 rounds to the nearest") {
  CHECK(half_of(0.0F) == 0);
  CHECK(half_of(1.0F) == 0x3c00);
  CHECK(half_of(-2.0F) == 0xc000);
  CHECK(half_of(0.333333F) == 0x3555);
  CHECK(half_of(1e9F) == 0x7bff);
  CHECK(scrgb_of(255, 240.0F) == doctest::Approx(3.0));
  CHECK(scrgb_of(0, 240.0F) == 0.0F);
}

}  // namespace kvm
