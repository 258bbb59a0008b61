#include "capture/dxgi/fallback_source.hpp"

#include <algorithm>
#include <utility>

#include "base/error.hpp"
#include "base/windows.hpp"

namespace kvm::dxgi {
namespace {

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
  if (on_second_) {
    second_->open(config_);
    next_try_ns_ = now_ns() + retry_ns_;
  }
  keeps_awake_ = true;
  begin_awake();
}

void FallbackSource::close() {
  first_->close();
  second_->close();
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
  log_->add(LogLevel::kInfo, "capture",
            to_second ? "the screen is read by GDI, which costs more: " + why : why);
}

bool FallbackSource::first_works_again() {
  try {
    first_->open(config_);
  } catch (const Error& error) {
    why_ = error.what();
    return false;
  }
  first_->close();  // the one that calls opens it again, in its turn
  return true;
}

SourceEvent FallbackSource::wait(std::int64_t not_before_ns, std::int64_t deadline_ns) {
  if (!on_second_) {
    SourceEvent event = first_->wait(not_before_ns, deadline_ns);
    const auto* lost = std::get_if<SourceLost>(&event);
    if (lost == nullptr) return event;
    switch_over(true, lost->reason);
    return GeometryChanged{"the way to read the screen changes"};
  }
  for (;;) {
    if (now_ns() >= next_try_ns_) {
      next_try_ns_ = now_ns() + retry_ns_;
      if (first_works_again()) {
        switch_over(false, "Desktop Duplication works again");
        return GeometryChanged{"the way to read the screen changes"};
      }
    }
    SourceEvent event = second_->wait(not_before_ns, std::min(deadline_ns, next_try_ns_));
    const std::int64_t now = now_ns();
    if (woken_.exchange(false) || !std::holds_alternative<Timeout>(event) || now < next_try_ns_ ||
        now >= deadline_ns)
      return event;
  }
}

}  // namespace kvm::dxgi
