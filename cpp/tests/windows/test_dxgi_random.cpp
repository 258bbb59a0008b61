// DXGI capture against the model through a long random sequence of what a desktop can do.
#include "random_desktop.hpp"

namespace kvm {
namespace {

using namespace test;

void play(unsigned seed, int steps, CursorMode cursor, DXGI_MODE_ROTATION rotation) {
  Stage stage({{0, 0, kMostWidth, kMostHeight}, rotation}, cursor);
  Play play(stage, seed);
  stage.viewer.open();
  REQUIRE(stage.settles());
  for (int done = 0; done < steps;) {
    for (int burst = 1 + play.roll(6); burst > 0 && done < steps; --burst, ++done) {
      play.step();
      // Sometimes it looks in the middle of it.
      if (play.roll(4) == 0) stage.viewer.look(0);
    }
    CAPTURE(seed);
    CAPTURE(done);
    for (const auto& loss : stage.viewer.losses) MESSAGE(loss.reason);
    REQUIRE(stage.settles());
    REQUIRE(stage.viewer.undamaged_changes == 0);
  }
  CHECK(stage.output.timing().wrong_calls == 0);
  stage.source.close();
  CHECK(stage.desktop->live() == 0);
  CHECK(stage.desktop->device_references() == 0);
}

}  // namespace

TEST_CASE("10,000 random steps end with the model's picture, whenever the source has caught up") {
  const unsigned seed = setting("KVM_TEST_SEED", 20260806);
  const auto steps = static_cast<int>(setting("KVM_TEST_STEPS", 10'000));
  play(seed, steps * 6 / 10, CursorMode::kEmbedded, DXGI_MODE_ROTATION_IDENTITY);
  play(seed + 1, steps * 2 / 10, CursorMode::kEmbedded, DXGI_MODE_ROTATION_ROTATE90);
  play(seed + 2, steps * 2 / 10, CursorMode::kMetadata, DXGI_MODE_ROTATION_ROTATE270);
}

}  // namespace kvm
