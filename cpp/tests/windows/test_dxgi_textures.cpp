// A ring of shared textures, and the second device that reads them.
#include <d3d10.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "capture/dxgi/texture_ring.hpp"
#include "convert/rects.hpp"
#include "patience.hpp"
#include "texture_support.hpp"

namespace kvm {
namespace {

using namespace test;
using dxgi::SharedPicture;
using dxgi::TextureRing;
using Call = FakeSharing::Call;

constexpr int kWidth = 141;  // of no whole number of tiles
constexpr int kHeight = 83;
constexpr Rect kAt{24, 10, kWidth, kHeight};  // of the desktop

TileMap all_tiles() {
  TileMap all(kWidth, kHeight);
  all.set_all();
  return all;
}

std::vector<Rect> rectangles_of(const TileMap& tiles) {
  std::vector<Rect> rects;
  for_each_rect(tiles, [&](const Rect& rect) { rects.push_back(rect); });
  return rects;
}

constexpr std::uint32_t kUntouched = 0x00123456;

// What the encoder's side reads; empty when it is lost.
std::vector<std::uint32_t> read(const Frame& frame, const TileMap& tiles = all_tiles()) {
  std::vector<std::uint32_t> pixels(std::size_t{kWidth} * kHeight, kUntouched);
  CpuPlanes planes;
  planes.data[0] = reinterpret_cast<std::uint8_t*>(pixels.data());
  planes.stride[0] = kWidth * 4;
  REQUIRE(frame.on_gpu() != nullptr);
  if (!frame.on_gpu()->read(tiles, planes)) {
    CHECK(std::all_of(pixels.begin(), pixels.end(), [](auto p) { return p == kUntouched; }));
    return {};
  }
  for (auto& pixel : pixels) pixel &= 0x00ffffff;
  return pixels;
}

}  // namespace

TEST_CASE("rectangles cover the tiles, each once and nothing else") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    TileMap tiles(kWidth, kHeight);
    const int likely = static_cast<int>(random() % 100);
    for (int row = 0; row < tiles.rows(); ++row) {
      for (int col = 0; col < tiles.cols(); ++col)
        tiles.set(col, row, static_cast<int>(random() % 100) < likely);
    }
    if (round % 2 == 1) {  // equal rows, too
      for (int row = 1; row < tiles.rows(); row += 2) {
        for (int col = 0; col < tiles.cols(); ++col) tiles.set(col, row, tiles.at(col, row - 1));
      }
    }
    std::vector<int> covered(std::size_t{kWidth} * kHeight, 0);
    for (const Rect& rect : rectangles_of(tiles)) {
      REQUIRE(intersect(rect, {0, 0, kWidth, kHeight}) == rect);
      for (int y = rect.y; y < rect.bottom(); ++y) {
        for (int x = rect.x; x < rect.right(); ++x)
          ++covered[static_cast<std::size_t>(y * kWidth + x)];
      }
    }
    bool right = true;
    for (int y = 0; y < kHeight; ++y) {
      for (int x = 0; x < kWidth; ++x)
        right = right && covered[static_cast<std::size_t>(y * kWidth + x)] ==
                             (tiles.at(x / kTile, y / kTile) ? 1 : 0);
    }
    CHECK(right);
  }
  CHECK(rectangles_of(all_tiles()).size() == 1);
}

TEST_CASE(
    "the encoder's device reads what the capture published, and only tiles that it asks for") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  const auto frame = desk.publish(*ring, TileMap(kWidth, kHeight));
  REQUIRE(frame);
  CHECK(frame->damage.count() == all_tiles().count());  // the first one, whatever was said
  CHECK(frame->width == kWidth);
  CHECK(frame->height == kHeight);
  CHECK(frame->format == PixelFormat::kBgra);
  CHECK(frame->on_gpu()->device() == ring->textures());
  CHECK(read(*frame) == desk.expected());
  CHECK(read(*frame) == desk.expected());  // a keyframe or a refinement reads it again
  TileMap one(kWidth, kHeight);
  one.set(2, 1);
  const auto part = read(*frame, one);
  const auto whole = desk.expected();
  bool right = true;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const auto at = static_cast<std::size_t>(y * kWidth + x);
      right = right && part[at] == (one.at(x / kTile, y / kTile) ? whole[at] : kUntouched);
    }
  }
  CHECK(right);
  CHECK(desk.sharing->wrong_calls() == 0);
  CHECK(desk.sharing->held() == 0);
}

