// The capture thread's half of the pipeline.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/clock.hpp"
#include "base/thread_name.hpp"
#include "pipeline/pace.hpp"
#include "pipeline/pipeline.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();
// How long a picture that was asked for may take; without damage there is none to come.
constexpr std::int64_t kPictureWaitNs = 5 * kNsPerMs;
constexpr std::int64_t kReopenForNs =
    1 * kNsPerSec;  // a mode change or a server restart is over by then, or it is not
constexpr std::chrono::milliseconds kReopenPause{50};

}  // namespace

void Pipeline::capture_loop(std::promise<Outcome>& opened) {
  name_this_thread("kvm-capture");
  capture(opened);
  {
    const std::lock_guard lock(mutex_);
    capturing_ = false;
  }
  ending_.notify_all();
}

void Pipeline::capture(std::promise<Outcome>& opened) {
  std::shared_ptr<FrameSource> source;
  try {
    source = make_source_(config_);
    source->open(config_);
    const std::lock_guard lock(mutex_);
    source_ = source;
    mirror_source();
    width_ = source->width();
    height_ = source->height();
  } catch (...) {
    opened.set_value(current_error(ErrorKind::kCapture));
    return;
  }
  opened.set_value(std::nullopt);

  Pace pace;
  while (!stop_) {
    std::unique_ptr<Reconfigure> request;
    bool wanted = false;
    std::int64_t deadline = kForever;
    {
      const std::lock_guard lock(mutex_);
      request = std::move(reconfigure_);
      wanted = picture_wanted_ || any_credit_locked();
      // A source that does not keep to fps (the unthrottled pattern) waits for the encoder to take
      // its last picture.
      held_back_ = slot_ && !picture_wanted_ && now_ns() < slot_->published_ns + period_ns_;
      if (picture_wanted_) {
        deadline = now_ns() + kPictureWaitNs;
      } else if (held_back_) {
        wanted = false;
        deadline = slot_->published_ns + period_ns_;
      }
      source = source_;
    }
    if (request) {
      if (!reconfigure(*request)) break;
      continue;
    }
    // Without a consumer that has room nothing is read, but the source still takes its events off
    // the wire.
    SourceEvent event = Timeout{};
    try {
      event = source->wait(wanted ? pace.next_ns() : kForever, deadline);
    } catch (const Error& error) {
      event = SourceLost{error.what(), true};
    }
    if (std::holds_alternative<Timeout>(event) && now_ns() >= deadline) {
      // Nothing has changed: the picture that is there is the newest.
      const std::lock_guard lock(mutex_);
      if (slot_ || view_) picture_wanted_ = false;
      pictures_.notify_all();
      work_.notify_one();
    } else if (auto* frame = std::get_if<Frame>(&event)) {
      pace.captured(frame->times, period_ns_);
      publish(std::move(*frame));
    } else if (const auto* cursor = std::get_if<CursorUpdate>(&event)) {
      publish(*cursor);
    } else if (const auto* changed = std::get_if<GeometryChanged>(&event)) {
      if (!reopen(changed->reason)) break;
    } else if (const auto* gone = std::get_if<SourceLost>(&event)) {
      if (!gone->retryable || !reopen(gone->reason)) {
        fail(Error(ErrorKind::kCapture, gone->reason));
        break;
      }
    }
  }
  source->close();
}

void Pipeline::publish(Frame frame) {
  bool replaced = false;
  {
    const std::lock_guard lock(mutex_);
    if (slot_) {
      replaced = true;
      const bool same_size =
          slot_->frame.width == frame.width && slot_->frame.height == frame.height;
      if (same_size && slot_->epoch == epoch_) {
        frame.damage.merge(slot_->frame.damage);
        frame.times.damaged = std::min(frame.times.damaged, slot_->frame.times.damaged);
      }
    }
    slot_ = Captured{std::move(frame), epoch_, now_ns(), textures_};
    picture_wanted_ = false;
  }
  stats_.add_captured(replaced);
  work_.notify_one();
  pictures_.notify_all();
}

void Pipeline::mirror_source() {
  capture_name_ = source_->description();
  textures_ = source_->textures();
}

void Pipeline::publish(const CursorUpdate& cursor) {
  {
    const std::lock_guard lock(mutex_);
    cursor_ = CursorState{cursor_ ? cursor_->serial + 1 : 1, cursor};
  }
  cursors_.notify_all();
}

// Tries the new source before it lets go of the old one, or takes the old one back: a display that
// does not exist changes nothing.
bool Pipeline::reconfigure(Reconfigure& request) {
  std::shared_ptr<FrameSource> old;
  {
    const std::lock_guard lock(mutex_);
    old = source_;
  }
  const bool closed_first = old->exclusive();
  if (closed_first) old->close();
  try {
    std::shared_ptr<FrameSource> fresh = make_source_(request.config);
    fresh->open(request.config);
    {
      const std::lock_guard lock(mutex_);
      config_.display = request.config.display;
      config_.region = request.config.region;
      source_ = fresh;
      mirror_source();
      ++epoch_;
    }
    if (!closed_first) old->close();
    request.done.set_value(std::nullopt);
    return true;
  } catch (...) {
    // The old one gives its whole picture again, as a picture like any other.
    const Outcome failed = current_error(ErrorKind::kCapture);
    const bool goes_on = !closed_first || take_back(*old);
    request.done.set_value(failed);
    return goes_on;
  }
}

bool Pipeline::take_back(FrameSource& source) {
  StreamConfig config;
  {
    const std::lock_guard lock(mutex_);
    config = config_;
  }
  try {
    source.open(config);
    const std::lock_guard lock(mutex_);
    mirror_source();
    return true;
  } catch (const Error& error) {
    return reopen(error.what());
  }
}

bool Pipeline::reopen(const std::string& why) {
  log_->add(LogLevel::kInfo, "capture", "reopening: " + why);
  StreamConfig config;
  std::shared_ptr<FrameSource> source;
  {
    const std::lock_guard lock(mutex_);
    config = config_;
    source = source_;
  }
  const std::int64_t give_up = now_ns() + kReopenForNs;
  while (!stop_) {
    try {
      source->open(config);
      const std::lock_guard lock(mutex_);
      mirror_source();
      ++epoch_;
      return true;
    } catch (const Error& error) {
      if (now_ns() >= give_up) {
        fail(Error(ErrorKind::kCapture, why + "; it did not come back: " + error.what()));
        return false;
      }
    }
    std::unique_lock lock(mutex_);
    work_.wait_for(lock, kReopenPause, [this] { return stop_.load(); });
  }
  return false;
}

}  // namespace kvm
