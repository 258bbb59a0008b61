// A screen of coloured tiles, a source that captures it as a single thread's source would, and what
// a stream makes of it.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/wake_event.hpp"
#include "capture/frame_pool.hpp"
#include "capture/shared_source.hpp"

namespace kvm::test {

inline constexpr std::int64_t kPatienceNs = 10 * kNsPerSec;
inline constexpr std::int64_t kNever = 3600 * kNsPerSec;

inline void sleep_ms(int ms) {
  WakeEvent never;
  never.wait(-1, now_ns() + ms * kNsPerMs);
}

// What cannot be read by the CPU, for as long as nobody refuses it.
class Gpu final : public GpuDevice {};
class PictureOnGpu final : public GpuPicture {
 public:
  [[nodiscard]] const std::shared_ptr<GpuDevice>& device() const noexcept override {
    return device_;
  }
  [[nodiscard]] bool read(const TileMap&, const CpuPlanes&) const override { return false; }

 private:
  std::shared_ptr<GpuDevice> device_;
};

// Any thread. Outlives its source.
class Screen {
 public:
  explicit Screen(int width = 160, int height = 96) { resize(width, height); }

  void resize(int width, int height) {
    const std::lock_guard lock(mutex_);
    width_ = width;
    height_ = height;
    damage_ = TileMap(width, height);
    damage_.set_all();
    tiles_.assign(static_cast<std::size_t>(damage_.cols() * damage_.rows()), 1);
  }
  void draw(int col, int row, std::uint8_t value) {
    {
      const std::lock_guard lock(mutex_);
      tiles_[static_cast<std::size_t>(row * damage_.cols() + col)] = value;
      damage_.set(col, row);
    }
    changed_.set();
  }
  void tell(SourceEvent event) {
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    changed_.set();
  }
  [[nodiscard]] std::vector<std::uint8_t> tiles() const {
    const std::lock_guard lock(mutex_);
    return tiles_;
  }
  // Nothing waits to be captured.
  [[nodiscard]] bool idle() const {
    const std::lock_guard lock(mutex_);
    return !damage_.any() && events_.empty();
  }

  std::atomic<int> opens{0};
  std::atomic<int> fails{0};  // so many of the next ones
  std::atomic<int> closes{0};
  std::atomic<int> waits{0};
  std::atomic<bool> throws{false};  // once
  std::atomic<int> frames{0};
  std::atomic<int> overlaps{0};  // calls of two threads at once
  std::atomic<bool> on_gpu{false};
  std::atomic<int> gpu_frames{0};
  std::atomic<CursorMode> cursor{CursorMode::kHidden};

 private:
  friend class ScreenSource;

  std::atomic<int> calls_{0};
  mutable std::mutex mutex_;
  int width_ = 0;
  int height_ = 0;
  TileMap damage_;
  std::vector<std::uint8_t> tiles_;
  std::deque<SourceEvent> events_;
  WakeEvent changed_;
};

class ScreenSource final : public FrameSource {
 public:
  ScreenSource(Screen& screen, std::shared_ptr<LogRing> log)
      : screen_(screen), log_(std::move(log)) {}
  ~ScreenSource() override { ScreenSource::close(); }

  [[nodiscard]] std::string description() const override { return "screen"; }
  void open(const StreamConfig& config) override {
    const Call call(screen_);
    shut();
    ++screen_.opens;
    log_->add(LogLevel::kInfo, "capture", "opens");
    if (screen_.fails > 0) {
      --screen_.fails;
      throw Error(ErrorKind::kCapture, "the screen refuses");
    }
    screen_.cursor = config.cursor;
    const std::lock_guard lock(screen_.mutex_);
    screen_.damage_.set_all();
    width_ = screen_.width_;
    height_ = screen_.height_;
    pool_.emplace(width_, height_, SharedCapture::kMostBuffers);
    if (screen_.on_gpu) gpu_ = std::make_shared<Gpu>();
  }
  [[nodiscard]] int width() const override { return width_; }
  [[nodiscard]] int height() const override { return height_; }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) override {
    const Call call(screen_);
    CHECK(pool_.has_value());
    ++screen_.waits;
    if (screen_.throws.exchange(false)) throw Error(ErrorKind::kCapture, "the screen throws");
    for (bool looked = false;; looked = true) {
      const std::int64_t now = now_ns();
      std::int64_t until = deadline_ns;
      {
        const std::lock_guard lock(screen_.mutex_);
        if (!screen_.events_.empty()) {
          SourceEvent event = std::move(screen_.events_.front());
          screen_.events_.pop_front();
          return event;
        }
        if (gpu_ && refused_) {
          gpu_.reset();
          screen_.damage_.set_all();
        }
        if (screen_.damage_.any()) {
          if (now >= not_before_ns) {
            if (auto frame = publish()) return std::move(*frame);
          }
          until = std::min(until, std::max(not_before_ns, now + kNsPerMs));
        }
      }
      if (woken_.exchange(false) || (looked && now >= deadline_ns)) return Timeout{};
      screen_.changed_.wait(-1, until);
    }
  }
  void wake() override {
    woken_ = true;
    screen_.changed_.set();
  }
  [[nodiscard]] std::shared_ptr<GpuDevice> textures() const override { return gpu_; }
  void refuse_textures(const GpuDevice& of) override { refused_ = &of == gpu_.get(); }
  void close() override {
    const Call call(screen_);
    shut();
  }

