#include "capture/dxgi/dxgi_source.hpp"

#include <algorithm>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "capture/dxgi/answer.hpp"
#include "convert/convert.hpp"

namespace kvm::dxgi {
namespace {

constexpr std::int64_t kOutputsEveryNs = 100 * kNsPerMs;
// A wait in DXGI cannot be ended from outside, and wake() must not take long.
constexpr std::int64_t kAcquireNs = 40 * kNsPerMs;
// After a time-out the next call would take the device's lock at once again, from under whoever
// draws.
constexpr std::int64_t kRestNs = 10 * kNsPerMs;
constexpr std::int64_t kRetryNs = 100 * kNsPerMs;
// A duplication that lasted this long is replaced at once. Others are after a pause that doubles
// up to kRetryNs: while a mode changes each new one may be lost with its first call.
constexpr std::int64_t kLastedNs = 500 * kNsPerMs;
constexpr std::int64_t kShortestPauseNs = 10 * kNsPerMs;
constexpr std::int64_t kGiveUpNs = 10 * kNsPerSec;
// An idle desktop presents nothing: then what a duplication begins with is the picture. Black is
// more likely no picture yet.
constexpr std::int64_t kIdleNs = 300 * kNsPerMs;
constexpr std::int64_t kIdleBlackNs = kNsPerSec;
constexpr std::int64_t kSettleEveryNs = 100 * kNsPerMs;  // it looks at every pixel
// From a duplication that is lost to the first picture of the next one; after that what was in the
// last one is shown from memory.
constexpr std::int64_t kTextureNs = kNsPerSec;
constexpr int kOpenAttempts = 3;
constexpr std::int64_t kOpenRetryNs = 30 * kNsPerMs;

// Of QueryPerformanceCounter, which now_ns() counts by as well.
std::int64_t counter_ns(const LARGE_INTEGER& counter) noexcept {
  LARGE_INTEGER frequency{};
  QueryPerformanceFrequency(&frequency);
  const std::int64_t whole = counter.QuadPart / frequency.QuadPart;
  const std::int64_t rest = counter.QuadPart % frequency.QuadPart;
  return whole * kNsPerSec + rest * kNsPerSec / frequency.QuadPart;
}

}  // namespace

std::string DxgiSource::description() const {
  return held_.output.hdr ? "dxgi (Desktop Duplication, HDR shown as SDR)"
                          : "dxgi (Desktop Duplication)";
}

ChosenArea DxgiSource::choose() const {
  ChosenArea chosen = choose_area(duplicator_->monitors(), config_.display, config_.region,
                                  memory_->streaming, "this desktop");
  chosen.area.x -= chosen.monitor.bounds.x;
  chosen.area.y -= chosen.monitor.bounds.y;
  return chosen;
}

void DxgiSource::open(const StreamConfig& config) {
  close();
  config_ = config;
  const ChosenArea chosen = choose();
  tell(chosen, *memory_, *log_, "capture.dxgi");
  monitor_ = chosen.monitor.id;
  monitor_bounds_ = chosen.monitor.bounds;
  area_ = chosen.area;
  HRESULT answer = attach();
  for (int attempt = 1; answer != S_OK && attempt < kOpenAttempts; ++attempt) {
    if (!passes(answer)) break;
    wake_.wait(-1, now_ns() + kOpenRetryNs);
    answer = attach();
  }
  if (answer != S_OK) {
    close();
    throw Error(ErrorKind::kCapture,
                "monitor " + monitor_ + " cannot be duplicated: " + describe_answer(answer));
  }
  begin_textures();
  if (!ring_) make_pool();
  picture_ = DesktopPicture(area_);
  damage_ = TileMap(area_.width, area_.height);
  memory_->streaming = true;
}

void DxgiSource::begin_textures() {
  refused_ = nullptr;
  if (!sharing_ || !suits_textures()) return;
  std::string why;
  ring_ = TextureRing::make(sharing_, held_.device, held_.context, area_.width, area_.height, why);
  if (ring_) {
    reader_.emplace(held_, true);
  } else {
    log_->add(LogLevel::kWarning, "capture.dxgi", "pictures take the way through memory: " + why);
  }
}

void DxgiSource::end_textures() {
  if (ring_->lost()) {
    log_->add(LogLevel::kWarning, "capture.dxgi",
              "pictures take the way through memory from now on: " + ring_->why_lost());
  }
  if (reader_ && !(reader_->leave_gpu() && picture_.catch_up(*reader_))) {
    has_picture_ = false;  // what is in memory is as old as the ring
    begin_anew(DXGI_ERROR_DEVICE_REMOVED);
  }
  ring_.reset();
  make_pool();
  damage_.set_all();
  note_damage(now_ns());
}

// Null while there is none that is whole and was presented.
ID3D11Texture2D* DxgiSource::texture_to_publish() {
  if (reader_ && !reader_->on_gpu()) {
    ring_->textures()->lose("the desktop's picture is not BGRA8");
  } else if (reader_ && !fresh_) {
    return reader_->texture();
  } else if (now_ns() - damaged_ns_ >= kTextureNs) {
    ring_->textures()->lose("the desktop gives no new picture, and the last one is in memory");
  }
  return nullptr;
}

void DxgiSource::close() {
  picture_ = {};
  detach();
  pool_.reset();
  ring_.reset();
  pointer_ = {};
  has_picture_ = pointer_news_ = secure_desktop_ = protected_told_ = false;
  next_check_ns_ = next_attach_ns_ = pause_ns_ = failing_since_ns_ = damaged_ns_ = 0;
}

HRESULT DxgiSource::attach() {
  detach();
  Duplicated found;
  const HRESULT answer = duplicator_->duplicate(monitor_, found);
  if (answer != S_OK) return answer;
  held_ = std::move(found);
  if (ring_ && (!suits_textures() || !ring_->is_on(held_.device)))
    ring_->textures()->lose("the desktop is shown by another device, or in another way");
  reader_.emplace(held_, ring_ != nullptr);
  fresh_ = true;
  attached_ns_ = now_ns();
  next_settle_ns_ = attached_ns_ + kIdleNs;
  return S_OK;
}

void DxgiSource::detach() {
  release_frame();
  // The last picture may have to stay for long. A device that is gone leaves it as it was.
  if (reader_ && !picture_.catch_up(*reader_) && ring_) has_picture_ = false;
  reader_.reset();
  held_ = {};
  fresh_ = fetched_ = false;
  rest_until_ns_ = 0;
}

void DxgiSource::begin_anew(HRESULT why) {
  detach();
  const std::int64_t now = now_ns();
  if (failing_since_ns_ == 0) failing_since_ns_ = now;
  failure_ = why;
  pause_ns_ =
      now - attached_ns_ >= kLastedNs ? 0 : std::clamp(2 * pause_ns_, kShortestPauseNs, kRetryNs);
  next_attach_ns_ = now + pause_ns_;
}

void DxgiSource::release_frame() {
  if (std::exchange(holds_frame_, false)) held_.duplication->ReleaseFrame();
}

SourceEvent DxgiSource::wait(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  for (bool looked = false;; looked = true) {
    const std::int64_t now = now_ns();
    if (ring_ && (ring_->lost() || refused_ == ring_->textures().get())) end_textures();
    if (auto event = check_outputs(now)) return std::move(*event);
    if (auto event = check_failing(now)) return std::move(*event);
    if (std::exchange(pointer_news_, false)) return pointer_.metadata(area_);
    if (wants_frame() && now >= not_before_ns) {
      if (auto frame = publish()) return std::move(*frame);
    }
    if (wake_.wait(-1, 0) || (looked && now >= deadline_ns)) return Timeout{};
    std::int64_t until = deadline_ns;
    if (wants_frame()) {
      // In time for it, or soon again where consumers hold every buffer.
      until = std::min(until, now < not_before_ns ? not_before_ns : now + kNsPerMs);
    }
    const std::int64_t next = !held_.duplication ? next_attach_ns_
                              : gathers_there()  ? std::max(rest_until_ns_, not_before_ns)
                                                 : rest_until_ns_;
    if (now < next) {
      if (wake_.wait(-1, std::min({until, next, next_check_ns_}))) return Timeout{};
    } else if (held_.duplication) {
      acquire(std::min(until, now + kAcquireNs));
    } else if (auto event = attach_again(now)) {
      return std::move(*event);
    }
  }
}

std::optional<SourceEvent> DxgiSource::check_outputs(std::int64_t now) {
  if (now < next_check_ns_) return std::nullopt;
  next_check_ns_ = now + kOutputsEveryNs;
  if (duplicator_->is_current()) return std::nullopt;
  ChosenArea chosen;
  try {
    chosen = choose();
  } catch (const Error&) {
    return std::nullopt;  // no output for a moment: a mode changes, or a session is switched
  }
  if (chosen.monitor.id == monitor_ && chosen.monitor.bounds == monitor_bounds_ &&
      chosen.area == area_)
    return std::nullopt;
  return GeometryChanged{"monitors are now " + describe({chosen.monitor})};
}

std::optional<SourceEvent> DxgiSource::check_failing(std::int64_t now) {
  if (failing_since_ns_ == 0 || now - failing_since_ns_ < kGiveUpNs) return std::nullopt;
  failing_since_ns_ = now;
  return SourceLost{"monitor " + monitor_ + " has given Desktop Duplication no picture for " +
                        std::to_string(kGiveUpNs / kNsPerSec) + " s: " + describe_answer(failure_),
                    true};
}

std::optional<SourceEvent> DxgiSource::attach_again(std::int64_t now) {
  next_attach_ns_ = now + kRetryNs;
  if (const HRESULT answer = attach(); answer != S_OK) {
    failed_to_attach(answer, now);
    return std::nullopt;
  }
  if (std::exchange(secure_desktop_, false))
    log_->add(LogLevel::kInfo, "capture.dxgi", "the user's desktop is back");
  const Rect& bounds = held_.output.monitor.bounds;
  if (bounds == monitor_bounds_) return std::nullopt;
  if (bounds.width == monitor_bounds_.width && bounds.height == monitor_bounds_.height) {
    monitor_bounds_ = bounds;  // only moved on the desktop
    return std::nullopt;
  }
  GeometryChanged changed{"monitors are now " + describe({held_.output.monitor})};
  detach();
  return changed;
}

void DxgiSource::failed_to_attach(HRESULT why, std::int64_t now) {
  failure_ = why;
  if (why != E_ACCESSDENIED) {
    if (failing_since_ns_ == 0) failing_since_ns_ = now;
    return;
  }
  failing_since_ns_ = 0;
  if (!std::exchange(secure_desktop_, true)) {
    log_->add(LogLevel::kWarning, "capture.dxgi",
              "Windows shows a secure desktop (lock screen or UAC prompt), which only the system "
              "may capture; the last picture stays until the user's own is back");
  }
}

void DxgiSource::acquire(std::int64_t until) {
  const std::int64_t left = until - now_ns();
  const auto milliseconds =
      static_cast<UINT>(std::max<std::int64_t>(0, (left + kNsPerMs - 1) / kNsPerMs));
  release_frame();
  DXGI_OUTDUPL_FRAME_INFO info{};
  ComPtr<IDXGIResource> resource;
  const HRESULT answer = held_.duplication->AcquireNextFrame(milliseconds, &info, resource.put());
  if (answer == DXGI_ERROR_WAIT_TIMEOUT) {
    if (milliseconds != 0) rest_until_ns_ = now_ns() + kRestNs;
    settle_for_old_picture();
    return;
  }
  if (answer != S_OK) {  // WAIT_ABANDONED looks like a success
    begin_anew(answer);
    return;
  }
  holds_frame_ = true;
  if (info.ProtectedContentMaskedOut && !std::exchange(protected_told_, true)) {
    log_->add(LogLevel::kWarning, "capture.dxgi",
              "Windows blacks out protected content (films under DRM, windows that refuse to be "
              "captured)");
  }
  take_pointer(info);
  if (const ComPtr<ID3D11Texture2D> surface = resource.as<ID3D11Texture2D>())
    take(info, surface.get());
  // Pointers that keep moving over an idle desktop leave no time-out.
  settle_for_old_picture();
}

void DxgiSource::take(const DXGI_OUTDUPL_FRAME_INFO& info, ID3D11Texture2D* surface) {
  bool right = true;
  if (fresh_ && info.LastPresentTime.QuadPart == 0) {
    const Rect all[] = {area_};
    right = fetched_ = reader_->fetch(surface, all);
  } else if (info.LastPresentTime.QuadPart != 0) {
    right = std::exchange(fresh_, false)
                ? picture_.replace(surface, *reader_, damage_)
                : picture_.apply(info, *held_.duplication, surface, *reader_, damage_);
    if (right) has_new_picture(counter_ns(info.LastPresentTime));
  }
  if (!right) begin_anew(DXGI_ERROR_ACCESS_LOST);
}

void DxgiSource::has_new_picture(std::int64_t when_ns) {
  has_picture_ = true;
  failing_since_ns_ = 0;
  if (damage_.any()) note_damage(when_ns);
}

void DxgiSource::settle_for_old_picture() {
  const std::int64_t now = now_ns();
  if (!fresh_ || !fetched_ || now < next_settle_ns_) return;
  next_settle_ns_ = now + kSettleEveryNs;
  const std::optional<bool> black = reader_->is_black(area_);
  if (black == std::optional(true) && (has_picture_ || now - attached_ns_ < kIdleBlackNs)) return;
  if (black && picture_.replace(nullptr, *reader_, damage_)) {
    fresh_ = false;
    has_new_picture(now);
  } else {
    begin_anew(DXGI_ERROR_ACCESS_LOST);
  }
}

void DxgiSource::take_pointer(const DXGI_OUTDUPL_FRAME_INFO& info) {
  const Rect before = pointer_.bounds();
  const bool was_visible = pointer_.metadata(area_).visible;
  if (!pointer_.update(info, *held_.duplication) || config_.cursor == CursorMode::kHidden) return;
  if (config_.cursor == CursorMode::kMetadata) {
    pointer_news_ = pointer_news_ || was_visible || pointer_.metadata(area_).visible;
    return;
  }
  damage_.add(in_area(before));
  damage_.add(in_area(pointer_.bounds()));
  if (damage_.any()) note_damage(counter_ns(info.LastMouseUpdateTime));
}

void DxgiSource::note_damage(std::int64_t when_ns) {
  if (damaged_ns_ != 0) return;
  // Nothing waits longer than that in Windows.
  const std::int64_t now = now_ns();
  damaged_ns_ = when_ns <= now && when_ns > now - kNsPerSec ? when_ns : now;
}

std::optional<Frame> DxgiSource::publish() {
  const std::int64_t damaged = damaged_ns_;
  std::optional<Frame> frame;
  if (!ring_) {
    frame = publish_in_memory();
  } else if (ID3D11Texture2D* const texture = texture_to_publish()) {
    frame = ring_->publish(*texture, area_.x, area_.y, damage_);
    if (frame) {
      damage_ = TileMap(area_.width, area_.height);
      damaged_ns_ = 0;
    }
  }
  if (!frame) return std::nullopt;
  frame->times.damaged = damaged;
  frame->times.captured = now_ns();
  return frame;
}

std::optional<Frame> DxgiSource::publish_in_memory() {
  FramePool::Buffer* buffer = pool_->free_buffer();
  if (buffer == nullptr) return std::nullopt;
  if (reader_ && !picture_.catch_up(*reader_)) {
    begin_anew(DXGI_ERROR_DEVICE_REMOVED);
    return std::nullopt;
  }
  TileMap wanted = buffer->stale;
  wanted.merge(damage_);
  const bool draws = config_.cursor == CursorMode::kEmbedded;
  if (draws) wanted.add(in_area(pointer_.bounds()));  // it is drawn once on what is below it
  copy_tiles(picture_.planes(), buffer->planes, wanted);
  if (draws) pointer_.draw(buffer->planes, area_);
  TileMap changed = std::exchange(damage_, TileMap(area_.width, area_.height));
  damaged_ns_ = 0;
  if (pool_->newest() == nullptr) {
    changed.set_all();
  } else {
    trim_equal_tiles(pool_->newest()->planes, buffer->planes, changed);
    if (!changed.any()) return std::nullopt;
  }
  return pool_->publish(*buffer, std::move(changed));
}

}  // namespace kvm::dxgi
