// Lets any thread end another thread's wait on file descriptors.
#pragma once

#include <cstdint>

namespace kvm {

// An eventfd; on Windows an event and a timer. set() is safe from any thread; everything else
// belongs to the waiting thread.
class WakeEvent {
 public:
  WakeEvent();
  ~WakeEvent();
  WakeEvent(const WakeEvent&) = delete;
  WakeEvent& operator=(const WakeEvent&) = delete;

  void set() noexcept;
  // Waits until set(), until `fd` (-1 = none, as always on Windows) is readable, or until
  // `deadline_ns` (CLOCK_MONOTONIC, INT64_MAX = for ever). True when set() was called; that call is
  // then used up.
  bool wait(int fd, std::int64_t deadline_ns) noexcept;

 private:
#if defined(_WIN32)
  void* event_;  // HANDLE
  void* timer_;
#else
  int event_fd_;
#endif
};

}  // namespace kvm
