// A source that looks at a fake desktop, and a model that says what it should see.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "capture/dxgi/dxgi_source.hpp"
#include "fake_duplication.hpp"
#include "model_desktop.hpp"
#include "patience.hpp"

namespace kvm::test {

// What came out of a source, applied as a consumer does: from each frame only what it names as
// damage. A source that asks for it is opened again, as the pipeline does.
class Viewer {
 public:
  Viewer(FrameSource& source, const StreamConfig& config) : source_(source), config_(config) {}

  void open() {
    source_.open(config_);
    pixels_.clear();
    ++opened_;
  }
  // One wait(). False when it timed out.
  bool look(std::int64_t timeout_ns) {
    SourceEvent event = source_.wait(0, now_ns() + timeout_ns);
    if (const auto* frame = std::get_if<Frame>(&event)) {
      take(*frame);
    } else if (auto* update = std::get_if<CursorUpdate>(&event)) {
      cursor = std::move(*update);
      ++cursors;
    } else if (auto* changed = std::get_if<GeometryChanged>(&event)) {
      reasons.push_back(std::move(changed->reason));
      open();
    } else if (auto* lost = std::get_if<SourceLost>(&event)) {
      losses.push_back(std::move(*lost));
    } else {
      return false;
    }
    return true;
  }
  // Until nothing has come for that long.
  void look_until_still(std::int64_t still_ns = 60 * kNsPerMs) {
    const std::int64_t deadline = now_ns() + kPatienceNs;
    while (look(still_ns) && now_ns() < deadline) {
    }
  }
  // A frame that a test waited for by itself.
  void take(const Frame& frame) {
    ++frames;
    REQUIRE(frame.width == source_.width());
    REQUIRE(frame.height == source_.height());
    REQUIRE(frame.format == PixelFormat::kBgra);
    width = frame.width;
    height = frame.height;
    const TileMap& changed = frame.damage;
    REQUIRE(changed.width() == width);
    REQUIRE(changed.height() == height);
    REQUIRE(changed.any());
    const bool first = pixels_.empty();
    pixels_.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height));
    if (first || damage.width() != width || damage.height() != height)
      damage = TileMap(width, height);
    damage.merge(changed);
    TileMap strays(width, height);
    const std::optional<CpuPlanes> planes = planes_of(frame);
    if (!planes) {
      ++unreadable;
      return;
    }
    for (int y = 0; y < height; ++y) {
      const std::uint8_t* row = planes->data[0] + y * planes->stride[0];
      for (int x = 0; x < width; ++x) {
        const std::uint8_t* p = row + x * 4;
        const std::uint32_t now = p[0] | std::uint32_t{p[1]} << 8 | std::uint32_t{p[2]} << 16;
        std::uint32_t& kept = pixels_[static_cast<std::size_t>(y * width + x)];
        const bool named = changed.at(x / kTile, y / kTile);
        if (named) {
          kept = now;
        } else if (first || now != kept) {
          strays.set(x / kTile, y / kTile);
        }
      }
    }
    undamaged_changes += static_cast<int>(strays.count());
  }
  void forget() {
    frames = on_gpu = cursors = 0;
    damage.clear();
  }

  [[nodiscard]] const std::vector<std::uint32_t>& pixels() const { return pixels_; }
  [[nodiscard]] int opened() const { return opened_; }

  int frames = 0;
  int on_gpu = 0;      // of them
  int unreadable = 0;  // of these: lost
  int cursors = 0;
  TileMap damage;             // of all frames since forget()
  int undamaged_changes = 0;  // tiles that changed without being named
  std::optional<CursorUpdate> cursor;
  std::vector<std::string> reasons;
  std::vector<SourceLost> losses;
  int width = 0;
  int height = 0;

 private:
  // Nothing when it is on a GPU and cannot be read any more.
  std::optional<CpuPlanes> planes_of(const Frame& frame) {
    if (frame.on_gpu() == nullptr) return frame.planes();
    ++on_gpu;
    const auto row = static_cast<std::size_t>(frame.width) * 4;
    read_.assign(row * static_cast<std::size_t>(frame.height), 0);
    CpuPlanes planes;
    planes.data[0] = read_.data();
    planes.stride[0] = static_cast<std::ptrdiff_t>(row);
    TileMap all(frame.width, frame.height);
    all.set_all();
    return frame.on_gpu()->read(all, planes) ? std::optional(planes) : std::nullopt;
  }

  FrameSource& source_;
  StreamConfig config_;
  std::vector<std::uint8_t> read_;
  std::vector<std::uint32_t> pixels_;
  int opened_ = 0;
};

