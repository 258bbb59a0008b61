#include "capture/dxgi/fallback_source.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.hpp"
#include "base/windows.hpp"

namespace kvm::dxgi {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kTrialEveryNs = 10 * kNsPerMs;
// In times of Patience::retry_ns: a return that lasts a minute was one, and eleven minutes are the
// longest pause for one that does not.
constexpr std::int64_t kLasts = 12;
constexpr std::int64_t kLongestPause = 128;

// A screen that goes to sleep shows nothing to whoever watches it. Windows keeps this per thread,
// and a stream that is reconfigured has its new source open before it closes the old one.
thread_local int keep_awake = 0;
thread_local EXECUTION_STATE state_before = 0;

void begin_awake() {
  if (keep_awake++ == 0)
    state_before = SetThreadExecutionState(ES_CONTINUOUS | ES_DISPLAY_REQUIRED);
}

void end_awake() {
  // Nothing was begun by another thread that destroys a source; its own state ended with it.
  if (keep_awake > 0 && --keep_awake == 0 && state_before != 0)
    SetThreadExecutionState(state_before);
}

}  // namespace

std::string FallbackSource::description() const {
  return on_second_ ? second_->description() + "; " + why_ : first_->description();
}

void FallbackSource::open(const StreamConfig& config) {
  close();
  config_ = config;
  if (!on_second_ && !open_first()) switch_over(true, why_);
  if (on_second_) second_->open(config_);
  next_try_ns_ = now_ns() + pause_ns_;
  shown_ = false;
  picture_due_ns_ = kForever;
  keeps_awake_ = true;
  begin_awake();
}

void FallbackSource::close() {
  first_->close();
  second_->close();
  trying_ = false;
  if (std::exchange(keeps_awake_, false)) end_awake();
}

bool FallbackSource::open_first() {
  for (int failures = 0;;) {
    try {
      first_->open(config_);
      return true;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kCapture) throw;
      why_ = error.what();
      if (++failures == kFailures) return false;
    }
  }
}

void FallbackSource::switch_over(bool to_second, const std::string& why) {
  on_second_ = to_second;
  why_ = why;
  const std::int64_t now = now_ns();
  if (to_second) {
    // With one that works by turns every turn costs a keyframe, and maybe seconds without a
    // picture.
    const bool lasted = now - returned_ns_ >= kLasts * patience_.retry_ns;
    pause_ns_ = lasted ? patience_.retry_ns : longer_pause();
  } else {
    returned_ns_ = now;
  }
  log_->add(LogLevel::kInfo, "capture",
            to_second ? "the screen is read by GDI, which costs more: " + why : why);
}

std::int64_t FallbackSource::longer_pause() const noexcept {
  return std::min(2 * pause_ns_, kLongestPause * patience_.retry_ns);
}

std::string FallbackSource::no_picture() const {
  return "Desktop Duplication opens, but gives no picture within " +
         std::to_string(patience_.picture_ns / kNsPerMs) + " ms";
}

SourceEvent FallbackSource::wait(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  return on_second_ ? wait_on_second(not_before_ns, deadline_ns)
                    : wait_on_first(not_before_ns, deadline_ns);
}

SourceEvent FallbackSource::wait_on_first(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  for (;;) {
    const std::int64_t now = now_ns();
    if (shown_) {
      picture_due_ns_ = kForever;
    } else if (not_before_ns <= now) {
      picture_due_ns_ = std::min(picture_due_ns_, now + patience_.picture_ns);
    } else {  // none is wanted yet
      picture_due_ns_ = not_before_ns < kForever - patience_.picture_ns
                            ? not_before_ns + patience_.picture_ns
                            : kForever;
    }
    if (now >= picture_due_ns_) return give_up_first(no_picture());
    SourceEvent event = first_->wait(not_before_ns, std::min(deadline_ns, picture_due_ns_));
    if (const auto* lost = std::get_if<SourceLost>(&event)) return give_up_first(lost->reason);
    shown_ = shown_ || std::holds_alternative<Frame>(event);
    const std::int64_t then = now_ns();
    if (!std::holds_alternative<Timeout>(event) || then < picture_due_ns_ || then >= deadline_ns)
      return event;
  }
}

SourceEvent FallbackSource::give_up_first(const std::string& why) {
  switch_over(true, why);
  return GeometryChanged{"the way to read the screen changes"};
}

void FallbackSource::begin_trial() {
  try {
    first_->open(config_);
    trying_ = true;
    trial_ends_ns_ = now_ns() + patience_.picture_ns;
  } catch (const Error& error) {
    end_trial(error.what());
  }
}

void FallbackSource::end_trial(const std::string& why) {
  first_->close();
  trying_ = false;
  why_ = why;
  next_try_ns_ = now_ns() + pause_ns_;
}

bool FallbackSource::trial_succeeds() {
  const SourceEvent event = first_->wait(0, now_ns());
  if (std::holds_alternative<Frame>(event)) {
    end_trial("");  // the one that calls opens it again, in its turn
    return true;
  }
  const auto* lost = std::get_if<SourceLost>(&event);
  const auto* changed = std::get_if<GeometryChanged>(&event);
  if (lost == nullptr && changed == nullptr && now_ns() < trial_ends_ns_) return false;
  pause_ns_ = longer_pause();
  end_trial(lost != nullptr ? lost->reason : changed != nullptr ? changed->reason : no_picture());
  return false;
}

SourceEvent FallbackSource::wait_on_second(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  for (;;) {
    if (!trying_ && now_ns() >= next_try_ns_) begin_trial();
    if (trying_ && trial_succeeds()) {
      switch_over(false, "Desktop Duplication works again");
      return GeometryChanged{"the way to read the screen changes"};
    }
    const std::int64_t next = trying_ ? now_ns() + kTrialEveryNs : next_try_ns_;
    SourceEvent event = second_->wait(not_before_ns, std::min(deadline_ns, next));
    const std::int64_t now = now_ns();
    if (woken_.exchange(false) || !std::holds_alternative<Timeout>(event) || now < next ||
        now >= deadline_ns)
      return event;
  }
}

}  // namespace kvm::dxgi
