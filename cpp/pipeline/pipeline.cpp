#include "pipeline/pipeline.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/clock.hpp"
#include "encode/jpeg.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kThumbnailWaitNs = 500 * kNsPerMs;
constexpr std::chrono::seconds kGrace{1};

std::int64_t period_of(double fps) {
  return static_cast<std::int64_t>(1e9 / fps);
}

}  // namespace

Pipeline::Pipeline(StreamConfig config, MakeSource make_source, Ladder ladder,
                   std::shared_ptr<LogRing> log)
    : config_((validate(config), std::move(config))),
      make_source_(std::move(make_source)),
      log_(std::move(log)),
      demand_(std::make_shared<DemandSignal>([this] { demand_changed(); })),
      start_ns_(now_ns()),
      period_ns_(period_of(config_.fps)),
      stage_(std::move(ladder), config_, start_ns_, log_) {}

Pipeline::~Pipeline() {
  stop();
  join();
  demand_->detach();
}

void Pipeline::start() {
  const std::lock_guard lifecycle(lifecycle_);
  if (started_ || stop_)
    throw Error(ErrorKind::kClosed, "a pipeline can be started once; make a new one");
  started_ = true;
  const auto run = [this](std::thread& thread, void (Pipeline::*loop)(std::promise<Outcome>&)) {
    std::promise<Outcome> opened;
    std::future<Outcome> result = opened.get_future();
    thread = std::thread(
        [this, loop, promise = std::move(opened)]() mutable { (this->*loop)(promise); });
    // Opening happens on the thread that owns the object; its error is thrown here.
    if (const Outcome failed = result.get()) throw Error(*failed);
  };
  try {
    capturing_ = true;  // no thread reads it yet
    run(capture_thread_, &Pipeline::capture_loop);
    run(encode_thread_, &Pipeline::encode_loop);
  } catch (...) {
    stop();
    join_threads();
    throw;
  }
}

void Pipeline::stop() {
  stop_ = true;
  demand_changed();
  end_consumers(std::nullopt);
}

void Pipeline::join() {
  const std::lock_guard lifecycle(lifecycle_);
  join_threads();
}

void Pipeline::join_threads() {
  if (capture_thread_.joinable()) {
    {
      std::unique_lock lock(mutex_);
      ending_.wait(lock, [this] { return stop_ || !capturing_; });
      // A stopped X server answers nothing, and xcb waits for it without limit.
      if (!ending_.wait_for(lock, kGrace, [this] { return !capturing_; }) && source_) {
        source_->cancel();
      }
    }
    capture_thread_.join();
  }
  if (encode_thread_.joinable()) encode_thread_.join();
}

void Pipeline::demand_changed() {
  std::shared_ptr<FrameSource> source;
  {
    const std::lock_guard lock(mutex_);
    source = source_;
  }
  work_.notify_all();
  if (stop_) ending_.notify_all();
  if (source) source->wake();
}

void Pipeline::fail(const Error& error) {
  stop_ = true;
  log_->add(LogLevel::kError, "pipeline", error.what());
  end_consumers(error);
  demand_changed();
}

void Pipeline::end_consumers(const std::optional<Error>& error) {
  std::vector<std::shared_ptr<Subscription>> consumers;
  std::unique_ptr<Reconfigure> abandoned;
  {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    failure_ = error;
    consumers = subscriptions_;
    abandoned = std::move(reconfigure_);
  }
  for (const auto& consumer : consumers) consumer->end(error);
  if (abandoned) {
    abandoned->done.set_value(Error(ErrorKind::kClosed, "the stream has ended"));
  }
  cursors_.notify_all();
  pictures_.notify_all();
}

std::shared_ptr<Subscription> Pipeline::subscribe(std::size_t capacity) {
  if (capacity < 1 || capacity > 4096) {
    throw Error(ErrorKind::kConfig,
                "capacity = " + std::to_string(capacity) + ": must be from 1 to 4096 packets");
  }
  auto subscription = std::make_shared<Subscription>(capacity, demand_);
  {
    const std::lock_guard lock(mutex_);
    if (ended_) {
      subscription->end(failure_);
      return subscription;
    }
    std::erase_if(subscriptions_, [](const auto& s) { return s->closed(); });
    subscriptions_.push_back(subscription);
  }
  demand_changed();
  return subscription;
}