// The largest difference of a channel; 256 for pictures of different sizes.
inline int difference(const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b) {
  if (a.size() != b.size()) return 256;
  int most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (unsigned shift = 0; shift < 24; shift += 8) {
      const int one = static_cast<int>(a[i] >> shift & 0xff);
      const int other = static_cast<int>(b[i] >> shift & 0xff);
      most = std::max(most, std::abs(one - other));
    }
  }
  return most;
}

inline std::vector<std::uint32_t> cut(const std::vector<std::uint32_t>& pixels, int stride,
                                      const Rect& part) {
  std::vector<std::uint32_t> out;
  for (int y = part.y; y < part.bottom(); ++y) {
    const auto row = pixels.begin() + y * stride;
    out.insert(out.end(), row + part.x, row + part.right());
  }
  return out;
}

// One output, "A" unless a test adds others, and its model.
class Monitor {
 public:
  explicit Monitor(const Mode& mode)
      : output_mode(mode),
        output(desktop->add("A", mode, 1)),
        model(mode.bounds.width, mode.bounds.height, 1) {}

  void compose(std::initializer_list<Update> updates) {
    for (const Update& update : updates) model.apply(update);
    output.compose({updates.begin(), updates.size()});
  }
  void move_pointer(int x, int y, bool visible = true) {
    model.move_pointer(x, y, visible);
    output.move_pointer(x, y, visible);
  }
  void set_shape(const PointerShape& shape) {
    model.set_shape(shape);
    output.set_shape(shape);
  }
  // A mode change: nothing of the old picture stays.
  void set_mode(const Mode& mode, unsigned seed) {
    output_mode = mode;
    model.resize(mode.bounds.width, mode.bounds.height, seed);
    desktop->set_mode("A", mode, seed);
  }

  std::shared_ptr<FakeDesktop> desktop = std::make_shared<FakeDesktop>();
  Mode output_mode;
  FakeOutput& output;
  ModelDesktop model;
};

// And a source on it.
class Stage : public Monitor {
 public:
  explicit Stage(const Mode& mode = {}, CursorMode cursor = CursorMode::kHidden,
                 Start start = Start::kPicture, std::optional<Rect> region = {},
                 std::shared_ptr<dxgi::TextureSharing> sharing = nullptr)
      : Monitor(mode),
        source(log, std::make_unique<FakeDuplicator>(desktop), std::make_shared<AreaMemory>(),
               std::move(sharing)),
        config(make_config(cursor, region)),
        viewer(source, config) {
    output.start_with(start);
  }

  // Opened, and with its first picture.
  void begin() {
    viewer.open();
    REQUIRE(settles());
    viewer.look_until_still();
    viewer.forget();
    output.forget_timing();
  }
  [[nodiscard]] std::vector<std::uint32_t> expected() const {
    auto whole = model.picture(config.cursor == CursorMode::kEmbedded);
    return config.region ? cut(whole, model.width(), *config.region) : whole;
  }
  // The viewer comes to see what the model shows (each channel within `tolerance`), in time.
  bool settles(int tolerance = 0, std::int64_t patience_ns = kPatienceNs) {
    const std::int64_t deadline = now_ns() + patience_ns;
    const auto want = expected();
    while (!output.idle() || difference(viewer.pixels(), want) > tolerance) {
      if (now_ns() > deadline || !viewer.losses.empty()) return false;
      viewer.look(20 * kNsPerMs);
    }
    return true;
  }
  // Log lines that have `text`.
  int said(const std::string& text) {
    for (auto& line : log->drain()) lines.push_back(std::move(line.message));
    return static_cast<int>(std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
      return line.find(text) != std::string::npos;
    }));
  }

  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  std::vector<std::string> lines;
  dxgi::DxgiSource source;
  StreamConfig config;
  Viewer viewer;

 private:
  static StreamConfig make_config(CursorMode cursor, std::optional<Rect> region) {
    StreamConfig config;
    config.cursor = cursor;
    config.region = region;
    return config;
  }
};

// Exactly what `rects` touch.
inline bool damaged_only(const TileMap& damage, std::initializer_list<Rect> rects) {
  TileMap expected(damage.width(), damage.height());
  for (const Rect& rect : rects) expected.add(rect);
  for (int row = 0; row < damage.rows(); ++row) {
    for (int col = 0; col < damage.cols(); ++col) {
      if (damage.at(col, row) && !expected.at(col, row)) return false;
    }
  }
  return damage.any();
}

}  // namespace kvm::test
