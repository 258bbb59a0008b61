#include "capture/gdi/gdi_source.hpp"

#include <algorithm>
#include <limits>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "capture/gdi/monitors.hpp"
#include "convert/convert.hpp"

namespace kvm::gdi {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMonitorsEveryNs = 100 * kNsPerMs;
constexpr std::int64_t kCursorEveryNs = 8 * kNsPerMs;
constexpr std::int64_t kUnreadableRetryNs = 100 * kNsPerMs;

std::shared_ptr<Canvas> make_canvas(int width, int height) {
  const BITMAPINFO info = bgra_rows(width, height * static_cast<int>(FramePool::kBuffers));
  auto canvas = std::make_shared<Canvas>();
  void* pixels = nullptr;
  canvas->bitmap.reset(CreateDIBSection(nullptr, &info, DIB_RGB_COLORS, &pixels, nullptr, 0));
  canvas->dc.reset(CreateCompatibleDC(nullptr));
  if (!canvas->bitmap || !canvas->dc || pixels == nullptr ||
      SelectObject(canvas->dc.get(), canvas->bitmap.get()) == nullptr) {
    throw Error(ErrorKind::kCapture, last_error("no bitmap for the screen's pictures") + " (" +
                                         std::to_string(width) + "x" + std::to_string(height) +
                                         "); close programs that hold many windows");
  }
  canvas->pixels = static_cast<std::uint8_t*>(pixels);
  return canvas;
}

}  // namespace

void GdiSource::open(const StreamConfig& config) {
  close();
  config_ = config;
  const DpiAware aware;
  try {
    area_ = choose();
    canvas_ = make_canvas(area_.width, area_.height);
  } catch (...) {
    close();
    throw;
  }
  pool_.emplace(area_.width, area_.height, canvas_->pixels, canvas_);
  if (config_.cursor != CursorMode::kHidden) cursor_.emplace();
  period_ns_ = static_cast<std::int64_t>(1e9 / config_.fps);
  memory_->streaming = true;
}

void GdiSource::close() {
  cursor_.reset();
  pool_.reset();
  canvas_.reset();
  next_look_ns_ = next_check_ns_ = next_cursor_ns_ = 0;
  unreadable_ = false;
}

Rect GdiSource::choose() {
  const ChosenArea chosen = choose_area(list_displays(""), config_.display, config_.region,
                                        memory_->streaming, "this desktop");
  tell(chosen, *memory_, *log_, "capture.gdi");
  return chosen.area;
}

std::optional<std::string> GdiSource::geometry_change() {
  const std::vector<DisplayInfo> monitors = list_monitors();
  // None for a moment while a mode changes or a session is switched.
  if (monitors.empty()) return std::nullopt;
  if (choose_area(monitors, config_.display, config_.region, true, "").area == area_)
    return std::nullopt;
  return "monitors are now " + describe(monitors);
}

std::optional<CursorUpdate> GdiSource::cursor_change() {
  if (!cursor_->refresh()) return std::nullopt;
  CursorUpdate update;
  update.x = cursor_->x() - area_.x;
  update.y = cursor_->y() - area_.y;
  update.visible = cursor_->visible();
  update.shape = cursor_->shape();
  return update;
}

SourceEvent GdiSource::wait(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  const DpiAware aware;
  const bool tells_cursor = config_.cursor == CursorMode::kMetadata;
  for (;;) {
    std::int64_t now = now_ns();
    if (now >= next_check_ns_) {
      next_check_ns_ = now + kMonitorsEveryNs;
      if (auto reason = geometry_change()) return GeometryChanged{std::move(*reason)};
    }
    if (tells_cursor && now >= next_cursor_ns_) {
      next_cursor_ns_ = now + kCursorEveryNs;
      if (auto update = cursor_change()) return std::move(*update);
    }
    const std::int64_t look = std::max(not_before_ns, next_look_ns_);
    if (now >= look) {
      next_look_ns_ = now + period_ns_;
      if (auto frame = capture()) return std::move(*frame);
      now = now_ns();
    }
    const std::int64_t next = std::min({std::max(not_before_ns, next_look_ns_), next_check_ns_,
                                        tells_cursor ? next_cursor_ns_ : kForever, deadline_ns});
    if (wake_.wait(-1, next) || now_ns() >= deadline_ns) return Timeout{};
  }
}

bool GdiSource::read_screen(std::size_t index) {
  const HDC to = canvas_->dc.get();
  const int top = static_cast<int>(index) * area_.height;
  // Another one each time: that of a desktop that was switched away from stays dead.
  const ScreenDc screen(GetDC(nullptr));
  const bool read = screen && BitBlt(to, 0, top, area_.width, area_.height, screen.get(), area_.x,
                                     area_.y, SRCCOPY);
  if (!read) return false;
  if (config_.cursor == CursorMode::kEmbedded) {
    cursor_->refresh();
    const int saved = SaveDC(to);
    IntersectClipRect(to, 0, top, area_.width, top + area_.height);
    cursor_->draw(to, area_, top);
    RestoreDC(to, saved);
  }
  GdiFlush();  // GDI queues; the pixels are read without it
  return true;
}

std::optional<Frame> GdiSource::capture() {
  FramePool::Buffer* buffer = pool_->free_buffer();
  if (buffer == nullptr) {
    next_look_ns_ = now_ns() + kNsPerMs;
    return std::nullopt;
  }
  const std::int64_t looked = now_ns();
  const std::ptrdiff_t picture = buffer->planes.stride[0] * area_.height;
  const auto index = static_cast<std::size_t>((buffer->planes.data[0] - canvas_->pixels) / picture);
  if (!read_screen(index)) {
    next_look_ns_ = now_ns() + kUnreadableRetryNs;
    if (!unreadable_) {
      log_->add(LogLevel::kWarning, "capture.gdi",
                last_error("the screen cannot be read") +
                    "; the last picture stays until it can (lock screen and UAC prompts have a "
                    "desktop of their own)");
    }
    unreadable_ = true;
    return std::nullopt;
  }
  unreadable_ = false;
  TileMap changed(area_.width, area_.height);
  changed.set_all();
  if (pool_->newest() != nullptr) {
    trim_equal_tiles(pool_->newest()->planes, buffer->planes, changed);
    if (!changed.any()) return std::nullopt;
  }
  Frame frame = pool_->publish(*buffer, std::move(changed));
  frame.times.damaged = looked;
  frame.times.captured = now_ns();
  return frame;
}

}  // namespace kvm::gdi
