// Pictures that stay on a GPU, through the pipeline: with a GPU of the test's own.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/wake_event.hpp"
#include "fake_encoder.hpp"
#include "pipeline/pipeline.hpp"

namespace kvm {
namespace {

constexpr int kWidth = 70;
constexpr int kHeight = 50;
using Pixels = std::vector<std::uint32_t>;

class Gpu final : public GpuDevice {
 public:
  std::atomic<bool> lost{false};
  std::atomic<int> reads{0};
  std::atomic<int> failed_reads{0};
  std::atomic<std::size_t> tiles_read{0};
};

class GpuFake final : public GpuPicture {
 public:
  GpuFake(std::shared_ptr<Gpu> gpu, Pixels pixels)
      : gpu_(std::move(gpu)), device_(gpu_), pixels_(std::move(pixels)) {}
  [[nodiscard]] const std::shared_ptr<GpuDevice>& device() const noexcept override {
    return device_;
  }
  [[nodiscard]] bool read(const TileMap& tiles, const CpuPlanes& to) const override {
    if (gpu_->lost) {
      ++gpu_->failed_reads;
      return false;
    }
    ++gpu_->reads;
    gpu_->tiles_read = tiles.count();
    for (int y = 0; y < kHeight; ++y) {
      for (int x = 0; x < kWidth; ++x) {
        if (tiles.at(x / kTile, y / kTile))
          std::memcpy(to.data[0] + y * to.stride[0] + x * 4, &pixels_[at(x, y)], 4);
      }
    }
    return true;
  }
  static std::size_t at(int x, int y) { return static_cast<std::size_t>(y * kWidth + x); }
  [[nodiscard]] const Pixels& pixels() const { return pixels_; }

 private:
  std::shared_ptr<Gpu> gpu_;
  std::shared_ptr<GpuDevice> device_;
  Pixels pixels_;
};

// What a texture encoder is to do, and what it has seen.
struct Control {
  std::atomic<bool> refuse{false};  // textures, at open
  std::atomic<bool> fail{false};    // textures, at encode
  std::atomic<int> opens{0};
  std::atomic<int> textures{0};
  std::atomic<int> planes{0};
  std::atomic<int> wrong{0};  // calls of the other kind than it was opened for
  std::shared_ptr<GpuDevice> device;
  Pixels seen;  // by the last call
};

class TextureEncoder final : public Encoder {
 public:
  explicit TextureEncoder(std::shared_ptr<Control> control) : control_(std::move(control)) {}
  [[nodiscard]] std::string_view name() const override { return "textures"; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma) const override {
    static constexpr std::array formats{PixelFormat::kBgra};
    return formats;
  }
  void open(const EncoderFormat& format, const StreamConfig&, std::vector<std::string>&) override {
    ++control_->opens;
    size_ = {0, 0, format.bgra_width, format.bgra_height};
    takes_ = format.textures && !control_->refuse;
    control_->device = format.textures;
  }
  [[nodiscard]] bool takes_textures() const override { return takes_; }
  [[nodiscard]] EncodeResult encode(const CpuPlanes& planes, const EncodeHints& hints) override {
    ++control_->planes;
    if (takes_) ++control_->wrong;
    control_->seen.assign(static_cast<std::size_t>(size_.width * size_.height), 0);
    for (int y = 0; y < size_.height; ++y)
      std::memcpy(&control_->seen[static_cast<std::size_t>(y * size_.width)],
                  planes.data[0] + y * planes.stride[0], static_cast<std::size_t>(size_.width) * 4);
    return unit(hints);
  }
  [[nodiscard]] EncodeResult encode_texture(const GpuPicture& picture,
                                            const EncodeHints& hints) override {
    ++control_->textures;
    if (!takes_ || picture.device() != control_->device) ++control_->wrong;
    if (control_->fail) return Failed{"injected texture failure"};
    control_->seen = dynamic_cast<const GpuFake&>(picture).pixels();
    return unit(hints);
  }
  [[nodiscard]] std::vector<AccessUnit> drain() override { return {}; }
  [[nodiscard]] UpdateResult update(const RateSettings&) override {
    return UpdateResult::kSeamless;
  }
  void close() override { takes_ = false; }

