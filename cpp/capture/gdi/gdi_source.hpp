// Captures a monitor (or a region of it) of a Windows desktop by BitBlt: works everywhere, at the
// price of reading the whole picture for each look.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/log.hpp"
#include "base/wake_event.hpp"
#include "capture/choose_area.hpp"
#include "capture/frame_pool.hpp"
#include "capture/gdi/cursor.hpp"
#include "capture/gdi/handles.hpp"
#include "capture/source.hpp"

namespace kvm::gdi {

// A DIB section that holds all of a pool's pictures one below the other, and the DC to draw there.
struct Canvas {
  Bitmap bitmap;
  MemoryDc dc;  // goes first, and lets go of the bitmap
  std::uint8_t* pixels = nullptr;
};

class GdiSource final : public FrameSource {
 public:
  explicit GdiSource(std::shared_ptr<LogRing> log,
                     std::shared_ptr<AreaMemory> memory = std::make_shared<AreaMemory>())
      : log_(std::move(log)), memory_(std::move(memory)) {}

  [[nodiscard]] std::string description() const override { return "gdi (BitBlt, polling)"; }
  void open(const StreamConfig& config) override;
  [[nodiscard]] int width() const override { return area_.width; }
  [[nodiscard]] int height() const override { return area_.height; }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) override;
  void wake() override { wake_.set(); }
  void close() override;

 private:
  [[nodiscard]] Rect choose();
  [[nodiscard]] std::optional<std::string> geometry_change();
  [[nodiscard]] std::optional<CursorUpdate> cursor_change();
  // Empty when nothing changed, no buffer is free, or the screen cannot be read at this moment.
  [[nodiscard]] std::optional<Frame> capture();
  [[nodiscard]] bool read_screen(std::size_t index);

  std::shared_ptr<LogRing> log_;
  std::shared_ptr<AreaMemory> memory_;
  WakeEvent wake_;
  StreamConfig config_;
  Rect area_;  // on the virtual desktop
  std::shared_ptr<Canvas> canvas_;
  std::optional<FramePool> pool_;
  std::optional<Cursor> cursor_;
  std::int64_t period_ns_ = 0;
  std::int64_t next_look_ns_ = 0;
  std::int64_t next_check_ns_ = 0;   // of the monitors
  std::int64_t next_cursor_ns_ = 0;  // metadata only
  bool unreadable_ = false;          // told already
};

}  // namespace kvm::gdi
