// xcb waits for a reply without limit, and a stopped X server never sends one. Whoever holds the
// connection's lifeline can end such a wait.
#pragma once

#include <xcb/xcb.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "base/time_limit.hpp"

namespace kvm::x11 {

// Any thread.
class Lifeline {
 public:
  Lifeline() = default;
  ~Lifeline();
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  // The connection's socket, which stays the caller's. Throws Error{kCapture} when no descriptor is
  // left.
  void hold(int fd);
  // From now on the connection gets no reply, and what waits for one returns.
  void cut() noexcept;
  [[nodiscard]] bool is_cut() const noexcept { return cut_; }

 private:
  std::mutex mutex_;
  int fd_ = -1;  // a duplicate: xcb may close its own at any time
  std::atomic<bool> cut_{false};
};

// xcb_connect() on a socket that the lifeline holds before the server has greeted.
[[nodiscard]] xcb_connection_t* connect(const std::string& server, int* screen, Lifeline& line);

// Cuts the line unless its scope ends within what opening a connection may take.
[[nodiscard]] inline TimeLimit limit_opening(std::shared_ptr<Lifeline> line) {
  constexpr std::int64_t kPatienceNs = 4'000'000'000;
  return {kPatienceNs, [line = std::move(line)] { line->cut(); }};
}

}  // namespace kvm::x11