 private:
  static AccessUnit unit(const EncodeHints& hints) {
    return {{0, 0, 0, 1, static_cast<std::uint8_t>(hints.keyframe ? 0x65 : 0x41)},
            hints.keyframe,
            hints.pts_us};
  }
  std::shared_ptr<Control> control_;
  Rect size_;
  bool takes_ = false;
};

Ladder ladder_of(const std::shared_ptr<Control>& control, const std::shared_ptr<LogRing>& log) {
  Candidate candidate;
  candidate.name = "textures";
  candidate.hardware = true;
  candidate.create = [control] { return std::make_unique<TextureEncoder>(control); };
  return Ladder({candidate}, log);
}

// A picture that changes by one tile at a time.
class Screen {
 public:
  Screen() : pixels_(std::size_t{kWidth} * kHeight, 1) {}
  void draw(int col, int row) {
    ++colour_;
    for (int y = row * kTile; y < std::min(kHeight, (row + 1) * kTile); ++y) {
      for (int x = col * kTile; x < std::min(kWidth, (col + 1) * kTile); ++x)
        pixels_[GpuFake::at(x, y)] = colour_;
    }
    damage_.set(col, row);
  }
  Frame frame(const std::shared_ptr<Gpu>& gpu) {
    Frame frame;
    if (gpu) {
      auto picture = std::make_shared<GpuFake>(gpu, pixels_);
      frame.lease = picture;
      frame.picture = std::shared_ptr<GpuPicture>(std::move(picture));
    } else {
      auto copy = std::make_shared<Pixels>(pixels_);
      CpuPlanes planes;
      planes.data[0] = reinterpret_cast<std::uint8_t*>(copy->data());
      planes.stride[0] = kWidth * 4;
      frame.picture = planes;
      frame.lease = copy;
    }
    frame.width = kWidth;
    frame.height = kHeight;
    frame.damage = std::exchange(damage_, TileMap(kWidth, kHeight));
    frame.times.captured = frame.times.damaged = now_ns();
    return frame;
  }
  [[nodiscard]] const Pixels& pixels() const { return pixels_; }
  void all_changed() { damage_.set_all(); }

