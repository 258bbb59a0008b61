// Several streams of one monitor from one duplication, as Windows gives a process no second one.
#include <array>
#include <climits>
#include <thread>

#include "base/error.hpp"
#include "capture/shared_source.hpp"
#include "fake_encoder.hpp"
#include "fake_sharing.hpp"
#include "pipeline/pipeline.hpp"
#include "random_desktop.hpp"
#include "scripted_source.hpp"

namespace kvm {
namespace {

using namespace test;

// Two streams; nothing but their own threads looks for them.
class SharedStage : public Monitor {
 public:
  struct Stream {
    Stream(std::shared_ptr<SharedCaptures> captures, CursorMode cursor)
        : source(std::move(captures), log), viewer(source, config_of(cursor)) {}
    static StreamConfig config_of(CursorMode cursor) {
      StreamConfig config;
      config.cursor = cursor;
      return config;
    }
    std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
    SharedSource source;
    Viewer viewer;
  };

  explicit SharedStage(CursorMode cursor = CursorMode::kMetadata, const Mode& mode = {},
                       std::shared_ptr<dxgi::TextureSharing> sharing = nullptr)
      : Monitor(mode),
        captures(std::make_shared<SharedCaptures>(
            [this, sharing](std::shared_ptr<LogRing> log, std::shared_ptr<AreaMemory> memory) {
              return std::make_unique<dxgi::DxgiSource>(
                  std::move(log), std::make_unique<FakeDuplicator>(desktop), std::move(memory),
                  sharing, SharedCapture::kMostBuffers);
            })),
        drawn_in(cursor == CursorMode::kEmbedded),
        one(captures, cursor),
        other(captures, cursor) {}

  void begin() {
    one.viewer.open();
    other.viewer.open();
    REQUIRE(settles());
    output.forget_timing();
  }
  [[nodiscard]] bool settles(Stream& stream) const {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    const auto want = model.picture(drawn_in);
    while (!output.idle() || stream.viewer.pixels() != want) {
      if (now_ns() > deadline || !stream.viewer.losses.empty()) return false;
      stream.viewer.look(20 * kNsPerMs);
    }
    return true;
  }
  [[nodiscard]] bool settles() { return settles(one) && settles(other); }
  void draw() {
    ++seed;
    const int at = static_cast<int>(seed % 10) * 9;
    compose({Fill{{at, at, 70, 50}, seed}});
  }
  // One duplication, called as Windows wants it, and nothing left behind.
  void check_clean() {
    CHECK(one.viewer.undamaged_changes == 0);
    CHECK(other.viewer.undamaged_changes == 0);
    CHECK(output.timing().wrong_calls == 0);
    one.source.close();
    other.source.close();
    CHECK(desktop->live() == 0);
    CHECK(desktop->device_references() == 0);
  }