TEST_CASE("a slot gets what changed since it was written, in whatever order slots become free") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  std::mt19937 random(3);
  std::vector<Frame> held;
  TileMap owed(kWidth, kHeight);
  for (unsigned i = 0; i < 120; ++i) {
    const Rect rect{kAt.x + static_cast<int>(random() % 120),
                    kAt.y + static_cast<int>(random() % 70), 1 + static_cast<int>(random() % 20),
                    1 + static_cast<int>(random() % 12)};
    owed.merge(desk.draw(rect, 10 + i));
    const TileMap before = owed;
    auto frame = ring->publish(*desk.picture, kAt.x, kAt.y, owed);
    CHECK(frame.has_value() == (held.size() < dxgi::SharedTextures::kSlots));
    if (frame) {
      if (i > 0) CHECK(frame->damage.count() == before.count());
      CHECK(read(*frame) == desk.expected());
      if (random() % 2 == 0) CHECK(read(*frame) == desk.expected());
      held.push_back(std::move(*frame));
      owed = TileMap(kWidth, kHeight);
    } else {
      CHECK(owed.count() == before.count());  // damage stays with the caller
    }
    // Also frames that nobody ever read.
    while (held.size() > random() % 4)
      held.erase(held.begin() + static_cast<int>(random() % held.size()));
  }
  held.clear();
  for (unsigned i = 0; i < 7; ++i) {  // dropped unread
    const auto frame = desk.publish(*ring, desk.draw({30, 20, 40, 30}, 200 + i));
    REQUIRE(frame);
    if (i == 6) CHECK(read(*frame) == desk.expected());
  }
  CHECK(!ring->lost());
  CHECK(desk.sharing->wrong_calls() == 0);
  CHECK(desk.sharing->held() == 0);
}

TEST_CASE("only what is out of date is copied") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  for (int i = 0; i < 3; ++i) {  // every slot has the whole picture once
    std::vector<Frame> held;
    for (std::size_t k = 0; k < dxgi::SharedTextures::kSlots; ++k)
      held.push_back(*desk.publish(*ring, TileMap(kWidth, kHeight)));
  }
  const auto before = desk.expected();
  // The desktop's texture becomes another one all over, of which one tile is named.
  TileMap one(kWidth, kHeight);
  one.set(1, 1);
  desk.draw(kDesktop, 99);
  const auto after = desk.expected();
  const auto frame = desk.publish(*ring, one);
  REQUIRE(frame);
  const auto pixels = read(*frame);
  bool right = true;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const auto at = static_cast<std::size_t>(y * kWidth + x);
      const bool named = x / kTile == 1 && y / kTile == 1;
      right = right && pixels[at] == (named ? after : before)[at];
    }
  }
  CHECK(right);
}

TEST_CASE("no free slot is a time to wait, and the capture never does") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  std::vector<Frame> held;
  for (std::size_t i = 0; i < dxgi::SharedTextures::kSlots; ++i)
    held.push_back(*desk.publish(*ring, all_tiles()));
  const int acquires = desk.sharing->calls(Call::kAcquire);
  CHECK(!desk.publish(*ring, all_tiles()));
  CHECK(desk.sharing->calls(Call::kAcquire) == acquires);
  CHECK(!ring->lost());
  held.pop_back();
  CHECK(desk.publish(*ring, all_tiles()));
  // The encoder's GPU still reads.
  desk.sharing->keep_reading(true);
  const std::int64_t began = now_ns();
  CHECK(!desk.publish(*ring, all_tiles()));
  CHECK(now_ns() - began < 100 * kNsPerMs);
  CHECK(!ring->lost());
  desk.sharing->keep_reading(false);
  CHECK(desk.publish(*ring, all_tiles()));
  // But not for ever.
  desk.sharing->keep_reading(true);
  const std::int64_t since = now_ns();
  while (!ring->lost() && now_ns() - since < kPatienceNs) {
    CHECK(!desk.publish(*ring, all_tiles()));
    Sleep(20);
  }
  CHECK(now_ns() - since >= 900 * kNsPerMs);
  CHECK(ring->why_lost().find("kept") != std::string::npos);
}

