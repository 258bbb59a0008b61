// The encode thread's half of the pipeline.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/clock.hpp"
#include "base/thread_name.hpp"
#include "pipeline/pipeline.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kKeyframeFloorNs = 500 * kNsPerMs;
constexpr std::int64_t kNextPictureNs = 40 * kNsPerMs;  // the longest that a keyframe waits for one
// Motion counts as over after the first pause; the steps then follow each other slowly enough to
// leave the CPU alone.
constexpr std::int64_t kRefineAfterNs = 120 * kNsPerMs;
constexpr std::int64_t kRefineEveryNs = 60 * kNsPerMs;
constexpr int kRefineSteps = 4;
// A caret or a clock is sharp after one step: it costs few bits at any quality.
constexpr std::size_t kSmallChangeTiles = 64;

}  // namespace

void Pipeline::encode_loop(std::promise<Outcome>& opened) {
  name_this_thread("kvm-encode");
  const auto mirror_stage = [this] {  // mutex_ held
    encoder_name_ = stage_.encoder_name();
    generation_ = stage_.generation();
    notes_ = stage_.notes();
    width_ = stage_.width();
    height_ = stage_.height();
  };
  try {
    int width = 0;
    int height = 0;
    std::shared_ptr<GpuDevice> textures;
    {
      const std::lock_guard lock(mutex_);
      width = width_;
      height = height_;
      textures = textures_;
    }
    stage_.prepare(width, height, textures);
    const std::lock_guard lock(mutex_);
    mirror_stage();
    if (textures && !stage_.takes_textures()) source_->refuse_textures(*textures);
  } catch (...) {
    opened.set_value(current_error(ErrorKind::kEncoder));
    return;
  }
  opened.set_value(std::nullopt);

  std::unique_lock lock(mutex_);
  while (!stop_) {
    std::int64_t wake_at = kForever;
    const Work work = choose_work(now_ns(), wake_at);
    if (work == Work::kNone) {
      if (wake_at == kForever) {
        work_.wait(lock);
      } else {
        work_.wait_until(lock,
                         std::chrono::steady_clock::time_point(std::chrono::nanoseconds(wake_at)));
      }
      continue;
    }
    EncodeStage::Request request;
    request.keyframe = work == Work::kKeyframe;
    if (work == Work::kFresh) {
      request.fresh = true;
      request.keyframe = keyframe_wanted_ && now_ns() - last_keyframe_ns_ >= kKeyframeFloorNs;
      const double interval = config_.keyframe_interval;
      if (interval > 0 && static_cast<double>(now_ns() - last_keyframe_ns_) >= interval * 1e9)
        request.keyframe = true;
      current_.reset();  // before the next picture is taken, so that its buffer is free again
      view_.reset();
      current_ = std::exchange(slot_, std::nullopt);
      view_ = view_of(current_->frame);
      last_fresh_ns_ = now_ns();
      if (std::exchange(held_back_, false)) source_->wake();
    } else if (work == Work::kRefine) {
      request.refine_step = ++refine_step_;
    }
    request.epoch = current_->epoch;
    request.textures = current_->textures;
    const std::optional<RateSettings> rate = std::exchange(new_rate_, std::nullopt);
    lock.unlock();

    const std::int64_t taken = now_ns();
    std::optional<Packet> packet;
    try {
      if (rate) stage_.update(*rate);
      packet = stage_.encode(current_->frame, request);
    } catch (const Error& error) {
      fail(Error(ErrorKind::kEncoder, error.what()));
      return;
    }
    if (packet) stats_.add_packet(*packet, taken);

    lock.lock();
    mirror_stage();
    // What is read back here costs more than what comes in memory.
    if (current_->frame.on_gpu() != nullptr && !stage_.takes_textures())
      source_->refuse_textures(*current_->frame.on_gpu()->device());
    after_encode(std::move(packet), work, current_->frame.damage.count());
    if (stage_.picture_lost()) {
      view_.reset();
      current_.reset();
    }
  }
}

Pipeline::Work Pipeline::choose_work(std::int64_t now, std::int64_t& wake_at) {
  if (!any_credit_locked()) {
    starved_ = true;
    return Work::kNone;
  }
  for (const auto& subscription : subscriptions_) {
    if (subscription->wants_keyframe()) keyframe_wanted_ = true;
  }
  if (slot_) {
    // After a wait for credit the slot is as old as the wait: a slow consumer gets fewer pictures,
    // not later ones.
    if (std::exchange(starved_, false) && now > slot_->published_ns + period_ns_) {
      picture_wanted_ = refreshing_ = true;
      source_->wake();
    }
    if (refreshing_ && picture_wanted_)
      return Work::kNone;  // publish() or the capture thread's time-out follows
    refreshing_ = false;
    return Work::kFresh;
  }
  starved_ = false;
  if (!current_) return Work::kNone;
  if (keyframe_wanted_) {
    // While the screen moves the next picture becomes the keyframe: one more in between would pass
    // the frame rate.
    const std::int64_t moving_until = last_fresh_ns_ + std::min(period_ns_ * 5 / 4, kNextPictureNs);
    const std::int64_t due = std::max(last_keyframe_ns_ + kKeyframeFloorNs, moving_until);
    if (now >= due) return Work::kKeyframe;
    wake_at = due;
  }
  if (refine_at_ns_ != 0) {
    // Between pictures at full rate there is no room for one more.
    const std::int64_t due = std::max(refine_at_ns_, last_fresh_ns_ + 2 * period_ns_);
    if (now >= due) return Work::kRefine;
    wake_at = std::min(wake_at, due);
  }
  if (const auto silent = stage_.silence_deadline()) {
    if (now >= *silent) return Work::kNudge;
    wake_at = std::min(wake_at, *silent);
  }
  return Work::kNone;
}

void Pipeline::after_encode(std::optional<Packet> packet, Work work, std::size_t changed_tiles) {
  const std::int64_t now = now_ns();
  if (work == Work::kRefine) {
    refine_at_ns_ = refine_step_ < refine_steps_ ? now + kRefineEveryNs : 0;
  } else if (work == Work::kFresh || work == Work::kKeyframe) {
    const bool small = changed_tiles <= kSmallChangeTiles && work == Work::kFresh;
    const bool under_way = refine_at_ns_ != 0 && refine_steps_ > 1;
    // Typing must not keep the rest of the screen coarse: a large refinement goes on between small
    // changes.
    if (!(small && under_way)) {
      refine_steps_ = small ? 1 : kRefineSteps;
      refine_step_ = 0;
      refine_at_ns_ = now + kRefineAfterNs;
    }
  }
  if (!packet) return;
  if (packet->keyframe) {
    last_keyframe_ns_ = now;
    keyframe_wanted_ = false;
    refine_steps_ = kRefineSteps;
  }
  const auto shared = std::make_shared<const Packet>(*std::move(packet));
  std::erase_if(subscriptions_, [](const auto& s) { return s->closed(); });
  for (const auto& subscription : subscriptions_) subscription->offer(shared);
}

}  // namespace kvm
