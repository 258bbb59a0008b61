#include "capture/x11/x11_source.hpp"

#include <xcb/damage.h>
#include <xcb/randr.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "capture/choose_area.hpp"
#include "capture/x11/monitors.hpp"

namespace kvm::x11 {
namespace {

// After the first change of a burst: programs draw a line in several requests, and half of it is
// not worth a frame.
constexpr std::int64_t kSettleNs = 1 * kNsPerMs;
// The socket is emptied at least this often, or the server would have to buffer the events for us.
constexpr std::int64_t kDrainNs = 50 * kNsPerMs;
constexpr std::int64_t kCursorIntervalNs = 8 * kNsPerMs;
constexpr std::int64_t kNoBufferRetryNs = 1 * kNsPerMs;
// Where programs draw all over the screen for every frame, damage says nothing new and costs the
// server a few per cent of a core: after so many such captures in a row it rests, and the screen is
// read at every frame's time until less changes.
constexpr int kCrowded = 30;
constexpr std::size_t kCrowdedShare = 4;  // one tile in so many changed

}  // namespace

std::string X11Source::description() const {
  if (!reader_) return "x11";
  const char* how = damage_id_ != 0          ? "XDamage"
                    : has_damage_extension() ? "XDamage, resting while everything changes"
                                             : "polling: no DAMAGE extension";
  return std::string("x11 (") + how + ", " + reader_->transport() + ")";
}

void X11Source::open(const StreamConfig& config) {
  close();
  config_ = config;
  const DisplayName display = parse_display(config.display);
  const std::shared_ptr<Lifeline> line = new_line();
  const TimeLimit limit = limit_opening(line);
  auto connection = std::make_unique<Connection>(display.server, line);
  if (const std::string reason = connection->why_unreadable(); !reason.empty()) {
    throw Error(ErrorKind::kCapture, reason);
  }
  connection_ = std::move(connection);
  try {
    select_events();
    area_ = choose();
    reader_ = std::make_unique<Reader>(*connection_, area_);
    if (config_.cursor != CursorMode::kHidden) cursor_ = std::make_unique<Cursor>(*connection_);
    start_damage();
    connection_->require();
  } catch (...) {
    close();
    throw;
  }
  pending_ = TileMap(area_.width, area_.height);
  pending_.set_all();
  damaged_ns_ = now_ns();
  opened_before_ = true;
}

std::shared_ptr<Lifeline> X11Source::new_line() {
  auto line = std::make_shared<Lifeline>();
  const std::lock_guard lock(line_mutex_);
  line_ = line;
  if (cancelled_) line->cut();
  return line;
}

void X11Source::cancel() {
  {
    const std::lock_guard lock(line_mutex_);
    cancelled_ = true;
    if (line_) line_->cut();
  }
  wake();
}

void X11Source::close() {
  stop_damage();
  next_poll_ns_ = 0;
  cursor_.reset();
  reader_.reset();
  connection_.reset();
  drawn_cursor_ = {};
  cursor_moved_ = false;
  geometry_dirty_ = false;
  next_cursor_ns_ = 0;
}

void X11Source::select_events() {
  xcb_connection_t* c = connection_->get();
  // ConfigureNotify on the root tells of size changes even where RandR is missing, and of
  // set-monitor.
  const std::uint32_t mask = XCB_EVENT_MASK_STRUCTURE_NOTIFY;
  xcb_change_window_attributes(c, connection_->root(), XCB_CW_EVENT_MASK, &mask);
  if (connection_->extensions().randr_event != 0) {
    xcb_randr_select_input(c, connection_->root(),
                           XCB_RANDR_NOTIFY_MASK_SCREEN_CHANGE | XCB_RANDR_NOTIFY_MASK_CRTC_CHANGE |
                               XCB_RANDR_NOTIFY_MASK_OUTPUT_CHANGE |
                               XCB_RANDR_NOTIFY_MASK_RESOURCE_CHANGE);
  }
}

bool X11Source::has_damage_extension() const noexcept {
  return connection_->extensions().damage_event != 0;
}

void X11Source::stop_damage() {
  if (connection_ && damage_id_ != 0 && !connection_->broken()) {
    xcb_damage_destroy(connection_->get(), damage_id_);
  }
  damage_id_ = 0;
  crowded_ = 0;
}

void X11Source::weigh_damage(bool was_waiting, const TileMap& changed) {
  const auto tiles =
      static_cast<std::size_t>(changed.cols()) * static_cast<std::size_t>(changed.rows());
  const bool much = changed.count() * kCrowdedShare >= tiles;
  if (damage_id_ != 0) {
    crowded_ = was_waiting && much ? crowded_ + 1 : 0;
    if (crowded_ >= kCrowded) stop_damage();
  } else if (has_damage_extension() && !much) {
    start_damage();
    // What changed before it started is found by one more look.
    pending_.set_all();
    damaged_ns_ = now_ns();
  }
}

void X11Source::start_damage() {
  if (!has_damage_extension()) {
    log_->add(LogLevel::kWarning, "capture.x11",
              "the X server has no DAMAGE extension: the whole screen is read and compared for "
              "every frame");
    return;
  }
  xcb_connection_t* c = connection_->get();
  damage_id_ = xcb_generate_id(c);
  Reply<xcb_generic_error_t> error(
      xcb_request_check(c, xcb_damage_create_checked(c, damage_id_, connection_->root(),
                                                     XCB_DAMAGE_REPORT_LEVEL_RAW_RECTANGLES)));
  if (error) damage_id_ = 0;
}

Rect X11Source::choose() {
  const std::string wanted = parse_display(config_.display).monitor;
  const ChosenArea chosen = choose_area(list_monitors(*connection_), wanted, config_.region,
                                        opened_before_, "X server " + connection_->server());
  if (!chosen.notice.empty()) log_->add(LogLevel::kWarning, "capture.x11", chosen.notice);
  return chosen.area;
}

void X11Source::note_damage(const Rect& rect) {
  const Rect inside = intersect({rect.x - area_.x, rect.y - area_.y, rect.width, rect.height},
                                {0, 0, area_.width, area_.height});
  if (inside.empty()) return;
  pending_.add(inside);
  if (damaged_ns_ == 0) damaged_ns_ = now_ns();
}

void X11Source::handle(const xcb_generic_event_t& event) {
  const auto type = static_cast<std::uint8_t>(event.response_type & 0x7f);
  const Extensions& extensions = connection_->extensions();
  if (damage_id_ != 0 && type == extensions.damage_event + XCB_DAMAGE_NOTIFY) {
    const auto& notify = reinterpret_cast<const xcb_damage_notify_event_t&>(event);
    note_damage({notify.area.x, notify.area.y, notify.area.width, notify.area.height});
    return;
  }
  if (cursor_ && cursor_->handle(event)) return;
  if (type == XCB_CONFIGURE_NOTIFY ||
      (extensions.randr_event != 0 &&
       (type == extensions.randr_event || type == extensions.randr_event + XCB_RANDR_NOTIFY))) {
    geometry_dirty_ = true;
  }
}

void X11Source::drain_events() {
  while (Reply<xcb_generic_event_t> event{xcb_poll_for_event(connection_->get())}) handle(*event);
}

std::optional<std::string> X11Source::geometry_change() {
  if (!geometry_dirty_) return std::nullopt;
  geometry_dirty_ = false;
  const std::vector<DisplayInfo> monitors = list_monitors(*connection_);
  const Rect now = choose();
  if (now == area_) return std::nullopt;
  return "monitors are now " + describe(monitors);
}

SourceLost X11Source::lost() const {
  return {connection_->why_lost(), true};
}

Rect X11Source::cursor_rect() const noexcept {
  if (!cursor_ || config_.cursor != CursorMode::kEmbedded) return {};
  const Rect rect = intersect(cursor_->root_rect(), area_);
  if (rect.empty()) return {};
  return {rect.x - area_.x, rect.y - area_.y, rect.width, rect.height};
}

void X11Source::refresh_cursor() {
  if (!cursor_) return;
  const std::int64_t now = now_ns();
  if (now < next_cursor_ns_ || !cursor_->due(now)) return;
  next_cursor_ns_ = now + kCursorIntervalNs;
  if (!cursor_->refresh(now)) return;
  cursor_moved_ = true;
  if (config_.cursor == CursorMode::kEmbedded) {
    const Rect after = cursor_rect();
    if (after.empty() && drawn_cursor_.empty()) return;
    pending_.add(after);
    pending_.add(drawn_cursor_);
    if (damaged_ns_ == 0) damaged_ns_ = now;
  }
}

std::optional<CursorUpdate> X11Source::take_cursor_update() {
  if (!cursor_moved_ || config_.cursor != CursorMode::kMetadata) return std::nullopt;
  cursor_moved_ = false;
  CursorUpdate update;
  update.x = cursor_->x() - area_.x;
  update.y = cursor_->y() - area_.y;
  update.shape = cursor_->shape();
  update.visible = update.shape != nullptr && !intersect(cursor_->root_rect(), area_).empty();
  return update;
}

SourceEvent X11Source::wait(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  std::int64_t retry_ns = 0;
  while (true) {
    drain_events();
    if (connection_->broken()) return lost();
    if (const auto change = geometry_change()) return GeometryChanged{*change};
    refresh_cursor();
    if (auto update = take_cursor_update()) return *std::move(update);

    const std::int64_t now = now_ns();
    if (damage_id_ == 0 && damaged_ns_ == 0 && now >= std::max(not_before_ns, next_poll_ns_)) {
      pending_.set_all();
      damaged_ns_ = now;
      next_poll_ns_ = now + static_cast<std::int64_t>(1e9 / config_.fps);
    }
    std::int64_t sleep_until = deadline_ns;
    bool watch_server = true;
    if (damaged_ns_ != 0) {
      const std::int64_t settle_ns = damage_id_ != 0 ? kSettleNs : 0;
      const std::int64_t ready = std::max({not_before_ns, damaged_ns_ + settle_ns, retry_ns});
      if (now >= ready) {
        was_waiting_ = damaged_ns_ + kSettleNs < not_before_ns;
        if (auto event = capture()) return *std::move(event);
        retry_ns = damaged_ns_ != 0 ? now + kNoBufferRetryNs : 0;
        continue;
      }
      // More damage before `ready` changes nothing, so it may wait in the socket: one wake-up for
      // the whole burst.
      sleep_until = std::min({sleep_until, ready, now + kDrainNs});
      watch_server = false;
    } else if (damage_id_ == 0) {
      sleep_until = std::min(sleep_until, std::max(not_before_ns, next_poll_ns_));
    }
    if (now >= deadline_ns) return Timeout{};
    if (cursor_) {
      sleep_until =
          std::min(sleep_until,
                   std::max(next_cursor_ns_, cursor_->due(now) ? now : cursor_->next_poll_ns()));
    }
    xcb_flush(connection_->get());
    const int fd = watch_server ? xcb_get_file_descriptor(connection_->get()) : -1;
    if (wake_.wait(fd, sleep_until)) return Timeout{};
  }
}

std::optional<SourceEvent> X11Source::capture() {
  FramePool& pool = reader_->pool();
  FramePool::Buffer* buffer = pool.free_buffer();
  if (buffer == nullptr) return std::nullopt;

  // The cursor is blended into what was read, so its tiles are read whole or not at all.
  TileMap tiles = pending_;
  const Rect cursor = cursor_rect();
  reader_->widen(tiles);
  if (!cursor.empty() && tiles.intersects(cursor)) {
    tiles.add(cursor);
    reader_->widen(tiles);
  }
  const bool has_cursor = !cursor.empty() && tiles.intersects(cursor);
  Reader::Decorate draw_cursor;
  if (has_cursor) {
    draw_cursor = [this](const CpuPlanes& planes, const Rect& rect) {
      cursor_->draw(planes, {area_.x + rect.x, area_.y + rect.y, rect.width, rect.height});
    };
  }
  std::optional<TileMap> changed = reader_->read(tiles, pool.newest(), *buffer, draw_cursor);
  if (!changed) {
    if (connection_->broken()) return lost();
    return SourceEvent{
        GeometryChanged{"the X server refused to read the screen (its size is changing)"}};
  }
  const std::int64_t captured = now_ns();
  const std::int64_t damaged = damaged_ns_;
  pending_.clear();
  damaged_ns_ = 0;
  if (has_cursor || tiles.intersects(drawn_cursor_)) drawn_cursor_ = has_cursor ? cursor : Rect{};
  weigh_damage(was_waiting_, *changed);
  if (!changed->any()) return std::nullopt;
  next_poll_ns_ = 0;  // not_before_ns sets the pace
  Frame frame = pool.publish(*buffer, *std::move(changed));
  frame.times.damaged = damaged;
  frame.times.captured = captured;
  return SourceEvent{std::move(frame)};
}

}  // namespace kvm::x11
