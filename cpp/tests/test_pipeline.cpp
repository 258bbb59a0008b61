// The pipeline with the real pattern source, a scripted source and fault-injecting encoders.
#include <doctest/doctest.h>

#include <chrono>
#include <thread>

#include "base/clock.hpp"
#include "base/wake_event.hpp"
#include "capture/frame_pool.hpp"
#include "fake_encoder.hpp"
#include "pipeline/pipeline.hpp"

using namespace kvm;
using kvm::test::fake_candidate;
using kvm::test::FakeControl;

namespace {

using Controls = std::vector<std::shared_ptr<FakeControl>>;

StreamConfig pattern(const std::string& size = "64x48") {
  StreamConfig config;
  config.source = SourceKind::kPattern;
  config.display = size;
  config.fps = 200;
  return config;
}

std::unique_ptr<Pipeline> make(StreamConfig config, const Controls& controls,
                               Pipeline::MakeSource source = nullptr) {
  auto log = std::make_shared<LogRing>();
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < controls.size(); ++i) {
    candidates.push_back(fake_candidate("fake" + std::to_string(i), controls[i]));
  }
  if (!source) source = [log](const StreamConfig& c) { return make_source(c, log); };
  return std::make_unique<Pipeline>(std::move(config), std::move(source),
                                    Ladder(std::move(candidates), log), log);
}

PacketPtr take(Subscription& subscription, std::int64_t timeout_ns = 5 * kNsPerSec) {
  PacketPtr packet = subscription.next(timeout_ns);
  REQUIRE(packet != nullptr);
  return packet;
}

// Gives a picture whenever the test paints, and events as the test orders them.
class ScriptedSource final : public FrameSource {
 public:
  struct Script {
    std::atomic<int> paints{1};
    std::atomic<int> width{64};
    std::atomic<bool> geometry{false};
    std::atomic<bool> lost{false};
    std::atomic<bool> refuse_open{false};
    std::atomic<int> opened{0};
    std::atomic<FrameSource*> live{nullptr};
    void paint() {
      ++paints;
      if (FrameSource* source = live) source->wake();
    }
  };
  explicit ScriptedSource(std::shared_ptr<Script> script) : script_(std::move(script)) {
    script_->live = this;
  }
  ~ScriptedSource() override { script_->live = nullptr; }
  [[nodiscard]] std::string description() const override { return "scripted"; }
  void open(const StreamConfig&) override {
    if (script_->refuse_open) throw Error(ErrorKind::kCapture, "scripted: refuses");
    ++script_->opened;
    width_ = script_->width;
    auto memory = std::make_shared<std::vector<std::uint8_t>>(
        FramePool::kBuffers * static_cast<std::size_t>(width_) * 48 * 4);
    std::uint8_t* start = memory->data();
    pool_.emplace(width_, 48, start, std::move(memory));
    shown_ = 0;
  }
  [[nodiscard]] int width() const override { return width_; }
  [[nodiscard]] int height() const override { return 48; }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before, std::int64_t deadline) override {
    if (script_->lost.exchange(false)) return SourceLost{"scripted: lost", true};
    if (script_->geometry.exchange(false)) return GeometryChanged{"scripted: geometry"};
    FramePool::Buffer* buffer = pool_->free_buffer();
    if (shown_ < script_->paints && now_ns() >= not_before && buffer != nullptr) {
      const bool first = shown_ == 0;
      shown_ = script_->paints;
      TileMap changed(width_, 48);
      if (first) {
        changed.set_all();
      } else {
        changed.set((shown_ - 1) % changed.cols(), 0);
      }
      Frame frame = pool_->publish(*buffer, std::move(changed));
      frame.times.damaged = frame.times.captured = now_ns();
      return frame;
    }
    wake_.wait(-1, std::min(deadline, now_ns() + 5 * kNsPerMs));
    return Timeout{};
  }
  void wake() override { wake_.set(); }
  void close() override {}

 private:
  std::shared_ptr<Script> script_;
  WakeEvent wake_;
  std::optional<FramePool> pool_;
  int width_ = 0;
  int shown_ = 0;
};

Pipeline::MakeSource scripted(const std::shared_ptr<ScriptedSource::Script>& script) {
  return [script](const StreamConfig&) { return std::make_unique<ScriptedSource>(script); };
}

}  // namespace

