#include "capture/shared_capture.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();
// A picture older than that is taken only after a look at the screen: nobody may have wanted one
// for an hour.
constexpr std::int64_t kFreshNs = 50 * kNsPerMs;
// Longer than a source rests between two looks.
constexpr std::int64_t kLookNs = 15 * kNsPerMs;

}  // namespace

// Works with the source, without the mutex.
class SharedCapture::Lead {
 public:
  Lead(SharedCapture& capture, Lock& lock, const Client& client) : capture_(capture), lock_(lock) {
    capture_.lead_ = &client;
    lock_.unlock();
  }
  ~Lead() {
    lock_.lock();
    capture_.lead_ = nullptr;
    capture_.pass_log_on();
    capture_.ring_all();  // one of them is the next
  }
  Lead(const Lead&) = delete;
  Lead& operator=(const Lead&) = delete;

 private:
  SharedCapture& capture_;
  Lock& lock_;
};

void SharedCapture::join(Client& client) {
  Lock lock(mutex_);
  if (clients_.size() == kMostClients)
    throw Error(ErrorKind::kCapture, std::to_string(kMostClients) +
                                         " streams of this process share this capture, which is "
                                         "the limit; end one");
  client.opening = 0;
  client.waiting = client.pointer_news = false;
  client.lost.reset();
  clients_.push_back(&client);
  claim(client, true);
  while (lead_ != nullptr) {
    source_->wake();
    lock.unlock();
    client.bell.wait(-1, kForever);
    lock.lock();
  }
  claim(client, false);
  const bool suits = tells_pointer_ || client.config.cursor != CursorMode::kMetadata;
  if (!open_ || reopens_ || !suits) open_source(lock, client);
  adopt(client);
  ring_all();
}

void SharedCapture::open_source(Lock& lock, Client& client) {
  // Apart for one is apart for all; whoever wants it hidden does not look.
  StreamConfig config = client.config;
  for (const Client* each : clients_) {
    if (each->config.cursor == CursorMode::kMetadata) config.cursor = CursorMode::kMetadata;
  }
  open_ = false;
  newest_.reset();
  pointer_.reset();
  textures_.reset();
  try {
    const Lead lead(*this, lock, client);
    *memory_ = *client.memory;
    source_->open(config);
  } catch (...) {
    drop(client);
    ring_all();  // the others see for themselves
    throw;
  }
  ++opening_;
  open_ = true;
  reopens_ = false;
  outdated_.reset();
  tells_pointer_ = config.cursor == CursorMode::kMetadata;
  textures_ = source_->textures();
}

void SharedCapture::adopt(Client& client) {
  client.opening = opening_;
  client.width = source_->width();
  client.height = source_->height();
  client.description = source_->description();
  client.damage = TileMap(client.width, client.height);
  client.damaged_ns = now_ns();  // it is new to this one
  client.lost.reset();
  client.textures.reset();
  *client.memory = *memory_;
  if (newest_ && newest_->on_gpu() != nullptr) newest_.reset();
  if (newest_) client.damage.set_all();
  client.pointer_news = pointer_ && client.config.cursor == CursorMode::kMetadata;
  if (!textures_) return;
  // They are one encoder's.
  if (clients_.size() == 1) {
    client.textures = textures_;
  } else {
    source_->refuse_textures(*textures_);
  }
}

void SharedCapture::leave(Client& client) {
  const Lock lock(mutex_);
  drop(client);
  if (!clients_.empty()) return;
  source_->close();
  open_ = false;
  newest_.reset();
  pointer_.reset();
  textures_.reset();
}

void SharedCapture::drop(Client& client) {
  claim(client, false);
  std::erase(clients_, &client);
}

// Whoever claims the lead has it before those who only wait.
void SharedCapture::claim(Client& client, bool on) {
  if (std::exchange(client.claims, on) == on) return;
  claims_ += on ? std::size_t{1} : std::size_t{} - 1;
  if (!on) ring_all();
}

void SharedCapture::wake(Client& client) {
  const Lock lock(mutex_);
  client.bell.set();
  if (lead_ == &client) source_->wake();
}

