// One capture of a screen for all streams of it in this process.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "base/wake_event.hpp"
#include "capture/choose_area.hpp"
#include "capture/frame_pool.hpp"
#include "capture/source.hpp"

namespace kvm {

// A FrameSource and its clients, each with damage of its own since what it took last. There is no
// thread for it: whichever client waits calls the source, for all of them, one at a time. Nobody
// waits for a slow client: it takes the newest picture, whenever it comes.
class SharedCapture {
 public:
  // What the source's pool is made for.
  static constexpr std::size_t kMostClients = 4;
  // As FramePool::kBuffers for one, and for each more one under conversion and one in its slot.
  static constexpr std::size_t kMostBuffers = FramePool::kBuffers + 2 * (kMostClients - 1);

  // Belongs to one thread, but for what is marked.
  struct Client {
    StreamConfig config;
    std::shared_ptr<LogRing> log;        // gets what the source has to say
    std::shared_ptr<AreaMemory> memory;  // of its stream
    WakeEvent bell;                      // look again
    std::atomic<bool> woken{false};      // its wait() shall end; any thread

    // What join() has found.
    int width = 0;
    int height = 0;
    std::string description;
    std::shared_ptr<GpuDevice> textures;

    // The capture's, under its mutex.
    std::uint64_t opening = 0;
    TileMap damage;
    std::int64_t damaged_ns = 0;
    bool pointer_news = false;
    std::optional<SourceLost> lost;
    bool claims = false;        // the lead, for itself
    bool waiting = false;       // else it may want a picture any moment
    std::int64_t wants_ns = 0;  // while it waits: not before then
  };

  // `source` logs to `log` and remembers in `memory`, both of which are the capture's own.
  SharedCapture(std::unique_ptr<FrameSource> source, std::shared_ptr<LogRing> log,
                std::shared_ptr<AreaMemory> memory)
      : source_(std::move(source)), log_(std::move(log)), memory_(std::move(memory)) {}

  // As FrameSource::open(); opens the source anew where its geometry changed, where it was lost, or
  // where this client is the first to want the pointer apart. The others are told GeometryChanged
  // then.
  void join(Client& client);
  // The last one closes the source.
  void leave(Client& client);
  // As FrameSource::wait().
  [[nodiscard]] SourceEvent wait(Client& client, std::int64_t not_before_ns,
                                 std::int64_t deadline_ns);
  // Ends the client's wait(). Any thread.
  void wake(Client& client);
  // Any thread.
  void refuse_textures(const GpuDevice& of) { source_->refuse_textures(of); }

 private:
  class Lead;
  using Lock = std::unique_lock<std::mutex>;

  // The mutex is held in all of these, and let go of while the source works.
  void open_source(Lock& lock, Client& client);
  void adopt(Client& client);
  void drop(Client& client);
  void claim(Client& client, bool on);
  [[nodiscard]] bool look(Lock& lock, const Client& client, std::int64_t deadline_ns);
  void deliver(SourceEvent event);
  [[nodiscard]] Frame take(Client& client);
  [[nodiscard]] bool watched(std::int64_t now) const noexcept;
  [[nodiscard]] std::int64_t earliest_wish() const noexcept;
  void ring_all() const noexcept;
  void pass_log_on();

  const std::unique_ptr<FrameSource> source_;  // the lead's, but for what any thread may call
  const std::shared_ptr<LogRing> log_;
  const std::shared_ptr<AreaMemory> memory_;  // the lead's

  std::mutex mutex_;
  std::vector<Client*> clients_;
  const Client* lead_ = nullptr;    // works with the source
  std::int64_t lead_wants_ns_ = 0;  // its wait() publishes nothing before
  std::int64_t lead_since_ns_ = 0;
  std::size_t claims_ = 0;
  bool open_ = false;
  bool reopens_ = false;  // with the next join()
  bool tells_pointer_ = false;
  std::uint64_t opening_ = 0;            // counts
  std::optional<std::string> outdated_;  // why: the geometry is another one
  std::optional<Frame> newest_;          // its damage has been handed out
  std::optional<CursorUpdate> pointer_;
  std::shared_ptr<GpuDevice> textures_;
};

// The captures of a process, by what they show. Any thread.
class SharedCaptures {
 public:
  using Make = std::function<std::unique_ptr<FrameSource>(std::shared_ptr<LogRing>,
                                                          std::shared_ptr<AreaMemory>)>;

  explicit SharedCaptures(Make make) : make_(std::move(make)) {}

  // The one for this display and region, with the pointer drawn in or not. Lives as long as
  // whoever holds it.
  [[nodiscard]] std::shared_ptr<SharedCapture> find(const StreamConfig& config);

 private:
  struct Entry {
    StreamConfig config;
    std::weak_ptr<SharedCapture> capture;
  };

  Make make_;
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace kvm