TEST_CASE("packets begin with a keyframe, rise in time and stop cleanly") {
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern(), {control});
  const auto subscription = pipeline->subscribe(8);
  pipeline->start();
  std::int64_t pts = -1;
  for (int i = 0; i < 50; ++i) {
    const PacketPtr packet = take(*subscription);
    CHECK(packet->keyframe == (i == 0));
    CHECK(packet->pts_us > pts);
    pts = packet->pts_us;
    const FrameTimes& t = packet->times;
    CHECK(t.damaged <= t.captured);
    CHECK(t.captured <= t.converted);
    CHECK(t.converted <= t.encoded);
    CHECK(packet->width == 64);
  }
  pipeline->stop();
  pipeline->join();
  CHECK_THROWS_WITH_AS(
      [&] {
        while (true) static_cast<void>(subscription->next(kNsPerSec));
      }(),
      "the stream has ended", Error);
  CHECK_THROWS_AS(pipeline->start(), Error);
}

TEST_CASE("fps is an upper bound") {
  const auto control = std::make_shared<FakeControl>();
  StreamConfig config = pattern();
  config.fps = 50;
  const auto pipeline = make(config, {control});
  const auto subscription = pipeline->subscribe(8);
  pipeline->start();
  const std::int64_t begin = take(*subscription)->times.captured;
  std::int64_t end = begin;
  for (int pictures = 0; pictures < 50;) {
    const PacketPtr packet = take(*subscription);
    if (packet->refinement) continue;  // of the first picture; not the source's
    end = packet->times.captured;
    ++pictures;
  }
  CHECK(end - begin > 940 * kNsPerMs);
}

TEST_CASE("without a consumer that has room nothing is captured or encoded") {
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern(), {control});
  pipeline->start();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(control->encoded == 0);
  const auto subscription = pipeline->subscribe(3);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(control->encoded == 3);  // its credit; the rest waits
  CHECK(subscription->state().dropped == 0);
  CHECK(take(*subscription)->keyframe);
  CHECK_FALSE(take(*subscription)->keyframe);
}

TEST_CASE("a stalled consumer is wiped, does not slow the others, and comes back with a keyframe") {
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern(), {control});
  const auto stalled = pipeline->subscribe(4);
  const auto lively = pipeline->subscribe(64);
  pipeline->start();
  int keyframes = 0;
  for (int i = 0; i < 300; ++i) keyframes += take(*lively)->keyframe ? 1 : 0;
  CHECK(keyframes == 1);  // the stalled one costs the other nothing
  CHECK(stalled->state().size == 0);
  CHECK(stalled->state().dropped == 5);
  std::thread reader([&] {
    const PacketPtr packet = stalled->next(3 * kNsPerSec);
    CHECK((packet && packet->keyframe));
  });
  for (int i = 0; i < 150; ++i) keyframes += take(*lively)->keyframe ? 1 : 0;
  reader.join();
  CHECK(keyframes == 2);
}

TEST_CASE("keyframe requests are coalesced") {
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern(), {control});
  const auto subscription = pipeline->subscribe(8);
  pipeline->start();
  const std::int64_t begin = take(*subscription)->times.encoded;
  int keyframes = 0;
  while (true) {
    pipeline->request_keyframe();
    const PacketPtr packet = take(*subscription);
    if (packet->times.encoded - begin > 1200 * kNsPerMs) break;
    keyframes += packet->keyframe ? 1 : 0;
  }
  CHECK(keyframes == 2);
}

TEST_CASE("an unchanged screen is refined and then silent; a keyframe still comes on demand") {
  const auto script = std::make_shared<ScriptedSource::Script>();
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern(), {control}, scripted(script));
  const auto subscription = pipeline->subscribe(8);
  pipeline->start();
  CHECK(take(*subscription)->keyframe);
  int refinements = 0;
  while (const PacketPtr packet = subscription->next(400 * kNsPerMs)) {
    CHECK(packet->refinement);
    ++refinements;
  }
  CHECK(refinements >= 2);
  CHECK(refinements <= 6);
  CHECK(control->refined == refinements);
  pipeline->request_keyframe();
  CHECK(take(*subscription)->keyframe);
}

