// DXGI capture: that the picture is right, and that no more is touched than what changed.
#include <atomic>
#include <cmath>
#include <thread>

#include "base/error.hpp"
#include "dxgi_support.hpp"

namespace kvm {
namespace {

using namespace test;

constexpr Rect kScreen{0, 0, 256, 160};

constexpr DXGI_MODE_ROTATION kRotations[] = {
    DXGI_MODE_ROTATION_IDENTITY, DXGI_MODE_ROTATION_ROTATE90, DXGI_MODE_ROTATION_ROTATE180,
    DXGI_MODE_ROTATION_ROTATE270};

}  // namespace

TEST_CASE("BGRA8 pixels are captured exactly, at odd sizes too") {
  for (const Rect& bounds : {kScreen, Rect{0, 0, 233, 117}, Rect{0, 0, 17, 15}, Rect{0, 0, 1, 1}}) {
    CAPTURE(bounds.width);
    Stage stage({bounds});
    stage.begin();
    CHECK(stage.source.width() == bounds.width);
    CHECK(stage.source.height() == bounds.height);
    CHECK(stage.viewer.pixels() == stage.expected());
    stage.compose({Fill{{0, 0, bounds.width, bounds.height}, 2}});
    CHECK(stage.settles());
    CHECK(stage.viewer.undamaged_changes == 0);
  }
}

// SDR content on an HDR desktop must look as it does without HDR. An FP16 value is right to 2^-11
// of itself, at most 0.13 of an 8-bit step where sRGB is steepest against its value (at white), so
// that rounding alone may be off by one; one more is left to tables and approximations of the
// curve.
TEST_CASE("FP16 of an HDR desktop is tone mapped: SDR content comes back to within 2 of 255") {
  for (const float white : {80.0F, 200.0F, 480.0F}) {
    CAPTURE(white);
    Stage stage({kScreen, DXGI_MODE_ROTATION_IDENTITY, true, white});
    stage.viewer.open();
    CHECK(stage.settles(2));
    stage.compose({Fill{{3, 5, 200, 100}, 7}, Move{{90, 30, 60, 60}, 8, 9}});
    CHECK(stage.settles(2));
    CHECK(stage.viewer.undamaged_changes == 0);
  }
}

TEST_CASE("what is brighter than SDR white stays bright, in order, and without a false colour") {
  Stage stage({kScreen, DXGI_MODE_ROTATION_IDENTITY, true, 200.0F});
  stage.begin();
  // A row each of grey, in eighths of SDR white.
  const std::vector<unsigned> levels{4, 7, 8, 12, 24, 80, 255};
  for (std::size_t i = 0; i < levels.size(); ++i)
    stage.output.light({0, static_cast<int>(i) * 16, 256, 16}, levels[i]);
  REQUIRE(stage.viewer.look(kPatienceNs));
  stage.viewer.look_until_still();
  unsigned before = 0;
  for (std::size_t i = 0; i < levels.size(); ++i) {
    CAPTURE(levels[i]);
    const std::uint32_t pixel = stage.viewer.pixels()[(i * 16 + 8) * 256 + 100];
    const unsigned blue = pixel & 0xff;
    CHECK((pixel >> 8 & 0xff) == blue);
    CHECK((pixel >> 16 & 0xff) == blue);
    CHECK(blue >= before);
    if (levels[i] >= 8) CHECK(blue >= 200);
    before = blue;
  }
}

TEST_CASE("move rects are applied before dirty rects") {
  Stage stage;
  stage.begin();
  // The move's source is overwritten in the same frame: what was there before has to go along.
  stage.compose({Move{{120, 40, 64, 48}, 16, 16}, Fill{{16, 16, 64, 48}, 3}});
  CHECK(stage.settles());
  // And a part of what arrived is drawn over.
  stage.compose({Move{{0, 100, 80, 40}, 150, 60}, Fill{{20, 110, 30, 20}, 4}});
  CHECK(stage.settles());
  CHECK(stage.viewer.undamaged_changes == 0);
}

TEST_CASE("a move onto itself is right in all directions") {
  for (const auto& [dx, dy] : {std::pair{0, 1},
                               {0, -1},
                               {1, 0},
                               {-1, 0},
                               {7, 5},
                               {-7, 5},
                               {5, -9},
                               {-3, -3},
                               {0, 17},
                               {33, 0}}) {
    CAPTURE(dx);
    CAPTURE(dy);
    Stage stage;
    stage.begin();
    stage.compose({Move{{50 + dx, 40 + dy, 100, 80}, 50, 40}});
    CHECK(stage.settles());
    CHECK(stage.viewer.undamaged_changes == 0);
  }
}

TEST_CASE("moves of one frame are a chain: each starts from what the last one left") {
  Stage stage;
  stage.begin();
  stage.compose({Move{{100, 10, 50, 50}, 10, 10}, Move{{180, 60, 50, 50}, 100, 10},
                 Move{{110, 20, 50, 50}, 100, 10}, Move{{10, 10, 20, 20}, 190, 70}});
  CHECK(stage.settles());
  CHECK(stage.viewer.undamaged_changes == 0);
}

TEST_CASE("many updates between two acquired frames are all seen") {
  Stage stage;
  stage.begin();
  for (unsigned i = 0; i < 60; ++i) {
    const int at = static_cast<int>(i * 3);
    stage.compose({Fill{{at, static_cast<int>(i), 11, 7}, 20 + i},
                   Move{{200 - at, 90, 30, 30}, at, static_cast<int>(i)}});
  }
  CHECK(stage.settles());
  CHECK(stage.viewer.undamaged_changes == 0);
}

TEST_CASE("damage is what changed, to whole tiles") {
  Stage stage;
  stage.begin();
  stage.compose({Fill{{35, 35, 10, 10}, 2}});
  REQUIRE(stage.settles());
  CHECK(damaged_only(stage.viewer.damage, {{35, 35, 10, 10}}));
  stage.viewer.forget();
  stage.compose({Move{{160, 96, 32, 16}, 16, 16}, Fill{{250, 150, 6, 10}, 3}});
  REQUIRE(stage.settles());
  CHECK(damaged_only(stage.viewer.damage, {{160, 96, 32, 16}, {250, 150, 6, 10}}));
}

TEST_CASE("only dirty regions are copied: what is not reported is not read") {
  for (const DXGI_MODE_ROTATION rotation : kRotations) {
    CAPTURE(rotation);
    for (const bool hdr : {false, true}) {
      Stage stage({{0, 0, 250, 150}, rotation, hdr});
      stage.viewer.open();
      REQUIRE(stage.settles(2));
      stage.output.spoil_unreported(true);
      for (unsigned i = 0; i < 8; ++i) {
        const int at = static_cast<int>(i) * 20;
        stage.compose({Fill{{at, 30, 25, 9}, 40 + i}, Move{{200 - at, 100, 40, 33}, at, 25}});
        CHECK(stage.settles(2));
      }
      CHECK(stage.viewer.undamaged_changes == 0);
    }
  }
}

TEST_CASE("rotation 0, 90, 180, 270: the picture is upright, and so is its damage") {
  for (const DXGI_MODE_ROTATION rotation : kRotations) {
    for (const bool hdr : {false, true}) {
      CAPTURE(rotation);
      CAPTURE(hdr);
      Stage stage({{0, 0, 150, 250}, rotation, hdr, 160.0F});
      stage.viewer.open();
      CHECK(stage.source.width() == 150);
      CHECK(stage.source.height() == 250);
      REQUIRE(stage.settles(2));
      stage.viewer.look_until_still();
      stage.viewer.forget();
      stage.compose({Fill{{3, 200, 20, 9}, 2}, Move{{100, 64, 33, 17}, 50, 20}});
      REQUIRE(stage.settles(2));
      CHECK(damaged_only(stage.viewer.damage, {{3, 200, 20, 9}, {100, 64, 33, 17}}));
      CHECK(stage.viewer.undamaged_changes == 0);
    }
  }
}

TEST_CASE("a desktop image in system memory is the same picture") {
  for (const DXGI_MODE_ROTATION rotation : kRotations) {
    Stage stage({{0, 0, 201, 99}, rotation});
    stage.output.in_system_memory(true);
    stage.begin();
    stage.compose({Fill{{0, 0, 100, 40}, 2}, Move{{90, 50, 60, 40}, 20, 20}});
    CHECK(stage.settles());
    stage.compose({Fill{{199, 97, 2, 2}, 3}});
    CHECK(stage.settles());
    CHECK(stage.viewer.undamaged_changes == 0);
    CHECK(stage.output.timing().wrong_calls == 0);
  }
}

TEST_CASE("the first frames of a duplication, black and not new, are skipped") {
  Stage stage({}, CursorMode::kHidden, Start::kBlack);
  stage.viewer.open();
  // Windows presents soon after; until then nothing black may come out. A picture that is not
  // black would be taken for that of an idle desktop by then.
  const std::int64_t until = now_ns() + 600 * kNsPerMs;
  while (now_ns() < until) stage.viewer.look(5 * kNsPerMs);
  CHECK(stage.viewer.frames == 0);
  stage.compose({Fill{{0, 0, 16, 16}, 2}});
  CHECK(stage.settles());
  CHECK(stage.viewer.frames == 1);
}

TEST_CASE("an idle desktop gives a first picture all the same") {
  Stage stage({}, CursorMode::kHidden, Start::kIdlePicture);
  stage.viewer.open();
  const std::int64_t before = now_ns();
  CHECK(stage.settles());
  CHECK(now_ns() - before < 2 * kNsPerSec);
  CHECK(stage.viewer.frames == 1);
}

TEST_CASE("an idle desktop whose pointer keeps moving gives a first picture, too") {
  for (const CursorMode mode : {CursorMode::kHidden, CursorMode::kMetadata}) {
    Stage stage({}, mode, Start::kIdlePicture);
    stage.set_shape(colour_pointer(8, 8, {0, 0}, 3));
    std::atomic<bool> ends{false};
    std::thread moves([&] {
      for (int i = 0; !ends; ++i) {
        stage.output.move_pointer(i % 200, 20, true);
        Sleep(2);
      }
    });
    stage.viewer.open();
    const std::int64_t before = now_ns();
    while (stage.viewer.frames == 0 && now_ns() - before < 3 * kNsPerSec)
      stage.viewer.look(100 * kNsPerMs);
    const std::int64_t took = now_ns() - before;
    ends = true;
    moves.join();
    CHECK(stage.viewer.frames == 1);
    CHECK(took < kNsPerSec);
    CHECK(stage.viewer.pixels() == stage.model.picture(false));
  }
}

TEST_CASE("a still desktop gives no frame") {
  Stage stage;
  stage.begin();
  CHECK(!stage.viewer.look(200 * kNsPerMs));
  CHECK(stage.viewer.frames == 0);
}

TEST_CASE("a picture says when it changed and when it was taken") {
  Stage stage;
  stage.begin();
  const std::int64_t before = now_ns();
  stage.compose({Fill{{0, 0, 64, 64}, 2}});
  const SourceEvent event = stage.source.wait(0, now_ns() + kPatienceNs);
  REQUIRE(std::holds_alternative<Frame>(event));
  const FrameTimes& times = std::get<Frame>(event).times;
  CHECK(times.damaged >= before - 2 * kNsPerMs);
  CHECK(times.captured >= times.damaged);
  CHECK(times.captured <= now_ns());
}

TEST_CASE("a region shows its part alone, and damage elsewhere is none of its own") {
  for (const DXGI_MODE_ROTATION rotation : kRotations) {
    CAPTURE(rotation);
    Stage stage({kScreen, rotation}, CursorMode::kHidden, Start::kPicture, Rect{33, 21, 101, 67});
    stage.begin();
    CHECK(stage.source.width() == 101);
    CHECK(stage.source.height() == 67);
    stage.compose({Fill{{0, 0, 33, 160}, 2}, Fill{{200, 100, 20, 20}, 3}});
    CHECK(stage.settles());
    stage.viewer.look_until_still(40 * kNsPerMs);
    CHECK(stage.viewer.frames == 0);
    // From outside to inside, and over the border.
    stage.compose({Move{{50, 40, 40, 30}, 0, 0}, Fill{{120, 80, 60, 60}, 4}});
    CHECK(stage.settles());
    CHECK(stage.viewer.undamaged_changes == 0);
  }
}

TEST_CASE("a frame that a consumer keeps is not written") {
  Stage stage;
  stage.begin();
  stage.compose({Fill{{0, 0, 256, 160}, 2}});
  SourceEvent event = stage.source.wait(0, now_ns() + kPatienceNs);
  REQUIRE(std::holds_alternative<Frame>(event));
  const Frame kept = std::move(std::get<Frame>(event));
  const auto bytes = [&] {
    return std::vector<std::uint8_t>(kept.planes().data[0],
                                     kept.planes().data[0] + kept.planes().stride[0] * 160);
  };
  const auto before = bytes();
  for (unsigned i = 0; i < 6; ++i) {
    stage.compose({Fill{{0, 0, 256, 160}, 10 + i}});
    stage.viewer.look(100 * kNsPerMs);
  }
  CHECK(bytes() == before);
}

TEST_CASE("damage waits while consumers hold every buffer, and none is lost") {
  Stage stage;
  stage.begin();
  std::vector<SourceEvent> held;
  for (unsigned i = 0; i < 5; ++i) {
    stage.compose({Fill{{static_cast<int>(i) * 40, 20, 20, 20}, 10 + i}});
    held.push_back(stage.source.wait(0, now_ns() + 60 * kNsPerMs));
  }
  CHECK(std::holds_alternative<Timeout>(held.back()));
  held.clear();
  // The viewer has not seen those frames: all must come with the next one that it gets, or it has
  // been told of them already.
  stage.compose({Fill{{0, 0, 256, 160}, 30}});
  CHECK(stage.settles());
}

}  // namespace kvm
