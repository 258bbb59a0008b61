// Does something unless its scope has ended in time: for calls of other libraries that know no
// time-out.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace kvm {

// `expired` runs on a thread of its own and must not throw; the destructor waits for it.
class TimeLimit {
 public:
  TimeLimit(std::int64_t limit_ns, std::function<void()> expired)
      : thread_([this, limit_ns, expired = std::move(expired)] {
          std::unique_lock lock(mutex_);
          if (!over_.wait_for(lock, std::chrono::nanoseconds(limit_ns), [this] { return done_; })) {
            expired();
          }
        }) {}
  ~TimeLimit() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    over_.notify_one();
    thread_.join();
  }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace kvm