void Pipeline::update(const PipelineUpdate& update) {
  std::future<Outcome> done;
  {
    const std::lock_guard lock(mutex_);
    if (ended_) throw Error(ErrorKind::kClosed, "the stream has ended");
    StreamConfig changed = config_;
    if (update.fps) changed.fps = *update.fps;
    if (update.bitrate) changed.bitrate = *update.bitrate;
    if (update.crf) changed.crf = *update.crf;
    if (update.display) changed.display = *update.display;
    if (update.region) changed.region = update.region->empty() ? std::nullopt : update.region;
    validate(changed);
    if (update.fps || update.bitrate || update.crf) {
      new_rate_ = RateSettings{changed.fps, changed.bitrate, changed.crf};
      config_.fps = changed.fps;
      config_.bitrate = changed.bitrate;
      config_.crf = changed.crf;
      period_ns_ = period_of(changed.fps);
    }
    if (update.display || update.region) {
      if (reconfigure_)
        throw Error(ErrorKind::kConfig,
                    "another change of display or region is under way; try again");
      reconfigure_ = std::make_unique<Reconfigure>();
      reconfigure_->config = changed;
      done = reconfigure_->done.get_future();
    }
  }
  demand_changed();
  if (!done.valid()) return;
  if (const Outcome failed = done.get()) throw Error(*failed);
}

void Pipeline::request_keyframe() {
  {
    const std::lock_guard lock(mutex_);
    keyframe_wanted_ = true;
  }
  work_.notify_all();
}

PipelineStats Pipeline::stats() const {
  PipelineStats result;
  result.rates = stats_.snapshot();
  const std::lock_guard lock(mutex_);
  result.generation = generation_;
  result.encoder = encoder_name_;
  result.capture = capture_name_;
  result.width = width_;
  result.height = height_;
  result.notes = notes_;
  for (const auto& subscription : subscriptions_) {
    if (!subscription->closed()) result.queues.push_back(subscription->state());
  }
  return result;
}

std::optional<CursorState> Pipeline::cursor() const {
  const std::lock_guard lock(mutex_);
  return cursor_;
}

std::optional<CursorState> Pipeline::next_cursor(std::uint64_t after, std::int64_t timeout_ns) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return ended_ || (cursor_ && cursor_->serial > after); };
  if (timeout_ns < 0) {
    cursors_.wait(lock, ready);
  } else {
    cursors_.wait_until(
        lock, std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns), ready);
  }
  if (cursor_ && cursor_->serial > after) return cursor_;
  if (ended_) throw Error(ErrorKind::kClosed, "the stream has ended");
  return std::nullopt;
}

Pipeline::View Pipeline::view_of(const Frame& frame) {
  return {frame.picture, frame.width, frame.height, frame.lease};
}

std::vector<std::uint8_t> Pipeline::thumbnail(int max_width) {
  if (max_width < 16 || max_width > 4096) {
    throw Error(ErrorKind::kConfig,
                "max_width = " + std::to_string(max_width) + ": must be from 16 to 4096 pixels");
  }
  View view;
  {
    std::unique_lock lock(mutex_);
    if (!any_credit_locked() && !ended_ && source_) {
      picture_wanted_ = true;
      source_->wake();
      pictures_.wait_for(lock, std::chrono::nanoseconds(kThumbnailWaitNs),
                         [this] { return ended_ || !picture_wanted_; });
      picture_wanted_ = false;
    }
    if (slot_) {
      view = view_of(slot_->frame);
    } else if (view_) {
      view = *view_;
    } else {
      return {};
    }
  }
  if (const auto* planes = std::get_if<CpuPlanes>(&view.picture))
    return encode_jpeg(*planes, view.width, view.height, max_width);
  const auto row = static_cast<std::size_t>(view.width) * 4;
  std::vector<std::uint8_t> pixels(row * static_cast<std::size_t>(view.height));
  CpuPlanes planes;
  planes.data[0] = pixels.data();
  planes.stride[0] = static_cast<std::ptrdiff_t>(row);
  TileMap all(view.width, view.height);
  all.set_all();
  if (!std::get<std::shared_ptr<GpuPicture>>(view.picture)->read(all, planes)) return {};
  return encode_jpeg(planes, view.width, view.height, max_width);
}

bool Pipeline::any_credit_locked() const {
  return std::any_of(subscriptions_.begin(), subscriptions_.end(),
                     [](const auto& s) { return s->has_credit(); });
}

}  // namespace kvm