  std::shared_ptr<SharedCaptures> captures;
  bool drawn_in;
  Stream one;
  Stream other;
  unsigned seed = 50;
};

}  // namespace

TEST_CASE("two streams of one monitor have exact pictures from one duplication") {
  for (const CursorMode cursor :
       {CursorMode::kMetadata, CursorMode::kHidden, CursorMode::kEmbedded}) {
    SharedStage stage(cursor);
    stage.begin();
    stage.output.spoil_unreported(true);
    stage.set_shape(colour_pointer(20, 20, {3, 3}, 4));
    for (int i = 0; i < 40; ++i) {
      stage.draw();
      stage.move_pointer(i * 5, i * 3);
      if (i % 3 == 0) stage.compose({Move{{60, 40, 100, 80}, 50, 30}});
      CHECK(stage.settles(i % 2 == 0 ? stage.one : stage.other));
    }
    CHECK(stage.settles());
    CHECK(stage.output.duplicate_calls() == 1);
    CHECK(stage.one.viewer.opened() == 1);
    CHECK(stage.other.viewer.opened() == 1);
    if (cursor == CursorMode::kMetadata) {
      for (SharedStage::Stream* each : {&stage.one, &stage.other}) {
        while (each->viewer.look(0)) {
        }
        REQUIRE(each->viewer.cursor);
        CHECK(each->viewer.cursor->x == 39 * 5 + 3);
        CHECK(each->viewer.cursor->visible);
      }
    }
    stage.check_clean();
  }
}

TEST_CASE("streams on threads of their own, at rates of their own, see the same") {
  SharedStage stage;
  stage.begin();
  std::atomic<bool> stop{false};
  const auto watch = [&](SharedStage::Stream& stream, std::int64_t period_ns) {
    std::int64_t next = 0;
    while (!stop) {
      SourceEvent event = stream.source.wait(next, now_ns() + 20 * kNsPerMs);
      if (const auto* frame = std::get_if<Frame>(&event)) {
        CHECK(now_ns() >= next);
        next = now_ns() + period_ns;
        stream.viewer.take(*frame);
      }
    }
  };
  std::thread fast([&] { watch(stage.one, 5 * kNsPerMs); });
  std::thread slow([&] { watch(stage.other, 100 * kNsPerMs); });
  const std::int64_t until = now_ns() + 2 * kNsPerSec;
  while (now_ns() < until) {
    stage.draw();
    Sleep(4);
  }
  stop = true;
  fast.join();
  slow.join();
  CHECK(stage.settles());
  CHECK(stage.other.viewer.frames < 30);
  CHECK(stage.one.viewer.frames > 2 * stage.other.viewer.frames);
  CHECK(stage.output.duplicate_calls() == 1);
  stage.check_clean();
}

TEST_CASE("one that closes leaves the other its duplication, the last one lets go of it") {
  SharedStage stage;
  stage.begin();
  stage.one.source.close();
  stage.draw();
  CHECK(stage.settles(stage.other));
  stage.one.viewer.open();
  CHECK(stage.settles());
  stage.other.source.close();
  stage.draw();
  CHECK(stage.settles(stage.one));
  CHECK(stage.output.duplicate_calls() == 1);
  stage.one.source.close();
  CHECK(stage.desktop->live() == 0);
  stage.other.viewer.open();
  CHECK(stage.settles(stage.other));
  CHECK(stage.output.duplicate_calls() == 2);
  stage.check_clean();
}

TEST_CASE("a stream that keeps its pictures holds nobody back") {
  SharedStage stage;
  stage.begin();
  std::array<Frame, 2> kept;
  for (Frame& frame : kept) {
    stage.draw();
    SourceEvent event = Timeout{};
    while (!std::holds_alternative<Frame>(event))
      event = stage.one.source.wait(0, now_ns() + kPatienceNs);
    frame = std::move(std::get<Frame>(event));
    stage.one.viewer.take(frame);
  }
  for (int i = 0; i < 50; ++i) {
    stage.draw();
    CHECK(stage.settles(stage.other));
  }
  CHECK(stage.settles(stage.one));
  stage.check_clean();
}

TEST_CASE("a lost duplication, a secure desktop and another mode reach both") {
  SharedStage stage;
  stage.begin();
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  stage.draw();
  CHECK(stage.settles());
  CHECK(stage.output.duplicate_calls() == 2);

  stage.output.refuse(E_ACCESSDENIED, INT_MAX);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  const std::int64_t until = now_ns() + 300 * kNsPerMs;
  while (now_ns() < until) {
    stage.one.viewer.look(20 * kNsPerMs);
    stage.other.viewer.look(20 * kNsPerMs);
  }
  for (SharedStage::Stream* each : {&stage.one, &stage.other}) {
    int told = 0;
    for (const LogLine& line : each->log->drain()) told += has(line.message, "secure desktop");
    CHECK(told == 1);
    CHECK(each->viewer.losses.empty());
  }
  stage.output.refuse(S_OK, 0);
  stage.draw();
  CHECK(stage.settles());
  CHECK(stage.one.viewer.opened() == 1);
  CHECK(stage.other.viewer.opened() == 1);

  stage.set_mode({{0, 0, 200, 120}}, 30);
  CHECK(stage.settles());
  CHECK(stage.one.source.width() == 200);
  CHECK(stage.other.source.width() == 200);
  CHECK(stage.one.viewer.opened() == 2);
  CHECK(stage.other.viewer.opened() == 2);
  stage.check_clean();
}

TEST_CASE("duplication that is given up after 10 s is given up by both") {
  SharedStage stage;
  stage.begin();
  stage.output.refuse(DXGI_ERROR_UNSUPPORTED, INT_MAX);
  stage.output.lose(DXGI_ERROR_ACCESS_LOST);
  const auto lost = [&] {
    return !stage.one.viewer.losses.empty() && !stage.other.viewer.losses.empty();
  };
  const std::int64_t deadline = now_ns() + 20 * kNsPerSec;
  while (!lost() && now_ns() < deadline) {
    stage.one.viewer.look(50 * kNsPerMs);
    stage.other.viewer.look(50 * kNsPerMs);
  }
  CHECK(lost());
  CHECK_THROWS_AS(stage.one.viewer.open(), Error);
  CHECK_THROWS_AS(stage.other.viewer.open(), Error);
  CHECK(stage.desktop->live() == 0);
}

TEST_CASE("another region of the same monitor is refused, and why") {
  SharedStage stage;
  stage.begin();
  StreamConfig part = SharedStage::Stream::config_of(CursorMode::kMetadata);
  part.region = Rect{0, 0, 64, 64};
  stage.other.source.close();
  try {
    stage.other.source.open(part);
    FAIL("Windows does not allow this");
  } catch (const Error& error) {
    CHECK(has(error.what(), "another stream of this process duplicates this monitor"));
  }
  stage.draw();
  CHECK(stage.settles(stage.one));
  stage.check_clean();
}

TEST_CASE("textures are for a stream alone; with a second one both read exactly from memory") {
  const auto sharing = std::make_shared<FakeSharing>();
  SharedStage stage(CursorMode::kHidden, {}, sharing);
  stage.one.viewer.open();
  CHECK(stage.one.source.textures() != nullptr);
  CHECK(stage.settles(stage.one));
  stage.draw();
  CHECK(stage.settles(stage.one));
  CHECK(stage.one.viewer.on_gpu == stage.one.viewer.frames);
  const int on_gpu = stage.one.viewer.on_gpu;
  stage.draw();
  stage.other.viewer.open();
  CHECK(stage.other.source.textures() == nullptr);
  for (int i = 0; i < 10; ++i) {
    CHECK(stage.settles());
    stage.draw();
  }
  CHECK(stage.one.viewer.on_gpu == on_gpu);
  CHECK(stage.other.viewer.on_gpu == 0);
  CHECK(stage.one.viewer.opened() == 1);
  CHECK(sharing->wrong_calls() == 0);
  // Both anew, as after another mode: still no textures.
  stage.set_mode({{0, 0, 200, 120}}, 30);
  CHECK(stage.settles());
  CHECK(stage.one.viewer.on_gpu + stage.other.viewer.on_gpu == on_gpu);
  stage.check_clean();
}

TEST_CASE("two whole streams of a monitor are both on Desktop Duplication") {
  SharedStage stage;
  Script gdi{"gdi", 320, 200};
  struct Running {
    std::unique_ptr<Pipeline> pipeline;
    std::shared_ptr<Subscription> subscription;
  };
  const auto start = [&](double fps) {
    auto log = std::make_shared<LogRing>();
    StreamConfig config = SharedStage::Stream::config_of(CursorMode::kMetadata);
    config.fps = fps;
    Running running;
    running.pipeline = std::make_unique<Pipeline>(
        config,
        [&, log](const StreamConfig&) {
          return std::make_unique<FallbackSource>(
              std::make_unique<SharedSource>(stage.captures, log), std::make_unique<Scripted>(gdi),
              log);
        },
        Ladder({fake_candidate("fake", std::make_shared<FakeControl>())}, log), log);
    running.subscription = running.pipeline->subscribe(64);
    running.pipeline->start();
    return running;
  };
  Running full = start(60);
  CHECK(full.subscription->next(kPatienceNs));
  Running low = start(15);
  CHECK(low.subscription->next(kPatienceNs));
  for (int i = 0; i < 20; ++i) {
    stage.draw();
    CHECK(full.subscription->next(kPatienceNs));
    if (i % 5 == 4) CHECK(low.subscription->next(kPatienceNs));
  }
  stage.set_mode({{0, 0, 200, 120}}, 30);
  for (Running* each : {&full, &low}) {
    PacketPtr packet = each->subscription->next(kPatienceNs);
    while (packet && packet->width != 200) packet = each->subscription->next(kPatienceNs);
    REQUIRE(packet);
    CHECK(each->pipeline->stats().capture == "dxgi (Desktop Duplication)");
  }
  full.pipeline->stop();
  full.pipeline->join();
  stage.draw();
  while (low.subscription->next(500 * kNsPerMs)) {
  }
  stage.draw();
  CHECK(low.subscription->next(kPatienceNs));
  low.pipeline->stop();
  low.pipeline->join();
  CHECK(gdi.opens == 0);
  CHECK(stage.desktop->live() == 0);
  CHECK(stage.output.timing().wrong_calls == 0);
}

TEST_CASE("2,000 random steps end with the model's picture for two streams") {
  const unsigned first = setting("KVM_TEST_SEED", 20261127);
  const auto steps = static_cast<int>(setting("KVM_TEST_STEPS", 2'000));
  for (const CursorMode cursor : {CursorMode::kMetadata, CursorMode::kEmbedded}) {
    const unsigned seed = first + static_cast<unsigned>(cursor);
    SharedStage stage(cursor, {{0, 0, kMostWidth, kMostHeight}});
    Play play(stage, seed);
    stage.begin();
    for (int done = 0; done < steps / 2;) {
      for (int burst = 1 + play.roll(6); burst > 0; --burst, ++done) {
        play.step();
        const int who = play.roll(9);
        if (who < 2) stage.one.viewer.look(0);
        if (who == 2) stage.other.viewer.look(0);
        if (play.roll(60) == 0) stage.other.source.close(), stage.other.viewer.open();
      }
      CAPTURE(seed);
      CAPTURE(done);
      REQUIRE(stage.settles(stage.one));
      if (play.roll(3) == 0) REQUIRE(stage.settles(stage.other));
      REQUIRE(stage.one.viewer.undamaged_changes + stage.other.viewer.undamaged_changes == 0);
    }
    CHECK(stage.settles());
    stage.check_clean();
  }
}

}  // namespace kvm
