// Wires the stages: a capture thread, a latest-wins slot, an encode thread, one bounded queue per
// consumer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "capture/source.hpp"
#include "encode/ladder.hpp"
#include "pipeline/encode_stage.hpp"
#include "pipeline/stats.hpp"
#include "pipeline/subscription.hpp"

namespace kvm {

// The pointer as consumers see it; `serial` grows by one with each change.
struct CursorState {
  std::uint64_t serial = 0;
  CursorUpdate update;
};

// Live changes; what is not set stays. A region of size 0 means the whole display.
struct PipelineUpdate {
  std::optional<double> fps;
  std::optional<int> bitrate;
  std::optional<double> crf;
  std::optional<std::string> display;
  std::optional<Rect> region;
};

struct PipelineStats {
  StatsSnapshot rates;
  std::uint32_t generation = 0;
  std::string encoder;
  std::string capture;
  int width = 0;
  int height = 0;
  std::vector<std::string> notes;
  std::vector<QueueState> queues;
};

// All methods are safe from any thread. Destructor = stop + join.
class Pipeline {
 public:
  using MakeSource = std::function<std::unique_ptr<FrameSource>(const StreamConfig&)>;

  // Throws Error{kConfig}. Tests pass their own source and ladder.
  Pipeline(StreamConfig config, MakeSource make_source, Ladder ladder,
           std::shared_ptr<LogRing> log);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // Opens capture and encoder and starts the threads. Throws what opening threw; call at most once.
  void start();
  // Asks the threads to end; idempotent.
  void stop();
  // Waits for them; idempotent. A source that hangs is cancelled a second after stop().
  void join();

  // Its first packet is a keyframe. `capacity` ≥ 1 packets.
  [[nodiscard]] std::shared_ptr<Subscription> subscribe(std::size_t capacity);
  // Throws Error{kConfig} when the new display or region does not exist; the stream then goes on as
  // before.
  void update(const PipelineUpdate& update);
  // At most one keyframe per 0.5 s comes of it.
  void request_keyframe();
  [[nodiscard]] PipelineStats stats() const;
  [[nodiscard]] std::optional<CursorState> cursor() const;
  // Waits for a change after `serial`; null after the time-out (negative = none). Throws
  // Error{kClosed} when stopped.
  [[nodiscard]] std::optional<CursorState> next_cursor(std::uint64_t after,
                                                       std::int64_t timeout_ns);
  // JPEG of the newest picture; empty before the first.
  [[nodiscard]] std::vector<std::uint8_t> thumbnail(int max_width);
  [[nodiscard]] LogRing& log() noexcept { return *log_; }

 private:
  struct Captured {
    Frame frame;
    std::uint64_t epoch = 0;
    std::int64_t published_ns = 0;
    std::shared_ptr<GpuDevice> textures = {};  // the source's, of that epoch
  };
  // The picture that thumbnails are made of; shares the lease.
  struct View {
    Picture picture;
    int width = 0;
    int height = 0;
    FrameLease lease;
  };
  struct Reconfigure {
    StreamConfig config;
    std::promise<Outcome> done;
  };

  void capture_loop(std::promise<Outcome>& opened);
  void encode_loop(std::promise<Outcome>& opened);
  // Capture thread.
  void capture(std::promise<Outcome>& opened);
  void publish(Frame frame);
  void publish(const CursorUpdate& cursor);
  void mirror_source();  // mutex_ held: what source_ has been opened as
  // These: false when the stream has ended.
  [[nodiscard]] bool reconfigure(Reconfigure& request);
  [[nodiscard]] bool take_back(FrameSource& source);
  [[nodiscard]] bool reopen(const std::string& why);
  // Encode thread; mutex_ held.
  enum class Work { kNone, kFresh, kKeyframe, kRefine, kNudge };
  [[nodiscard]] Work choose_work(std::int64_t now, std::int64_t& wake_at);
  void after_encode(std::optional<Packet> packet, Work work, std::size_t changed_tiles);
  // Any thread.
  void fail(const Error& error);
  void end_consumers(const std::optional<Error>& error);
  void join_threads();  // lifecycle_ held
  void demand_changed();
  [[nodiscard]] bool any_credit_locked() const;
  [[nodiscard]] static View view_of(const Frame& frame);

  StreamConfig config_;  // guarded by mutex_ once started
  MakeSource make_source_;
  std::shared_ptr<LogRing> log_;
  std::shared_ptr<DemandSignal> demand_;
  Stats stats_;
  std::int64_t start_ns_;
  std::atomic<bool> stop_{false};
  std::atomic<std::int64_t> period_ns_;

  mutable std::mutex mutex_;
  std::condition_variable work_;      // the encode thread waits here
  std::condition_variable pictures_;  // thumbnail() waits here for a first picture
  std::condition_variable cursors_;
  std::condition_variable ending_;  // join() waits here
  std::optional<Captured> slot_;    // latest wins; damage of what it replaces is merged
  std::vector<std::shared_ptr<Subscription>> subscriptions_;
  std::optional<RateSettings> new_rate_;
  std::unique_ptr<Reconfigure> reconfigure_;
  std::optional<CursorState> cursor_;
  std::optional<View> view_;
  std::optional<Error> failure_;
  bool keyframe_wanted_ = false;
  bool picture_wanted_ = false;  // a thumbnail or a refresh wants the screen of now
  bool held_back_ = false;       // the capture thread waits for slot_ to be taken
  bool ended_ = false;
  bool capturing_ = false;  // the capture thread has not come to its end
  std::string encoder_name_;
  std::string capture_name_;
  std::vector<std::string> notes_;
  std::uint32_t generation_ = 0;
  int width_ = 0;
  int height_ = 0;
  std::shared_ptr<GpuDevice> textures_;  // of source_, as it was opened last
  std::shared_ptr<FrameSource>
      source_;  // replaced by the capture thread under mutex_; wake() from any thread

  // Encode thread only.
  EncodeStage stage_;
  std::optional<Captured> current_;
  std::int64_t last_keyframe_ns_ = 0;
  std::int64_t refine_at_ns_ = 0;  // 0 = nothing to refine
  std::int64_t last_fresh_ns_ = 0;
  bool starved_ = false;     // no consumer had room
  bool refreshing_ = false;  // the capture thread was asked for a newer picture than the slot's
  int refine_step_ = 0;
  int refine_steps_ = 0;

  // Capture thread only.
  std::uint64_t epoch_ = 0;

  std::mutex lifecycle_;  // start and join
  bool started_ = false;
  std::thread capture_thread_;
  std::thread encode_thread_;
};

}  // namespace kvm
