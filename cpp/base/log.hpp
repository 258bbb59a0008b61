// Log lines of the native core. No native thread ever calls Python: lines wait in a bounded ring
// that the Python side drains into logging.getLogger("kvmstream.native").
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace kvm {

enum class LogLevel { kDebug = 10, kInfo = 20, kWarning = 30, kError = 40 };  // Python's numbers

struct LogLine {
  LogLevel level;
  std::string component;  // "capture.x11", "encode.ladder", …
  std::string message;
};

// Bounded; when full the oldest line goes and `dropped` counts it. Safe from any thread.
class LogRing {
 public:
  explicit LogRing(std::size_t capacity = 256) : capacity_(capacity) {}

  void add(LogLevel level, std::string_view component, std::string message) {
    const std::lock_guard lock(mutex_);
    if (lines_.size() == capacity_) {
      lines_.pop_front();
      ++dropped_;
    }
    lines_.push_back({level, std::string(component), std::move(message)});
  }

  [[nodiscard]] std::vector<LogLine> drain() {
    const std::lock_guard lock(mutex_);
    std::vector<LogLine> out(std::make_move_iterator(lines_.begin()),
                             std::make_move_iterator(lines_.end()));
    lines_.clear();
    return out;
  }

  [[nodiscard]] std::size_t dropped() const {
    const std::lock_guard lock(mutex_);
    return dropped_;
  }

 private:
  mutable std::mutex mutex_;
  std::deque<LogLine> lines_;
  std::size_t capacity_;
  std::size_t dropped_ = 0;
};

}  // namespace kvm
