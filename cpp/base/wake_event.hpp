// Lets any thread end another thread's wait on file descriptors.
#pragma once

#include <cstdint>

namespace kvm {

// An eventfd. set() is safe from any thread; everything else belongs to the waiting thread.
class WakeEvent {
 public:
  WakeEvent();
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;

  void set() noexcept;
  // Waits until set(), until `fd` (-1 = none) is readable, or until `deadline_ns` (CLOCK_MONOTONIC,
  // INT64_MAX = for ever). True when set() was called; that call is then used up.
  bool wait(int fd, std::int64_t deadline_ns) noexcept;

 private:
  int event_fd_;
};

}  // namespace kvm
