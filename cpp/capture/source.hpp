// The FrameSource seam: a screen becomes Frames, on change.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "base/log.hpp"
#include "frame/config.hpp"
#include "frame/frame.hpp"

namespace kvm {

struct DisplayInfo {
  std::string id;    // stable within the server: the monitor's name, e.g. "HDMI-1"
  std::string name;  // for people
  Rect bounds;       // in the root window's pixels
  double scale = 1.0;
  double refresh_hz = 0.0;  // 0 = unknown
  bool primary = false;
};

struct CursorShape {
  std::uint32_t serial = 0;  // of next_shape_serial()
  int width = 0;
  int height = 0;
  int hot_x = 0;
  int hot_y = 0;
  std::vector<std::uint8_t> bgra;  // width × height × 4, straight (not premultiplied) alpha
};

// No two shapes of a process have the same one: consumers keep shapes by it, over every source that
// opens again or another. Any thread.
[[nodiscard]] inline std::uint32_t next_shape_serial() noexcept {
  static std::atomic<std::uint32_t> newest{0};
  return ++newest;
}

// Position is of the hot spot, in pixels of the captured picture (may lie outside it).
struct CursorUpdate {
  int x = 0;
  int y = 0;
  bool visible = false;
  std::shared_ptr<const CursorShape> shape;  // never null when visible
};
struct Timeout {};
struct GeometryChanged {
  std::string reason;  // the source must be reopened; the next frames have another size or origin
};
struct SourceLost {
  std::string reason;
  bool retryable = false;
};
using SourceEvent = std::variant<Frame, CursorUpdate, Timeout, GeometryChanged, SourceLost>;

// Owned and called by one thread (the capture thread), but for wake() and cancel(). In a
// SharedCapture by one thread at a time.
class FrameSource {
 public:
  virtual ~FrameSource() = default;
  FrameSource() = default;
  FrameSource(const FrameSource&) = delete;
  FrameSource& operator=(const FrameSource&) = delete;

  // "x11 (XDamage, shm fd)", "pattern": what is really in use, after open().
  [[nodiscard]] virtual std::string description() const = 0;
  // Throws Error{kCapture}. The first wait() after it delivers a whole picture.
  virtual void open(const StreamConfig& config) = 0;
  [[nodiscard]] virtual int width() const = 0;
  [[nodiscard]] virtual int height() const = 0;
  // Returns at the first change that may be captured (not before `not_before_ns`), else at
  // `deadline_ns` (CLOCK_MONOTONIC; 0 = poll, INT64_MAX = for ever) or after wake().
  [[nodiscard]] virtual SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) = 0;
  // Ends a wait() early. From any thread.
  virtual void wake() = 0;
  // Ends a wait() or open() for good, even one for a screen that does not answer. From any thread.
  virtual void cancel() { wake(); }
  // While this one is open, another one of the same screen may be refused in this process.
  [[nodiscard]] virtual bool exclusive() const { return false; }
  // A GPU that pictures stay on, as open() has left it; null = all come in memory.
  [[nodiscard]] virtual std::shared_ptr<GpuDevice> textures() const { return nullptr; }
  // Nobody can use pictures on that GPU: they shall come in memory. From any thread.
  virtual void refuse_textures(const GpuDevice& /*of*/) {}
  // Idempotent.
  virtual void close() = 0;
};

[[nodiscard]] std::unique_ptr<FrameSource> make_source(const StreamConfig& config,
                                                       std::shared_ptr<LogRing> log);
// Monitors of the X server `x_display` ("" = $DISPLAY). Throws Error{kCapture} with the next step.
[[nodiscard]] std::vector<DisplayInfo> list_displays(const std::string& x_display);

struct CaptureInfo {
  std::string name;
  bool available = false;
  std::string reason;  // why not
};
// Every capture of this platform, best first.
[[nodiscard]] std::vector<CaptureInfo> list_captures(const std::string& x_display);

struct Screenshot {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> bgra;  // width × height × 4
};
// One picture now, scaled to config.width × config.height when these are set. Throws
// Error{kCapture} or {kConfig}.
[[nodiscard]] Screenshot take_screenshot(const StreamConfig& config, std::shared_ptr<LogRing> log);

}  // namespace kvm
