// Desktop Duplication where it works, GDI where and while it does not.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
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
  struct Patience {
    std::int64_t retry_ns = 5 * kNsPerSec;    // until the first one is tried again
    std::int64_t picture_ns = 3 * kNsPerSec;  // for its first picture, once one is wanted
  };
  // `first` and `second` are closed. While the second one is used the first one is tried beside it,
  // and used again once it has shown a picture.
  FallbackSource(std::unique_ptr<FrameSource> first, std::unique_ptr<FrameSource> second,
                 std::shared_ptr<LogRing> log, Patience patience)
      : first_(std::move(first)),
        second_(std::move(second)),
        log_(std::move(log)),
        patience_(patience),
        pause_ns_(patience.retry_ns) {}
  FallbackSource(std::unique_ptr<FrameSource> first, std::unique_ptr<FrameSource> second,
                 std::shared_ptr<LogRing> log)
      : FallbackSource(std::move(first), std::move(second), std::move(log), Patience{}) {}
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
  [[nodiscard]] bool exclusive() const override {
    return on_second_ && !trying_ ? second_->exclusive() : first_->exclusive();
  }
  [[nodiscard]] std::shared_ptr<GpuDevice> textures() const override { return active().textures(); }
  void refuse_textures(const GpuDevice& of) override { first_->refuse_textures(of); }
  void close() override;

 private:
  static constexpr int kFailures = 3;  // until the second one is used

  [[nodiscard]] FrameSource& active() const noexcept { return on_second_ ? *second_ : *first_; }
  [[nodiscard]] bool open_first();
  void switch_over(bool to_second, const std::string& why);
  [[nodiscard]] SourceEvent wait_on_first(std::int64_t not_before_ns, std::int64_t deadline_ns);
  [[nodiscard]] SourceEvent wait_on_second(std::int64_t not_before_ns, std::int64_t deadline_ns);
  [[nodiscard]] SourceEvent give_up_first(const std::string& why);
  // Beside the second one.
  void begin_trial();
  [[nodiscard]] bool trial_succeeds();
  void end_trial(const std::string& why);
  [[nodiscard]] std::int64_t longer_pause() const noexcept;
  [[nodiscard]] std::string no_picture() const;

  std::unique_ptr<FrameSource> first_;
  std::unique_ptr<FrameSource> second_;
  std::shared_ptr<LogRing> log_;
  Patience patience_;
  StreamConfig config_;
  bool on_second_ = false;
  std::string why_;                 // the first one is not used
  std::atomic<bool> woken_{false};  // a wait on the second one may have used up its own
  bool keeps_awake_ = false;

  // While the first one is used.
  bool shown_ = false;  // a picture since it was opened
  std::int64_t picture_due_ns_ = std::numeric_limits<std::int64_t>::max();
  std::int64_t returned_ns_ = 0;  // to it

  // While the second one is used.
  std::int64_t pause_ns_;  // until the first one is tried
  std::int64_t next_try_ns_ = 0;
  bool trying_ = false;
  std::int64_t trial_ends_ns_ = 0;
};

}  // namespace kvm::dxgi