SourceEvent SharedCapture::wait(Client& client, std::int64_t not_before_ns,
                                std::int64_t deadline_ns) {
  Lock lock(mutex_);
  struct Waiting {
    SharedCapture& capture;
    Client& client;
    ~Waiting() {
      client.waiting = false;
      capture.claim(client, false);
    }
  };
  const Waiting waiting{*this, client};
  client.waiting = true;
  client.wants_ns = not_before_ns;
  if (lead_ != nullptr && not_before_ns < lead_wants_ns_) source_->wake();
  for (bool looked = false;;) {
    if (outdated_) return GeometryChanged{*outdated_};
    if (!open_ || client.opening != opening_)
      return GeometryChanged{"another stream of this screen has opened its capture anew"};
    if (client.lost) return *std::exchange(client.lost, std::nullopt);
    if (std::exchange(client.pointer_news, false)) return *pointer_;
    const std::int64_t now = now_ns();
    const bool behind = newest_ && client.damage.any();
    const bool old = behind && now >= not_before_ns && !looked && now < deadline_ns &&
                     now - newest_->times.captured > kFreshNs && !watched(now);
    if (behind && now >= not_before_ns && !old) return take(client);
    if (client.woken.exchange(false) || (looked && now >= deadline_ns)) return Timeout{};
    claim(client, old);
    std::int64_t until = deadline_ns;
    if (behind && now < not_before_ns) until = std::min(until, not_before_ns);
    if (lead_ == nullptr && (old || claims_ == 0)) {
      claim(client, false);
      looked |= look(lock, client, old ? std::min(until, now + kLookNs) : until);
    } else if (now >= deadline_ns) {
      return Timeout{};
    } else {
      if (old && lead_ != nullptr) source_->wake();
      lock.unlock();
      client.bell.wait(-1, until);
      lock.lock();
    }
  }
}

// False when a wake-up has ended it early.
bool SharedCapture::look(Lock& lock, const Client& client, std::int64_t deadline_ns) {
  const std::int64_t wants = lead_wants_ns_ = earliest_wish();
  lead_since_ns_ = now_ns();
  SourceEvent event = Timeout{};
  try {
    const Lead lead(*this, lock, client);
    event = source_->wait(wants, deadline_ns);
  } catch (...) {
    reopens_ = true;
    throw;
  }
  const bool looked = !std::holds_alternative<Timeout>(event) || now_ns() >= deadline_ns;
  deliver(std::move(event));
  return looked;
}

// Whoever captures would have brought a newer picture by now.
bool SharedCapture::watched(std::int64_t now) const noexcept {
  return lead_ != nullptr && lead_wants_ns_ < now - kLookNs && lead_since_ns_ < now - kLookNs;
}

// Of one that does not wait nothing is known: it is about to, most likely.
std::int64_t SharedCapture::earliest_wish() const noexcept {
  std::int64_t earliest = kForever;
  for (const Client* each : clients_)
    earliest = std::min(earliest, each->waiting ? each->wants_ns : 0);
  return earliest;
}

void SharedCapture::deliver(SourceEvent event) {
  if (auto* frame = std::get_if<Frame>(&event)) {
    newest_ = std::move(*frame);
    for (Client* each : clients_) {
      if (each->opening != opening_) continue;
      if (!each->damage.any()) each->damaged_ns = newest_->times.damaged;
      each->damage.merge(newest_->damage);
    }
  } else if (auto* update = std::get_if<CursorUpdate>(&event)) {
    pointer_ = std::move(*update);
    for (Client* each : clients_) each->pointer_news = each->config.cursor == CursorMode::kMetadata;
  } else if (auto* changed = std::get_if<GeometryChanged>(&event)) {
    outdated_ = std::move(changed->reason);
    reopens_ = true;
  } else if (const auto* lost = std::get_if<SourceLost>(&event)) {
    for (Client* each : clients_) each->lost = *lost;
    reopens_ = true;
  }
}

Frame SharedCapture::take(Client& client) {
  Frame frame;
  frame.picture = newest_->picture;
  frame.lease = newest_->lease;
  frame.format = newest_->format;
  frame.width = newest_->width;
  frame.height = newest_->height;
  frame.times = newest_->times;
  frame.times.damaged = client.damaged_ns;
  frame.times.captured = std::max(frame.times.captured, client.damaged_ns);
  frame.damage = std::exchange(client.damage, TileMap(client.width, client.height));
  // Theirs is a ring of as few as one stream needs.
  if (frame.on_gpu() != nullptr) newest_.reset();
  return frame;
}

void SharedCapture::ring_all() const noexcept {
  for (Client* each : clients_) each->bell.set();
}

void SharedCapture::pass_log_on() {
  for (const LogLine& line : log_->drain()) {
    for (const Client* each : clients_) each->log->add(line.level, line.component, line.message);
  }
}

std::shared_ptr<SharedCapture> SharedCaptures::find(const StreamConfig& config) {
  const bool drawn_in = config.cursor == CursorMode::kEmbedded;
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [](const Entry& each) { return each.capture.expired(); });
  for (const Entry& each : entries_) {
    if (each.config.display != config.display || each.config.region != config.region ||
        (each.config.cursor == CursorMode::kEmbedded) != drawn_in)
      continue;
    if (auto capture = each.capture.lock()) return capture;
  }
  auto log = std::make_shared<LogRing>();
  auto memory = std::make_shared<AreaMemory>();
  auto source = make_(log, memory);
  auto capture =
      std::make_shared<SharedCapture>(std::move(source), std::move(log), std::move(memory));
  entries_.push_back({config, capture});
  return capture;
}

}  // namespace kvm