TEST_CASE("the second device is one for several threads, on the same adapter or none") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  const auto& encoder = ring->textures()->encoder();
  CHECK(encoder.device.get() != desk.device.get());
  const auto threads = encoder.device.as<ID3D10Multithread>();
  REQUIRE(threads);
  CHECK(threads->GetMultithreadProtected() == TRUE);
  desk.sharing->go_elsewhere();
  CHECK(!desk.ring());
  CHECK(desk.why.find("another adapter") != std::string::npos);
}

TEST_CASE("whatever fails while it is made is a reason, and nothing stays behind") {
  Desk desk(kAt);
  const int before = references(*desk.device);
  for (const Call call : {Call::kMakeDevice, Call::kAdapter, Call::kCreate, Call::kOpen}) {
    for (int after = 0; after < (call == Call::kCreate || call == Call::kOpen ? 3 : 1); ++after) {
      CAPTURE(static_cast<int>(call));
      CAPTURE(after);
      desk.why.clear();
      desk.sharing->mend();
      desk.sharing->fail(call, DXGI_ERROR_DEVICE_REMOVED, after);
      CHECK(!desk.ring());
      CHECK(desk.why.find(hex(DXGI_ERROR_DEVICE_REMOVED)) != std::string::npos);
      CHECK(references(*desk.device) == before);
    }
  }
  desk.sharing->mend();
  {
    auto ring = desk.ring();
    REQUIRE(ring);
    auto frame = desk.publish(*ring, all_tiles());
    CHECK(read(*frame) == desk.expected());
    ring.reset();  // a frame may live longer
    CHECK(read(*frame) == desk.expected());
  }
  CHECK(references(*desk.device) == before);
  const auto open_handles = [] {
    DWORD count = 0;
    GetProcessHandleCount(GetCurrentProcess(), &count);
    return static_cast<int>(count);
  };
  const int handles = open_handles();
  for (int i = 0; i < 10; ++i) CHECK(desk.ring());
  CHECK(open_handles() - handles < 10);  // of thirty
}

TEST_CASE("Windows' own sharing says so where it has none") {
  Desk desk(kAt);  // Wine has no keyed mutexes; on Windows this works, and then reads right
  const auto ring = TextureRing::make(dxgi::system_texture_sharing(), desk.device, desk.context,
                                      kWidth, kHeight, desk.why);
  if (ring) {
    const auto frame = desk.publish(*ring, all_tiles());
    REQUIRE(frame);
    CHECK(read(*frame) == desk.expected());
  } else {
    CHECK(desk.why.find("Windows answers 0x") != std::string::npos);
  }
}

// WAIT_ABANDONED and WAIT_TIMEOUT look like successes.
TEST_CASE("a ring is lost once and for all, whichever side finds out and whatever the answer") {
  for (const HRESULT code : {static_cast<HRESULT>(WAIT_ABANDONED), DXGI_ERROR_DEVICE_REMOVED,
                             DXGI_ERROR_DEVICE_RESET, E_FAIL}) {
    for (const Call call : {Call::kAcquire, Call::kRelease}) {
      for (const bool capture : {true, false}) {
        CAPTURE(code);
        CAPTURE(static_cast<int>(call));
        CAPTURE(capture);
        Desk desk(kAt);
        const auto ring = desk.ring();
        REQUIRE(ring);
        const auto frame = desk.publish(*ring, all_tiles());
        REQUIRE(frame);
        desk.sharing->fail(call, code);
        if (capture) {
          CHECK(!desk.publish(*ring, all_tiles()));
        } else {
          CHECK(read(*frame).empty());
        }
        CHECK(ring->lost());
        const std::string why = ring->why_lost();
        CHECK(why.find(hex(code)) != std::string::npos);
        CHECK(why.find(capture ? "the capture" : "the encoder's device") != std::string::npos);
        // Though all else would work again.
        desk.sharing->mend();
        const int acquires = desk.sharing->calls(Call::kAcquire);
        CHECK(!desk.publish(*ring, all_tiles()));
        CHECK(read(*frame).empty());
        CHECK(desk.sharing->calls(Call::kAcquire) == acquires);
        CHECK(ring->why_lost() == why);
      }
    }
  }
}