TEST_CASE("damage of a picture that was overwritten before the encoder reaches it with the next") {
  struct Probe final : Encoder {
    explicit Probe(std::vector<std::size_t>& seen) : seen_(seen) {}
    [[nodiscard]] std::string_view name() const override { return "probe"; }
    [[nodiscard]] std::span<const PixelFormat> accepts(Chroma) const override {
      static constexpr std::array formats{PixelFormat::kNv12};
      return formats;
    }
    void open(const EncoderFormat&, const StreamConfig&, std::vector<std::string>&) override {}
    [[nodiscard]] EncodeResult encode(const CpuPlanes&, const EncodeHints& hints) override {
      if (hints.refine_step == 0) seen_.push_back(hints.damage->count());
      std::this_thread::sleep_for(std::chrono::milliseconds(120));
      return AccessUnit{{0}, hints.keyframe, hints.pts_us};
    }
    [[nodiscard]] std::vector<AccessUnit> drain() override { return {}; }
    [[nodiscard]] UpdateResult update(const RateSettings&) override {
      return UpdateResult::kSeamless;
    }
    void close() override {}
    std::vector<std::size_t>& seen_;
  };
  std::vector<std::size_t> seen;
  const auto script = std::make_shared<ScriptedSource::Script>();
  auto log = std::make_shared<LogRing>();
  Candidate candidate;
  candidate.name = "probe";
  candidate.create = [&] { return std::make_unique<Probe>(seen); };
  Pipeline pipeline(pattern(), scripted(script), Ladder({candidate}, log), log);
  const auto subscription = pipeline.subscribe(64);
  pipeline.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(40));  // the first picture is being encoded
  for (int i = 0; i < 3; ++i) {
    script->paint();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  static_cast<void>(take(*subscription));
  static_cast<void>(take(*subscription));
  pipeline.stop();
  pipeline.join();
  REQUIRE(seen.size() >= 2);
  CHECK(seen[1] == 3);
  CHECK(pipeline.stats().rates.dropped == 2);
}

TEST_CASE("an encoder that fails is rebuilt once, then the next on the ladder takes over") {
  const auto flaky = std::make_shared<FakeControl>();
  const auto steady = std::make_shared<FakeControl>();
  SUBCASE("by an error") {
    flaky->fail_after = 10;
  }
  SUBCASE("by silence") {
    flaky->silent_after = 10;
  }
  const auto pipeline = make(pattern(), {flaky, steady});
  const auto subscription = pipeline->subscribe(64);
  pipeline->start();
  std::uint32_t generation = 0;
  int changes = 0;
  const std::int64_t deadline = now_ns() + 10 * kNsPerSec;
  while (steady->encoded < 20 && now_ns() < deadline) {
    const PacketPtr packet = take(*subscription);
    if (packet->generation != generation) {
      CHECK(packet->keyframe);
      CHECK(packet->generation == generation + 1);
      generation = packet->generation;
      ++changes;
    }
  }
  CHECK(changes == 3);  // first, rebuilt, stepped down
  CHECK(flaky->opened == 2);
  CHECK(steady->opened == 1);
  CHECK(pipeline->stats().encoder == "fake1");
  CHECK(pipeline->stats().notes.size() >= 2);
}

TEST_CASE("when the whole ladder is used up the consumers get an EncoderError") {
  const auto flaky = std::make_shared<FakeControl>();
  flaky->fail_after = 3;
  const auto pipeline = make(pattern(), {flaky});
  const auto subscription = pipeline->subscribe(64);
  pipeline->start();
  try {
    while (true) static_cast<void>(take(*subscription));
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kEncoder);
    CHECK(std::string(error.what()).find("injected failure") != std::string::npos);
  }
}

TEST_CASE("start() throws what opening threw and leaves nothing running") {
  const auto broken = std::make_shared<FakeControl>();
  broken->fail_open = true;
  const auto pipeline = make(pattern(), {broken});
  try {
    pipeline->start();
    FAIL("started");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kEncoderUnavailable);
    CHECK(std::string(error.what()).find("injected open failure") != std::string::npos);
  }
  const auto script = std::make_shared<ScriptedSource::Script>();
  script->refuse_open = true;
  const auto sourceless = make(pattern(), {broken}, scripted(script));
  CHECK_THROWS_WITH_AS(sourceless->start(), "scripted: refuses", Error);
}

