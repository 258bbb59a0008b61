// Desktop Duplication where it works, GDI where and while it does not.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "capture/source.hpp"

namespace kvm::dxgi {

// Switching over begins a new generation: it says GeometryChanged and wants to be opened again.
class FallbackSource final : public FrameSource {
 public:
  // `first` and `second` are closed, and stay so while the other is used. Every `retry_ns` it is
  // looked whether the first one works again.
  FallbackSource(std::unique_ptr<FrameSource> first, std::unique_ptr<FrameSource> second,
                 std::shared_ptr<LogRing> log, std::int64_t retry_ns = 5 * kNsPerSec)
      : first_(std::move(first)),
        second_(std::move(second)),
        log_(std::move(log)),
        retry_ns_(retry_ns) {}
  ~FallbackSource() override { FallbackSource::close(); }

  [[nodiscard]] std::string description() const override;
  void open(const StreamConfig& config) override;
  [[nodiscard]] int width() const override { return active().width(); }
  [[nodiscard]] int height() const override { return active().height(); }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) override;
  void wake() override {
    woken_ = true;
    first_->wake();
    second_->wake();
  }
  void close() override;

 private:
  static constexpr int kFailures = 3;  // until the second one is used

  [[nodiscard]] FrameSource& active() const noexcept { return on_second_ ? *second_ : *first_; }
  [[nodiscard]] bool open_first();
  void switch_over(bool to_second, const std::string& why);
  [[nodiscard]] bool first_works_again();

  std::unique_ptr<FrameSource> first_;
  std::unique_ptr<FrameSource> second_;
  std::shared_ptr<LogRing> log_;
  std::int64_t retry_ns_;
  StreamConfig config_;
  bool on_second_ = false;
  std::string why_;  // the first one is not used
  std::int64_t next_try_ns_ = 0;
  std::atomic<bool> woken_{false};  // a wait on the second one may have used up its own
  bool keeps_awake_ = false;
};

}  // namespace kvm::dxgi
