// A duplicated desktop whose pictures stay on the GPU, and its ways back into memory.
#include <random>

#include "dxgi_support.hpp"
#include "fake_sharing.hpp"

namespace kvm {
namespace {

using namespace test;
using Call = FakeSharing::Call;

struct GpuStage {
  explicit GpuStage(const Mode& mode = {}, CursorMode cursor = CursorMode::kHidden,
                    std::optional<Rect> region = {}, Start start = Start::kPicture)
      : stage(mode, cursor, start, region, sharing) {}
  // Another piece of the desktop.
  void draw() {
    ++seed;
    const int at = static_cast<int>(seed % 10) * 9;
    stage.compose({Fill{{at, at, 70, 50}, seed}});
  }
  std::shared_ptr<FakeSharing> sharing = std::make_shared<FakeSharing>();
  Stage stage;
  unsigned seed = 50;
};

constexpr const char* kSaid = "pictures take the way through memory";

}  // namespace

TEST_CASE(
    "pictures are textures, exact, with moves and regions, and only reported parts are read") {
  for (const std::optional<Rect>& region : {std::optional<Rect>(), {{33, 21, 101, 75}}}) {
    for (const CursorMode cursor : {CursorMode::kHidden, CursorMode::kMetadata}) {
      GpuStage gpu({}, cursor, region);
      Stage& stage = gpu.stage;
      stage.begin();
      CHECK(stage.source.textures() != nullptr);
      stage.output.spoil_unreported(true);
      std::mt19937 random(11);
      for (unsigned i = 0; i < 40; ++i) {
        const auto to = [&](int most) {
          return static_cast<int>(random() % static_cast<unsigned>(most));
        };
        const int wide = 1 + to(90);
        const int high = 1 + to(60);
        const Rect rect{to(256 - wide), to(160 - high), wide, high};
        if (i % 3 == 0) {
          stage.compose(
              {Move{rect, to(256 - wide), to(160 - high)}, Fill{{to(200), to(120), 20, 9}, i}});
        } else {
          stage.compose({Fill{rect, 300 + i}});
        }
        CHECK(stage.settles());
      }
      CHECK(stage.viewer.on_gpu == stage.viewer.frames);
      CHECK(stage.viewer.on_gpu >= 20);
      CHECK(stage.viewer.undamaged_changes == 0);
      CHECK(gpu.sharing->wrong_calls() == 0);
      CHECK(gpu.sharing->held() == 0);
      CHECK(stage.said(kSaid) == 0);
      stage.source.close();
      CHECK(stage.desktop->live() == 0);
      CHECK(stage.desktop->device_references() == 0);
    }
  }
}

TEST_CASE("where a surface cannot be copied as it is, nothing is shared") {
  const Rect tall{0, 0, 160, 256};
  for (const auto& [mode, cursor] :
       {std::pair<Mode, CursorMode>{Mode{}, CursorMode::kEmbedded},
        {Mode{tall, DXGI_MODE_ROTATION_ROTATE90}, CursorMode::kHidden},
        {Mode{{0, 0, 256, 160}, DXGI_MODE_ROTATION_ROTATE180}, CursorMode::kHidden},
        {Mode{{0, 0, 256, 160}, DXGI_MODE_ROTATION_IDENTITY, true}, CursorMode::kHidden}}) {
    GpuStage gpu(mode, cursor);
    gpu.stage.viewer.open();
    CHECK(gpu.stage.settles(mode.hdr ? 2 : 0));
    CHECK(gpu.stage.source.textures() == nullptr);
    CHECK(gpu.stage.viewer.on_gpu == 0);
    CHECK(gpu.sharing->calls(Call::kMakeDevice) == 0);
    CHECK(gpu.stage.said(kSaid) == 0);
  }
}

TEST_CASE("what fails at open is told once, and pictures come in memory") {
  for (const Call call : {Call::kMakeDevice, Call::kAdapter, Call::kCreate, Call::kOpen}) {
    CAPTURE(static_cast<int>(call));
    GpuStage gpu;
    gpu.sharing->fail(call, E_NOTIMPL);
    gpu.stage.begin();
    CHECK(gpu.stage.source.textures() == nullptr);
    gpu.draw();
    CHECK(gpu.stage.settles());
    CHECK(gpu.stage.viewer.frames > 0);
    CHECK(gpu.stage.viewer.on_gpu == 0);
    CHECK(gpu.stage.said(kSaid) == 1);
    CHECK(gpu.stage.said(hex(E_NOTIMPL)) == 1);
  }
}

TEST_CASE("a ring that is lost in a stream: all of the picture from memory, told once") {
  for (const Call call : {Call::kAcquire, Call::kRelease}) {
    for (const HRESULT code : {static_cast<HRESULT>(WAIT_ABANDONED), DXGI_ERROR_DEVICE_REMOVED}) {
      for (int after = 0; after < 4; ++after) {  // on either side
        CAPTURE(static_cast<int>(call));
        CAPTURE(after);
        GpuStage gpu;
        Stage& stage = gpu.stage;
        stage.begin();
        for (int i = 0; i < 5; ++i) {
          gpu.draw();
          REQUIRE(stage.settles());
        }
        CHECK(stage.viewer.on_gpu == stage.viewer.frames);
        gpu.sharing->fail(call, code, after);
        for (int i = 0; i < 4; ++i) {
          gpu.draw();
          CHECK(stage.settles());  // also a still one: without another change
        }
        const int on_gpu = stage.viewer.on_gpu;
        gpu.sharing->mend();
        for (int i = 0; i < 3; ++i) {
          gpu.draw();
          stage.compose({Move{{100, 20, 60, 60}, 10, 30}});
          CHECK(stage.settles());
        }
        CHECK(stage.viewer.on_gpu == on_gpu);
        CHECK(stage.source.textures() == nullptr);
        CHECK(stage.viewer.undamaged_changes == 0);
        CHECK(stage.said(kSaid) == 1);
        // When it is opened again there is another chance.
        stage.viewer.open();
        CHECK(stage.settles());
        CHECK(stage.viewer.on_gpu > on_gpu);
      }
    }
  }
}

TEST_CASE("textures that nobody can use: the next picture is a whole one, from memory") {
  GpuStage gpu;
  Stage& stage = gpu.stage;
  stage.begin();
  for (int row = 0; row < 15; ++row) {  // 300 rectangles, which is more than are kept
    for (int col = 0; col < 20; ++col)
      stage.compose({Fill{{col * 12, row * 10, 6, 6}, ++gpu.seed}});
    REQUIRE(stage.settles());
  }
  const auto device = stage.source.textures();
  REQUIRE(device);
  const GpuDevice another;
  stage.source.refuse_textures(another);
  gpu.draw();
  REQUIRE(stage.settles());
  CHECK(stage.source.textures() == device);
  stage.viewer.forget();
  stage.source.refuse_textures(*device);
  stage.viewer.look_until_still();
  CHECK(stage.viewer.frames == 1);
  CHECK(stage.viewer.on_gpu == 0);
  CHECK(stage.viewer.damage.count() == 16 * 10);
  CHECK(difference(stage.viewer.pixels(), stage.expected()) == 0);
  gpu.draw();
  CHECK(stage.settles());
  CHECK(stage.source.textures() == nullptr);
  CHECK(stage.said(kSaid) == 0);  // whoever refused them says why
}

TEST_CASE("a duplication that is lost and comes back on the same device goes on with textures") {
  for (const Start start : {Start::kPicture, Start::kIdlePicture, Start::kBlack}) {
    GpuStage gpu;
    Stage& stage = gpu.stage;
    stage.begin();
    gpu.draw();
    REQUIRE(stage.settles());
    stage.output.start_with(start);
    stage.viewer.forget();
    stage.output.lose(DXGI_ERROR_ACCESS_LOST);
    stage.viewer.look_until_still();
    gpu.draw();
    CHECK(stage.settles());
    CHECK(stage.viewer.frames > 0);
    CHECK(stage.viewer.on_gpu == stage.viewer.frames);
    CHECK(stage.viewer.undamaged_changes == 0);
    CHECK(stage.said(kSaid) == 0);
  }
}

TEST_CASE("damage that a secure desktop interrupts is shown within two seconds, from memory") {
  GpuStage gpu({}, CursorMode::kMetadata);  // fetched with every frame, for the pointer's sake
  Stage& stage = gpu.stage;
  stage.begin();
  gpu.draw();
  static_cast<void>(stage.source.wait(INT64_MAX, now_ns() + 100 * kNsPerMs));
  stage.output.refuse(E_ACCESSDENIED, INT_MAX);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  static_cast<void>(stage.source.wait(INT64_MAX, now_ns() + 100 * kNsPerMs));
  stage.viewer.forget();
  const std::int64_t deadline = now_ns() + 2 * kNsPerSec;
  while (stage.viewer.frames == 0 && now_ns() < deadline) stage.viewer.look(20 * kNsPerMs);
  CHECK(difference(stage.viewer.pixels(), stage.expected()) == 0);
  CHECK(stage.viewer.on_gpu == 0);
  CHECK(stage.viewer.undamaged_changes == 0);
  stage.output.refuse(S_OK, 0);
  gpu.draw();
  CHECK(stage.settles());
}

TEST_CASE("what a new duplication begins with, black and never presented, is not copied") {
  GpuStage gpu({}, CursorMode::kMetadata);
  Stage& stage = gpu.stage;
  stage.begin();
  gpu.draw();
  static_cast<void>(stage.source.wait(INT64_MAX, now_ns() + 100 * kNsPerMs));  // still to be shown
  stage.output.start_with(Start::kBlack);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  static_cast<void>(stage.source.wait(INT64_MAX, now_ns() + 200 * kNsPerMs));
  stage.viewer.forget();
  const std::int64_t until = now_ns() + 300 * kNsPerMs;
  while (now_ns() < until) stage.viewer.look(20 * kNsPerMs);
  CHECK((stage.viewer.frames == 0 || difference(stage.viewer.pixels(), stage.expected()) == 0));
  gpu.draw();
  CHECK(stage.settles());
  CHECK(stage.viewer.undamaged_changes == 0);
}

TEST_CASE("another device shows the desktop: from memory, whole") {
  GpuStage gpu;
  Stage& stage = gpu.stage;
  stage.begin();
  for (int i = 0; i < 5; ++i) {
    gpu.draw();
    REQUIRE(stage.settles());
  }
  stage.desktop->remove_device();
  gpu.draw();
  CHECK(stage.settles());
  CHECK(stage.source.textures() == nullptr);
  CHECK(stage.viewer.undamaged_changes == 0);
  CHECK(stage.said(kSaid) == 1);
}

TEST_CASE(
    "every slot in use is a time to wait, and all that changed since comes with the next one") {
  GpuStage gpu;
  Stage& stage = gpu.stage;
  stage.begin();
  std::vector<Frame> held;
  while (held.size() < dxgi::SharedTextures::kSlots) {
    gpu.draw();
    SourceEvent event = stage.source.wait(0, now_ns() + kPatienceNs);
    if (auto* frame = std::get_if<Frame>(&event)) {
      stage.viewer.take(*frame);
      held.push_back(std::move(*frame));
    }
  }
  const std::int64_t began = now_ns();
  for (int i = 0; i < 3; ++i) {
    gpu.draw();
    CHECK(!stage.viewer.look(50 * kNsPerMs));
  }
  CHECK(now_ns() - began < kNsPerSec);
  held.clear();
  CHECK(stage.settles());
  CHECK(stage.viewer.undamaged_changes == 0);
  CHECK(stage.viewer.on_gpu == stage.viewer.frames);
}

}  // namespace kvm