TEST_CASE("a geometry change begins a new generation of the new size") {
  const auto script = std::make_shared<ScriptedSource::Script>();
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern(), {control}, scripted(script));
  const auto subscription = pipeline->subscribe(64);
  pipeline->start();
  CHECK(take(*subscription)->generation == 1);
  const auto next_generation = [&](std::uint32_t after) {
    PacketPtr packet = take(*subscription);
    while (packet->generation == after) packet = take(*subscription);
    return packet;
  };
  script->width = 97;
  script->geometry = true;
  const PacketPtr wider = next_generation(1);
  CHECK(wider->generation == 2);
  CHECK(wider->keyframe);
  CHECK(wider->width == 97);
  SUBCASE("also when the size is the same: pointer coordinates mean something else") {
    script->geometry = true;
    const PacketPtr moved = next_generation(2);
    CHECK(moved->keyframe);
    CHECK(moved->width == 97);
  }
  SUBCASE("a lost source that comes back goes on") {
    script->lost = true;
    CHECK(next_generation(2)->keyframe);
  }
  SUBCASE("a lost source that does not is a CaptureError") {
    script->refuse_open = true;
    script->lost = true;
    try {
      while (true) static_cast<void>(take(*subscription));
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kCapture);
    }
  }
}

TEST_CASE("update() changes the source while streaming, and a bad one changes nothing") {
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern("64x48"), {control});
  const auto subscription = pipeline->subscribe(64);
  pipeline->start();
  CHECK(take(*subscription)->width == 64);
  PipelineUpdate bad;
  bad.display = "nonsense";
  CHECK_THROWS_AS(pipeline->update(bad), Error);
  CHECK(take(*subscription)->width == 64);
  PipelineUpdate good;
  good.display = "99x50";
  pipeline->update(good);
  PacketPtr packet = take(*subscription);
  while (packet->width == 64) packet = take(*subscription);
  CHECK(packet->width == 99);
  CHECK(packet->keyframe);
  PipelineUpdate rate;
  rate.fps = -1;
  CHECK_THROWS_AS(pipeline->update(rate), Error);
}

TEST_CASE("a new rate costs what the encoder says: nothing, a keyframe, or another encoder") {
  const auto control = std::make_shared<FakeControl>();
  std::uint32_t generation = 1;
  int keyframes = 0;
  SUBCASE("nothing") {
    control->update_costs = UpdateResult::kSeamless;
  }
  SUBCASE("a keyframe") {
    control->update_costs = UpdateResult::kKeyframe;
    keyframes = 1;
  }
  SUBCASE("another encoder") {
    control->update_costs = UpdateResult::kNeedsReopen;
    keyframes = 1;
    generation = 2;
  }
  const auto pipeline = make(pattern(), {control});
  const auto subscription = pipeline->subscribe(64);
  pipeline->start();
  CHECK(take(*subscription)->keyframe);
  PipelineUpdate rate;
  rate.bitrate = 1'234'567;
  pipeline->update(rate);
  int seen = 0;
  PacketPtr packet;
  for (int i = 0; i < 80; ++i) {  // more than can have been queued before
    packet = take(*subscription);
    seen += packet->keyframe ? 1 : 0;
    if (packet->generation == 2) CHECK(seen == 1);
  }
  CHECK(seen == keyframes);
  CHECK(packet->generation == generation);
  CHECK(control->opened == static_cast<int>(generation));
  CHECK(control->bitrate == 1'234'567);
}

TEST_CASE("stop() from another thread ends a blocked next()") {
  const auto script = std::make_shared<ScriptedSource::Script>();
  const auto control = std::make_shared<FakeControl>();
  const auto pipeline = make(pattern(), {control}, scripted(script));
  const auto subscription = pipeline->subscribe(8);
  pipeline->start();
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    pipeline->stop();
  });
  CHECK_THROWS_AS(
      [&] {
        while (true) static_cast<void>(subscription->next(-1));
      }(),
      Error);
  other.join();
}
