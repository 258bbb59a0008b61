// DXGI capture: nothing is copied before a picture is wanted, and what gathers until then is right.
#include <atomic>
#include <thread>
#include <vector>

#include "dxgi_support.hpp"

namespace kvm {
namespace {

using namespace test;

}  // namespace

TEST_CASE("no picture comes before its time") {
  Stage stage;
  stage.begin();
  stage.compose({Fill{{0, 0, 64, 64}, 2}});
  const std::int64_t not_before = now_ns() + 120 * kNsPerMs;
  const SourceEvent event = stage.source.wait(not_before, now_ns() + kPatienceNs);
  CHECK(std::holds_alternative<Frame>(event));
  CHECK(now_ns() >= not_before - kNsPerMs);
}

TEST_CASE("what changes before a picture is wanted is taken in one frame, or by the pointer's") {
  for (const CursorMode mode :
       {CursorMode::kHidden, CursorMode::kEmbedded, CursorMode::kMetadata}) {
    CAPTURE(static_cast<int>(mode));
    Stage stage({}, mode);
    stage.set_shape(colour_pointer(8, 8, {0, 0}, 3));
    stage.begin();
    std::atomic<bool> ends{false};
    std::thread changes([&] {
      for (unsigned i = 0; !ends; ++i) {
        const int at = static_cast<int>(i % 40) * 4;
        stage.compose({Move{{60, 40, 100, 80}, 50, 37}, Fill{{at, 20, 30, 90}, 300 + i},
                       Move{{at, 100, 40, 40}, 160 - at, 20}});
        stage.move_pointer(at, 90);
        Sleep(5);
      }
    });
    for (int i = 0; i < 3; ++i) {
      stage.output.forget_timing();
      const std::int64_t not_before = now_ns() + 200 * kNsPerMs;
      SourceEvent event = Timeout{};
      while (!std::holds_alternative<Frame>(event) && now_ns() < not_before + kPatienceNs) {
        event = stage.source.wait(not_before, now_ns() + kPatienceNs);
        if (std::holds_alternative<Frame>(event)) CHECK(now_ns() >= not_before);
      }
      const int frames = stage.output.timing().frames;
      if (mode == CursorMode::kMetadata) {
        CHECK(frames >= 5);
      } else {
        CHECK(frames >= 1);
        CHECK(frames <= 3);
      }
      stage.viewer.take(std::get<Frame>(event));
    }
    ends = true;
    changes.join();
    CHECK(stage.settles());
    CHECK(stage.viewer.undamaged_changes == 0);
    CHECK(stage.output.timing().wrong_calls == 0);
  }
}

TEST_CASE("a picture keeps what is new in the reader until it is caught up with, moves and all") {
  auto desktop = std::make_shared<FakeDesktop>();
  FakeOutput& output = desktop->add("A", {});
  ModelDesktop model(256, 160, 1);
  dxgi::Duplicated held;
  REQUIRE(desktop->duplicate("A", held) == S_OK);
  dxgi::SurfaceReader reader(held);
  dxgi::DesktopPicture picture({0, 0, 256, 160});
  TileMap damage(256, 160);
  const auto apply = [&](std::vector<Update> updates) {
    for (const Update& update : updates) model.apply(update);
    if (!updates.empty()) output.compose(updates);
    DXGI_OUTDUPL_FRAME_INFO info{};
    ComPtr<IDXGIResource> resource;
    REQUIRE(held.duplication->AcquireNextFrame(1000, &info, resource.put()) == S_OK);
    const auto surface = resource.as<ID3D11Texture2D>();
    const bool applied =
        updates.empty() ? picture.replace(surface.get(), reader, damage)
                        : picture.apply(info, *held.duplication, surface.get(), reader, damage);
    REQUIRE(applied);
    REQUIRE(held.duplication->ReleaseFrame() == S_OK);
  };
  const auto shows = [&](const ModelDesktop& wanted) {
    const auto pixels = wanted.picture(false);
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      const std::uint8_t* p = picture.planes().data[0] + i * 4;
      if ((p[0] | std::uint32_t{p[1]} << 8 | std::uint32_t{p[2]} << 16) != pixels[i]) return false;
    }
    return true;
  };
  apply({});
  CHECK(shows(model));
  for (int round = 0; round < 3; ++round) {
    const ModelDesktop before = model;
    const auto seed = static_cast<unsigned>(round * 10);
    apply({Fill{{10, 10, 60, 50}, seed + 2}});
    apply({Fill{{20, 20, 10, 10}, seed + 3}});
    apply({Move{{100, 60, 60, 50}, 15, 15}, Fill{{12, 12, 30, 30}, seed + 4}});
    apply({Move{{90, 50, 60, 50}, 100, 60}});
    CHECK(shows(before));
    REQUIRE(picture.catch_up(reader));
    CHECK(shows(model));
  }
  // Nobody wants it for long: what waits stays bounded, and right.
  for (int i = 0; i < 700; ++i)
    apply({Fill{{i * 13 % 250, i * 7 % 155, 3, 2}, static_cast<unsigned>(50 + i)}});
  REQUIRE(picture.catch_up(reader));
  CHECK(shows(model));
  CHECK(picture.catch_up(reader));
}

}  // namespace kvm
