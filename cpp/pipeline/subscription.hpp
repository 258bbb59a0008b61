// One consumer's bounded queue of packets. Its capacity is that consumer's credit.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "base/error.hpp"
#include "pipeline/packet.hpp"

namespace kvm {

// Tells the pipeline that a consumer made room or asked for a keyframe; outlives the pipeline
// harmlessly.
class DemandSignal {
 public:
  explicit DemandSignal(std::function<void()> notify) : notify_(std::move(notify)) {}
  void raise() {
    const std::lock_guard lock(mutex_);
    if (notify_) notify_();
  }
  // After this returns no call is running or will come.
  void detach() {
    const std::lock_guard lock(mutex_);
    notify_ = nullptr;
  }

 private:
  std::mutex mutex_;
  std::function<void()> notify_;
};

struct QueueState {
  std::size_t size = 0;
  std::size_t capacity = 0;
  std::uint64_t dropped = 0;
  std::int64_t oldest_ns = 0;  // age of the oldest packet; 0 when empty
};

// next() and close() belong to the consumer, any thread; the rest to the pipeline.
class Subscription {
 public:
  Subscription(std::size_t capacity, std::shared_ptr<DemandSignal> demand)
      : capacity_(capacity), demand_(std::move(demand)) {}

  // The next packet; null after `timeout_ns` (negative = wait for ever). Throws Error{kClosed} once
  // the stream has ended and the queue is empty, or the error that ended it.
  [[nodiscard]] PacketPtr next(std::int64_t timeout_ns);
  // Idempotent. Ends a blocked next() and gives up the credit.
  void close();
  [[nodiscard]] QueueState state() const;

  // Takes the packet, unless it waits for a keyframe. When full: wiped, and asleep until its
  // consumer comes back.
  void offer(const PacketPtr& packet);
  // Room for one more, and the consumer is alive.
  [[nodiscard]] bool has_credit() const;
  // Cannot go on without a keyframe, and its consumer is there to take it.
  [[nodiscard]] bool wants_keyframe() const;
  [[nodiscard]] bool closed() const;
  // No packet will follow; `error` is what ended the stream, if anything did.
  void end(const std::optional<Error>& error);

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<PacketPtr> queue_;
  std::size_t capacity_;
  std::uint64_t dropped_ = 0;
  bool needs_keyframe_ = true;
  bool asleep_ = false;  // wiped; a stalled consumer must not cost the others a keyframe each time
  bool closed_ = false;
  bool ended_ = false;
  std::optional<Error> error_;
  std::shared_ptr<DemandSignal> demand_;
};

}  // namespace kvm