 private:
  // It belongs to one thread at a time.
  struct Call {
    explicit Call(Screen& which) : screen(which) {
      if (screen.calls_.fetch_add(1) != 0) ++screen.overlaps;
    }
    ~Call() { --screen.calls_; }
    Screen& screen;
  };

  void shut() {
    if (pool_) ++screen_.closes;
    pool_.reset();
    gpu_.reset();
    refused_ = false;
  }
  std::optional<Frame> publish() {
    FramePool::Buffer* buffer = pool_->free_buffer();
    if (buffer == nullptr) return std::nullopt;
    TileMap wanted = buffer->stale;
    wanted.merge(screen_.damage_);
    wanted.for_each_run([&](int row, int begin, int end) {
      for (int col = begin; col < end; ++col) {
        const Rect rect = wanted.run_rect(row, col, col + 1);
        for (int y = rect.y; y < rect.bottom(); ++y)
          std::memset(buffer->planes.data[0] + y * buffer->planes.stride[0] + rect.x * 4,
                      screen_.tiles_[static_cast<std::size_t>(row * wanted.cols() + col)],
                      static_cast<std::size_t>(rect.width) * 4);
      }
    });
    Frame frame = pool_->publish(*buffer, std::exchange(screen_.damage_, TileMap(width_, height_)));
    frame.times.damaged = frame.times.captured = now_ns();
    if (gpu_) {
      frame.picture = std::make_shared<PictureOnGpu>();
      ++screen_.gpu_frames;
    }
    ++screen_.frames;
    return frame;
  }

  Screen& screen_;
  std::shared_ptr<LogRing> log_;
  std::atomic<bool> woken_{false};
  std::atomic<bool> refused_{false};
  int width_ = 0;
  int height_ = 0;
  std::optional<FramePool> pool_;
  std::shared_ptr<Gpu> gpu_;
};

// A screen and the captures of it.
struct Room {
  std::shared_ptr<SharedCaptures> captures = std::make_shared<SharedCaptures>(
      [this](std::shared_ptr<LogRing> log, std::shared_ptr<AreaMemory>) {
        ++made;
        return std::make_unique<ScreenSource>(screen, std::move(log));
      });
  int made = 0;
  Screen screen;
};

// One stream of it: keeps of each frame what it names as damage.
class Watcher {
 public:
  explicit Watcher(std::shared_ptr<SharedCaptures> captures,
                   CursorMode cursor = CursorMode::kHidden)
      : source(std::move(captures), log) {
    config.cursor = cursor;
  }

  void open() {
    source.open(config);
    tiles.clear();
    ++opened;
  }
  // False when it timed out.
  bool look(std::int64_t timeout_ns, std::int64_t not_before_ns = 0) {
    SourceEvent event = source.wait(not_before_ns, now_ns() + timeout_ns);
    if (auto* frame = std::get_if<Frame>(&event)) {
      take(*frame);
      newest = std::move(*frame);
    } else if (std::holds_alternative<CursorUpdate>(event)) {
      ++pointers;
    } else if (const auto* changed = std::get_if<GeometryChanged>(&event)) {
      reasons.push_back(changed->reason);
      open();
    } else if (std::holds_alternative<SourceLost>(event)) {
      ++losses;
    } else {
      return false;
    }
    return true;
  }
  bool comes_to_see(const Screen& screen) {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (tiles != screen.tiles()) {
      if (now_ns() > deadline) return false;
      look(10 * kNsPerMs);
    }
    return true;
  }
  void take(const Frame& frame) {
    ++frames;
    REQUIRE(frame.width == source.width());
    REQUIRE(frame.height == source.height());
    REQUIRE(frame.damage.any());
    const TileMap& damage = frame.damage;
    if (frame.on_gpu() != nullptr) {
      ++gpu_frames;
      return;
    }
    const bool first = tiles.empty();
    tiles.resize(static_cast<std::size_t>(damage.cols() * damage.rows()));
    for (int row = 0; row < damage.rows(); ++row) {
      for (int col = 0; col < damage.cols(); ++col) {
        const std::uint8_t now =
            frame.planes()
                .data[0][row * kTile * frame.planes().stride[0] + std::ptrdiff_t{col} * kTile * 4];
        std::uint8_t& kept = tiles[static_cast<std::size_t>(row * damage.cols() + col)];
        if (!damage.at(col, row) && (first || kept != now)) ++undamaged_changes;
        kept = now;
      }
    }
  }

  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  SharedSource source;
  StreamConfig config;
  std::vector<std::uint8_t> tiles;
  std::optional<Frame> newest;
  std::vector<std::string> reasons;
  int opened = 0;
  int frames = 0;
  int gpu_frames = 0;
  int pointers = 0;
  int losses = 0;
  int undamaged_changes = 0;
};

}  // namespace kvm::test
