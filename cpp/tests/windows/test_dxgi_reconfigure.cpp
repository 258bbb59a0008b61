// Another monitor or region while Desktop Duplication runs: an output can be duplicated once, so
// the old source has to let go of it first, and to come back when the new one fails.
#include <climits>

#include "base/error.hpp"
#include "dxgi_support.hpp"
#include "fake_encoder.hpp"
#include "pipeline/pipeline.hpp"
#include "scripted_source.hpp"

namespace kvm {
namespace {

using namespace test;

// A stream of a fake desktop with two monitors, and what GDI is asked for.
struct Streaming {
  Streaming() {
    StreamConfig config;
    config.display = "A";
    config.cursor = CursorMode::kHidden;
    config.fps = 200;
    const auto make = [this](const StreamConfig&) {
      return std::make_unique<FallbackSource>(
          std::make_unique<dxgi::DxgiSource>(log, std::make_unique<FakeDuplicator>(desktop)),
          std::make_unique<Scripted>(gdi), log);
    };
    pipeline = std::make_unique<Pipeline>(
        config, make, Ladder({fake_candidate("fake", std::make_shared<FakeControl>())}, log), log);
    subscription = pipeline->subscribe(64);
    pipeline->start();
    REQUIRE(take()->width == 256);
  }

  PacketPtr take() {
    PacketPtr packet = subscription->next(kPatienceNs);
    REQUIRE(packet);
    return packet;
  }
  // The first packet of that size.
  PacketPtr take_wide(int width) {
    PacketPtr packet = take();
    while (packet->width != width) packet = take();
    return packet;
  }
  void show_something() {
    const Update update = Fill{{0, 0, 64, 64}, ++seed};
    output.compose({&update, 1});
  }
  void update_region(const Rect& region) {
    PipelineUpdate update;
    update.region = region;
    pipeline->update(update);
  }
  [[nodiscard]] bool on_dxgi() const {
    return gdi.opens == 0 && pipeline->stats().capture == "dxgi (Desktop Duplication)";
  }

  std::shared_ptr<FakeDesktop> desktop = std::make_shared<FakeDesktop>();
  FakeOutput& output = desktop->add("A", {}, 1);
  FakeOutput& other = desktop->add("B", {{256, 0, 200, 120}}, 2);
  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  Script gdi{"gdi", 320, 200};
  unsigned seed = 100;
  std::unique_ptr<Pipeline> pipeline;
  std::shared_ptr<Subscription> subscription;
};

}  // namespace

TEST_CASE("another region or monitor keeps Desktop Duplication") {
  Streaming stream;
  CHECK(stream.on_dxgi());
  for (const Rect& region : {Rect{10, 20, 100, 80}, Rect{0, 0, 64, 64}}) {
    stream.update_region(region);
    CHECK(stream.on_dxgi());
    CHECK(stream.take_wide(region.width)->keyframe);
  }
  PipelineUpdate update;
  update.display = "B";
  update.region = Rect{};
  stream.pipeline->update(update);
  CHECK(stream.on_dxgi());
  CHECK(stream.take_wide(200)->height == 120);
  CHECK(stream.desktop->live() == 1);
  stream.pipeline->stop();
  stream.pipeline->join();
  CHECK(stream.output.timing().wrong_calls == 0);
}

TEST_CASE("a region or monitor that does not exist changes nothing: the old picture goes on") {
  Streaming stream;
  const std::uint32_t generation = stream.pipeline->stats().generation;
  for (int i = 0; i < 3; ++i) {
    try {
      stream.update_region({0, 0, 4000, 10});
      FAIL("a region outside is taken");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kConfig);
    }
    PipelineUpdate update;
    update.display = "C";
    CHECK_THROWS_AS(stream.pipeline->update(update), Error);
    CHECK(stream.on_dxgi());
    CHECK(stream.desktop->live() == 1);
  }
  while (stream.subscription->next(200 * kNsPerMs)) {
  }
  stream.show_something();
  CHECK(stream.take()->generation == generation);
  CHECK(stream.pipeline->stats().width == 256);
}

TEST_CASE("where neither the new nor the old one opens the stream ends, and says why") {
  Streaming stream;
  stream.output.refuse(DXGI_ERROR_UNSUPPORTED, INT_MAX);
  stream.gdi.failures = INT_MAX;
  CHECK_THROWS_AS(stream.update_region({0, 0, 64, 64}), Error);
  std::string reason;
  try {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (now_ns() < deadline) static_cast<void>(stream.subscription->next(kPatienceNs));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCapture);
    reason = error.what();
  }
  CHECK(has(reason, "gdi refuses"));
}

TEST_CASE("where the old one opens by GDI alone it goes on by GDI") {
  Streaming stream;
  stream.output.refuse(DXGI_ERROR_UNSUPPORTED, INT_MAX);
  CHECK_THROWS_AS(stream.update_region({0, 0, 4000, 10}), Error);
  CHECK(has(stream.pipeline->stats().capture, "gdi; "));
}

}  // namespace kvm