TEST_CASE("an encoder that does not get a texture in time loses the ring, and says so") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  const auto frame = desk.publish(*ring, all_tiles());
  REQUIRE(frame);
  const auto& slot = ring->textures()->slots[0];
  REQUIRE(slot.leased);
  // Somebody else has it.
  REQUIRE(desk.sharing->acquire(*slot.theirs, slot.key, 0) == S_OK);
  REQUIRE(desk.sharing->release(*slot.theirs, 77) == S_OK);
  const std::int64_t began = now_ns();
  CHECK(read(*frame).empty());
  CHECK(now_ns() - began >= 90 * kNsPerMs);
  CHECK(now_ns() - began < kNsPerSec);
  CHECK(ring->why_lost().find(hex(static_cast<HRESULT>(WAIT_TIMEOUT))) != std::string::npos);
}

TEST_CASE("a texture of the encoder's own gets the picture, its last column and row repeated") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  const auto frame = desk.publish(*ring, all_tiles());
  REQUIRE(frame);
  const auto* picture = dynamic_cast<const SharedPicture*>(frame->on_gpu());
  REQUIRE(picture != nullptr);
  constexpr int kCodedWidth = kWidth + 1;
  constexpr int kCodedHeight = kHeight + 1;
  D3D11_TEXTURE2D_DESC facts{};
  facts.Width = kCodedWidth;
  facts.Height = kCodedHeight;
  facts.MipLevels = 1;
  facts.ArraySize = 3;  // as a pool of FFmpeg's may be
  facts.Format = DXGI_FORMAT_B8G8R8A8_UNORM;
  facts.SampleDesc.Count = 1;
  facts.BindFlags = D3D11_BIND_RENDER_TARGET;
  ComPtr<ID3D11Texture2D> own;
  REQUIRE(ring->textures()->encoder().device->CreateTexture2D(&facts, nullptr, own.put()) == S_OK);
  REQUIRE(picture->copy_to(*own, 2, kCodedWidth, kCodedHeight));
  CHECK(pixels_of(*own, 2) == desk.expected(kCodedWidth, kCodedHeight));
  desk.sharing->fail(Call::kAcquire, DXGI_ERROR_DEVICE_REMOVED);
  CHECK(!picture->copy_to(*own, 0, kCodedWidth, kCodedHeight));
  CHECK(ring->lost());
}

// The fake itself: a test that it lets pass proves something.
TEST_CASE("fake sharing: without the mutex there is garbage, and a wrong key waits") {
  Desk desk(kAt);
  const auto ring = desk.ring();
  REQUIRE(ring);
  auto frame = desk.publish(*ring, all_tiles());
  REQUIRE(frame);
  const auto& slot = ring->textures()->slots[0];
  CHECK(pixels_of(*slot.theirs) != desk.expected());
  const std::int64_t began = now_ns();
  CHECK(desk.sharing->acquire(*slot.theirs, 5, 30) == static_cast<HRESULT>(WAIT_TIMEOUT));
  CHECK(now_ns() - began >= 30 * kNsPerMs);
  CHECK(desk.sharing->release(*slot.theirs, 0) == DXGI_ERROR_INVALID_CALL);
  CHECK(desk.sharing->wrong_calls() == 1);
  REQUIRE(desk.sharing->acquire(*slot.theirs, slot.key, 0) == S_OK);
  CHECK(pixels_of(*slot.theirs) == desk.expected());
  CHECK(desk.sharing->held() == 1);
  frame.reset();
  CHECK(desk.publish(*ring, all_tiles()));  // another slot
  CHECK(!ring->lost());
  CHECK(desk.sharing->release(*slot.theirs, 0) == S_OK);
  CHECK(pixels_of(*slot.theirs) != desk.expected());
}

}  // namespace kvm
