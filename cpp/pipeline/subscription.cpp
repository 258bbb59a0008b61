#include "pipeline/subscription.hpp"

#include <algorithm>
#include <chrono>

#include "base/clock.hpp"

namespace kvm {

PacketPtr Subscription::next(std::int64_t timeout_ns) {
  PacketPtr packet;
  bool made_room = false;
  {
    std::unique_lock lock(mutex_);
    if (asleep_) {
      asleep_ = false;
      lock.unlock();
      demand_->raise();
      lock.lock();
    }
    const auto ready = [this] { return !queue_.empty() || closed_ || ended_; };
    if (timeout_ns < 0) {
      arrived_.wait(lock, ready);
    } else {
      arrived_.wait_until(
          lock, std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns), ready);
    }
    if (closed_) throw Error(ErrorKind::kClosed, "this subscription is closed");
    if (queue_.empty()) {
      if (!ended_) return nullptr;
      if (error_) throw Error(*error_);
      throw Error(ErrorKind::kClosed, "the stream has ended");
    }
    made_room = queue_.size() == capacity_;
    packet = std::move(queue_.front());
    queue_.pop_front();
  }
  if (made_room) demand_->raise();
  return packet;
}

void Subscription::close() {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    queue_.clear();
  }
  arrived_.notify_all();
  demand_->raise();
}

QueueState Subscription::state() const {
  const std::lock_guard lock(mutex_);
  QueueState state{queue_.size(), capacity_, dropped_, 0};
  if (!queue_.empty())
    state.oldest_ns = std::max<std::int64_t>(0, now_ns() - queue_.front()->times.encoded);
  return state;
}

void Subscription::offer(const PacketPtr& packet) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || ended_ || asleep_) return;
    if (needs_keyframe_ && !packet->keyframe) return;
    if (queue_.size() == capacity_) {
      // The chain is broken for this consumer whatever is dropped, so the stale packets go too.
      dropped_ += queue_.size() + 1;
      queue_.clear();
      needs_keyframe_ = true;
      asleep_ = true;
      return;
    }
    needs_keyframe_ = false;
    queue_.push_back(packet);
  }
  arrived_.notify_one();
}

bool Subscription::has_credit() const {
  const std::lock_guard lock(mutex_);
  return !closed_ && !ended_ && !asleep_ && queue_.size() < capacity_;
}

bool Subscription::wants_keyframe() const {
  const std::lock_guard lock(mutex_);
  return needs_keyframe_ && !closed_ && !ended_ && !asleep_;
}

bool Subscription::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void Subscription::end(const std::optional<Error>& error) {
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    error_ = error;
  }
  arrived_.notify_all();
}

}  // namespace kvm