 private:
  Pixels pixels_;
  TileMap damage_{kWidth, kHeight};
  std::uint32_t colour_ = 1;
};

struct Bench {
  explicit Bench(StreamConfig config = {})
      : stage(ladder_of(control, log), std::move(config), now_ns(), log) {}
  std::optional<Packet> show(const std::shared_ptr<Gpu>& on, bool fresh = true) {
    if (fresh) last = screen.frame(on);
    EncodeStage::Request request;
    request.fresh = fresh;
    request.textures = offer;
    return stage.encode(last, request);
  }
  std::shared_ptr<Gpu> gpu = std::make_shared<Gpu>();
  std::shared_ptr<GpuDevice> offer = gpu;
  std::shared_ptr<Control> control = std::make_shared<Control>();
  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  EncodeStage stage;
  Screen screen;
  Frame last;
};

int notes_with(const EncodeStage& stage, const std::string& text) {
  return static_cast<int>(
      std::count_if(stage.notes().begin(), stage.notes().end(),
                    [&](const auto& note) { return note.find(text) != std::string::npos; }));
}

}  // namespace

TEST_CASE("an encoder that takes textures gets them, and nothing is read into memory") {
  Bench bench;
  bench.stage.prepare(kWidth, kHeight, bench.offer);
  CHECK(bench.stage.takes_textures());
  for (int i = 0; i < 4; ++i) {
    bench.screen.draw(i, 1);
    const auto packet = bench.show(bench.gpu);
    REQUIRE(packet);
    CHECK(packet->keyframe == (i == 0));
    CHECK(bench.control->seen == bench.screen.pixels());
    REQUIRE(bench.show(bench.gpu, false));  // refined
  }
  CHECK(bench.stage.generation() == 1);
  CHECK(bench.control->textures == 8);
  CHECK(bench.control->planes == 0);
  CHECK(bench.gpu->reads == 0);
}

TEST_CASE("one that takes none gets the pixels, of which only what changed is read") {
  Bench bench;
  bench.control->refuse = true;
  bench.stage.prepare(kWidth, kHeight, bench.offer);
  CHECK(!bench.stage.takes_textures());
  for (int i = 0; i < 4; ++i) {
    bench.screen.draw(i, 1);
    REQUIRE(bench.show(bench.gpu));
    CHECK(bench.control->seen == bench.screen.pixels());
    CHECK(bench.gpu->tiles_read == (i == 0 ? 20 : 1));
    const int reads = bench.gpu->reads;
    REQUIRE(bench.show(bench.gpu, false));
    CHECK(bench.control->seen == bench.screen.pixels());
    CHECK(bench.gpu->reads == reads);
  }
  // Memory in between: what was read before is out of date.
  bench.screen.draw(0, 0);
  REQUIRE(bench.show(nullptr));
  bench.screen.draw(1, 0);
  REQUIRE(bench.show(bench.gpu));
  CHECK(bench.control->seen == bench.screen.pixels());
  CHECK(bench.control->wrong == 0);
  CHECK(bench.stage.generation() == 1);
}

TEST_CASE("another size than the screen's is made in memory") {
  StreamConfig config;
  config.width = 32;
  config.height = 24;
  Bench bench(config);
  bench.stage.prepare(kWidth, kHeight, bench.offer);
  CHECK(!bench.stage.takes_textures());
  bench.screen.draw(1, 1);
  CHECK(bench.show(bench.gpu));
  CHECK(bench.control->seen.size() == 32 * 24);
}

TEST_CASE(
    "a texture that cannot be encoded: memory, a new generation, the same encoder, one note") {
  Bench bench;
  bench.stage.prepare(kWidth, kHeight, bench.offer);
  REQUIRE(bench.show(bench.gpu));
  for (int round = 0; round < 4; ++round) {  // more often than a rung may fail
    bench.control->fail = true;
    bench.screen.draw(2, 2);
    const std::uint32_t before = bench.stage.generation();
    auto packet = bench.show(bench.gpu);
    REQUIRE(packet);
    CHECK(packet->keyframe);
    CHECK(packet->generation == before + 1);
    CHECK(bench.control->seen == bench.screen.pixels());
    CHECK(bench.gpu->tiles_read == 20);
    CHECK(!bench.stage.takes_textures());
    CHECK(notes_with(bench.stage, "injected texture failure") == round + 1);
    // What was refused stays so.
    bench.control->fail = false;
    bench.screen.draw(3, 1);
    packet = bench.show(bench.gpu);
    REQUIRE(packet);
    CHECK(packet->generation == before + 1);
    CHECK(bench.control->seen == bench.screen.pixels());
    // Until there is another GPU, as after a driver's restart.
    bench.gpu = std::make_shared<Gpu>();
    bench.offer = bench.gpu;
    bench.screen.draw(0, 1);
    packet = bench.show(bench.gpu);
    REQUIRE(packet);
    CHECK(packet->keyframe);
    CHECK(bench.stage.takes_textures());
    CHECK(bench.control->device == bench.offer);
  }
  CHECK(bench.control->wrong == 0);
}

TEST_CASE("pictures in memory, or on another GPU, for an encoder that was opened for textures") {
  for (const bool memory : {true, false}) {
    Bench bench;
    bench.stage.prepare(kWidth, kHeight, bench.offer);
    REQUIRE(bench.show(bench.gpu));
    bench.screen.draw(2, 2);
    const auto packet = bench.show(memory ? nullptr : std::make_shared<Gpu>());
    REQUIRE(packet);
    CHECK(packet->keyframe);
    CHECK(packet->generation == 2);
    CHECK(bench.control->seen == bench.screen.pixels());
    CHECK(bench.control->wrong == 0);
    bench.screen.draw(2, 1);
    REQUIRE(bench.show(nullptr));
    CHECK(bench.control->opens == 2);
  }
}

TEST_CASE("a picture that nobody can read any more is skipped; the next one is whole, a keyframe") {
  for (const bool refuses : {false, true}) {
    Bench bench;
    bench.control->refuse = refuses;
    bench.stage.prepare(kWidth, kHeight, bench.offer);
    REQUIRE(bench.show(bench.gpu));
    const Pixels before = bench.control->seen;
    bench.screen.draw(2, 2);
    bench.gpu->lost = true;
    bench.control->fail = true;
    CHECK(!bench.show(bench.gpu));
    CHECK(bench.stage.picture_lost());
    CHECK(bench.control->seen == before);  // no black or old one was encoded
    bench.screen.draw(0, 0);
    const auto packet = bench.show(nullptr);
    REQUIRE(packet);
    CHECK(packet->keyframe);
    CHECK(!bench.stage.picture_lost());
    CHECK(bench.control->seen == bench.screen.pixels());
  }
}

namespace {

// Pictures on a GPU, or in memory once that is refused or lost, whenever the test draws.
class GpuSource final : public FrameSource {
 public:
  struct Script {
    std::mutex mutex;
    Screen screen;
    int drawn = 1;
    std::shared_ptr<Gpu> gpu = std::make_shared<Gpu>();
    std::atomic<int> refusals{0};
    std::atomic<bool> in_memory{false};
    std::atomic<bool> silent{false};  // gives nothing
    std::atomic<FrameSource*> live{nullptr};
    void draw() {
      {
        const std::lock_guard lock(mutex);
        screen.draw(drawn % 4, 1);
        ++drawn;
      }
      if (FrameSource* source = live) source->wake();
    }
  };
  explicit GpuSource(Script& script) : script_(script) {}
  ~GpuSource() override { script_.live = nullptr; }
  [[nodiscard]] std::string description() const override { return "gpu"; }
  void open(const StreamConfig&) override { script_.live = this; }
  [[nodiscard]] int width() const override { return kWidth; }
  [[nodiscard]] int height() const override { return kHeight; }
  [[nodiscard]] SourceEvent wait(std::int64_t, std::int64_t deadline_ns) override {
    {
      const std::lock_guard lock(script_.mutex);
      if (script_.drawn != shown_ && !script_.silent) {
        shown_ = script_.drawn;
        const bool memory = script_.in_memory || script_.gpu->lost;
        if (memory) script_.screen.all_changed();
        return script_.screen.frame(memory ? nullptr : script_.gpu);
      }
    }
    wake_.wait(-1, deadline_ns);
    return Timeout{};
  }
  void wake() override { wake_.set(); }
  [[nodiscard]] std::shared_ptr<GpuDevice> textures() const override { return script_.gpu; }
  void refuse_textures(const GpuDevice& of) override {
    if (&of != script_.gpu.get()) return;
    ++script_.refusals;
    script_.in_memory = true;
  }
  void close() override {}

