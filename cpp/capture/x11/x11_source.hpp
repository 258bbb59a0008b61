// Captures a monitor (or a region of it) of an X server, driven by XDamage.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/log.hpp"
#include "base/wake_event.hpp"
#include "capture/source.hpp"
#include "capture/x11/connection.hpp"
#include "capture/x11/cursor.hpp"
#include "capture/x11/reader.hpp"

namespace kvm::x11 {

class X11Source final : public FrameSource {
 public:
  explicit X11Source(std::shared_ptr<LogRing> log) : log_(std::move(log)) {}
  ~X11Source() override { close(); }

  [[nodiscard]] std::string description() const override;
  void open(const StreamConfig& config) override;
  [[nodiscard]] int width() const override { return area_.width; }
  [[nodiscard]] int height() const override { return area_.height; }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) override;
  void wake() override { wake_.set(); }
  void cancel() override;
  void close() override;

 private:
  [[nodiscard]] std::shared_ptr<Lifeline> new_line();
  void select_events();
  [[nodiscard]] bool has_damage_extension() const noexcept;
  void start_damage();
  void stop_damage();
  // After each capture: whether damage is worth its price.
  void weigh_damage(bool was_waiting, const TileMap& changed);
  [[nodiscard]] Rect choose();
  void drain_events();
  void handle(const xcb_generic_event_t& event);
  void note_damage(const Rect& rect);
  [[nodiscard]] std::optional<std::string> geometry_change();
  [[nodiscard]] SourceLost lost() const;
  void refresh_cursor();
  [[nodiscard]] std::optional<CursorUpdate> take_cursor_update();
  // Empty when nothing really changed or no buffer is free at this moment.
  [[nodiscard]] std::optional<SourceEvent> capture();
  [[nodiscard]] Rect cursor_rect() const noexcept;

  std::shared_ptr<LogRing> log_;
  WakeEvent wake_;
  std::mutex line_mutex_;
  std::shared_ptr<Lifeline> line_;  // of connection_; guarded by line_mutex_, as is cancelled_
  bool cancelled_ = false;
  StreamConfig config_;
  bool opened_before_ = false;
  // Members below live from open() to close(); the order is that of destruction reversed.
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<Cursor> cursor_;
  std::unique_ptr<Reader> reader_;
  std::uint32_t damage_id_ = 0;    // 0 = polling
  int crowded_ = 0;                // captures in a row that damage was waiting for
  std::int64_t next_poll_ns_ = 0;  // while polling; not before
  Rect area_;                      // in the root window
  TileMap pending_;                // damage not yet captured
  std::int64_t damaged_ns_ = 0;    // when the oldest of it was seen; 0 = none
  bool was_waiting_ = false;       // damage came before the time that the capture had to wait for
  bool geometry_dirty_ = false;
  Rect drawn_cursor_;  // where the newest picture has the cursor drawn in, in the picture
  bool cursor_moved_ = false;
  std::int64_t next_cursor_ns_ = 0;
};

}  // namespace kvm::x11
