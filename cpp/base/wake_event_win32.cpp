#include <algorithm>
#include <limits>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/wake_event.hpp"
#include "base/windows.hpp"

namespace kvm {
namespace {

// CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, which older SDKs do not name: 0.5 ms in place of 15.6 ms.
// Since Windows 10 1803.
constexpr DWORD kHighResolution = 0x2;

HANDLE make_timer() noexcept {
  HANDLE timer = CreateWaitableTimerExW(nullptr, nullptr, kHighResolution, TIMER_ALL_ACCESS);
  return timer != nullptr ? timer : CreateWaitableTimerExW(nullptr, nullptr, 0, TIMER_ALL_ACCESS);
}

}  // namespace

WakeEvent::WakeEvent()
    : event_(CreateEventW(nullptr, FALSE, FALSE, nullptr)), timer_(make_timer()) {
  if (event_ != nullptr && timer_ != nullptr) return;
  const std::string reason = last_error("an event and a timer cannot be made");
  if (event_ != nullptr) CloseHandle(event_);
  if (timer_ != nullptr) CloseHandle(timer_);
  throw Error(ErrorKind::kCapture, reason + "; close programs that hold many handles");
}

WakeEvent::~WakeEvent() {
  CloseHandle(timer_);
  CloseHandle(event_);
}

void WakeEvent::set() noexcept {
  SetEvent(event_);
}

bool WakeEvent::wait(int /*fd*/, std::int64_t deadline_ns) noexcept {
  if (deadline_ns == std::numeric_limits<std::int64_t>::max()) {
    return WaitForSingleObject(event_, INFINITE) == WAIT_OBJECT_0;
  }
  const std::int64_t left = deadline_ns - now_ns();
  if (left <= 0) return WaitForSingleObject(event_, 0) == WAIT_OBJECT_0;
  constexpr std::int64_t kTimerUnitNs = 100;
  LARGE_INTEGER due{};
  due.QuadPart = -std::max<std::int64_t>(1, left / kTimerUnitNs);  // negative: from now
  if (!SetWaitableTimer(timer_, &due, 0, nullptr, nullptr, FALSE)) {
    const auto left_ms = static_cast<DWORD>(std::min<std::int64_t>(left / kNsPerMs, 60'000));
    return WaitForSingleObject(event_, left_ms) == WAIT_OBJECT_0;
  }
  const HANDLE both[] = {event_, timer_};
  return WaitForMultipleObjects(2, both, FALSE, INFINITE) == WAIT_OBJECT_0;
}

}  // namespace kvm