 private:
  Script& script_;
  WakeEvent wake_;
  int shown_ = 0;
};

struct Streaming {
  explicit Streaming(bool refuse) {
    control->refuse = refuse;
    StreamConfig config;
    config.fps = 200;
    pipeline = std::make_unique<Pipeline>(
        config, [this](const StreamConfig&) { return std::make_unique<GpuSource>(script); },
        ladder_of(control, log), log);
    subscription = pipeline->subscribe(16);
    pipeline->start();
  }
  PacketPtr take() {
    PacketPtr packet = subscription->next(5 * kNsPerSec);
    REQUIRE(packet);
    return packet;
  }
  std::shared_ptr<Control> control = std::make_shared<Control>();
  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  GpuSource::Script script;
  std::unique_ptr<Pipeline> pipeline;
  std::shared_ptr<Subscription> subscription;
};

}  // namespace

TEST_CASE("a stream on the GPU: thumbnails are read from it, and only when asked for") {
  Streaming stream(false);
  CHECK(stream.take()->keyframe);
  stream.script.draw();
  stream.take();
  CHECK(stream.script.gpu->reads == 0);
  CHECK(stream.script.refusals == 0);
  CHECK(stream.pipeline->thumbnail(64).size() > 100);
  CHECK(stream.script.gpu->reads == 1);
  stream.script.gpu->lost = true;
  stream.script.silent = true;
  CHECK(stream.pipeline->thumbnail(64).empty());
  CHECK(stream.control->planes == 0);
}

TEST_CASE("a source whose textures nobody can use gives memory") {
  Streaming stream(true);
  CHECK(stream.take()->keyframe);
  CHECK(stream.script.refusals > 0);
  stream.script.draw();
  stream.take();
  CHECK(stream.script.in_memory);
  CHECK(stream.control->textures == 0);
}

TEST_CASE(
    "a GPU that is lost in a stream: no picture of it is shown, and no thread spins for one") {
  Streaming stream(false);
  CHECK(stream.take()->keyframe);
  stream.script.gpu->lost = true;
  stream.control->fail = true;
  stream.script.silent = true;
  const int before = stream.control->textures;
  stream.pipeline->request_keyframe();  // of a picture that is gone
  std::this_thread::sleep_for(std::chrono::milliseconds(900));
  CHECK(stream.control->textures - before <= 1);
  CHECK(stream.control->planes == 0);
  CHECK(stream.control->opens <= 2);
  CHECK(stream.script.gpu->failed_reads == 1);
  stream.script.silent = false;
  stream.script.draw();
  PacketPtr packet = stream.take();
  while (!packet->keyframe) packet = stream.take();
  CHECK(packet->generation >= 2);
  CHECK(stream.control->planes > 0);
}

}  // namespace kvm
