// The agent's side of docs/protocol.md, as far as a source of pictures needs it, over plain TCP: a
// tunnel outside brings it to the hub's TLS.
#pragma once

#include <winsock2.h>
#include <ws2tcpip.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/windows.hpp"
#include "capture/source.hpp"
#include "msgpack.hpp"
#include "pipeline/pipeline.hpp"

namespace kvm::test {

// A connection. send() and end() from any thread, receive() from one.
class Line {
 public:
  using Bytes = std::vector<std::uint8_t>;

  // Throws std::runtime_error, as all that follows.
  Line(const std::string& host, const std::string& port) {
    addrinfo wanted{};
    wanted.ai_family = AF_INET;
    wanted.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(host.c_str(), port.c_str(), &wanted, &found) != 0) throw failure("no address");
    socket_ = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    const bool connected =
        socket_ != INVALID_SOCKET &&
        connect(socket_, found->ai_addr, static_cast<int>(found->ai_addrlen)) == 0;
    freeaddrinfo(found);
    if (!connected) {
      const auto error = failure("no hub at " + host + ":" + port);
      closesocket(socket_);
      throw error;
    }
    set(IPPROTO_TCP, TCP_NODELAY, 1);
    set(SOL_SOCKET, SO_SNDTIMEO, kSendMs);
    constexpr std::string_view kGreeting = "KVMSTRM\x01";
    send({reinterpret_cast<const std::uint8_t*>(kGreeting.data()), kGreeting.size()});
  }
  ~Line() { closesocket(socket_); }
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  // A peer that says nothing for so long is gone; before the first receive().
  void end_after_silence(std::int64_t time_ns) { silence_ns_ = time_ns; }
  // Whoever reads or writes fails from now on.
  void end() noexcept {
    ended_ = true;
    shutdown(socket_, SD_BOTH);
  }

  void send(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second = {}) {
    const std::lock_guard lock(sending_);
    for (auto part : {first, second}) {
      while (!part.empty()) {
        const int sent = ::send(socket_, reinterpret_cast<const char*>(part.data()),
                                static_cast<int>(part.size()), 0);
        if (sent <= 0) throw failure("the hub takes nothing more");
        part = part.subspan(static_cast<std::size_t>(sent));
      }
    }
  }
  void send(const Packer& message) {
    Bytes length;
    put_big_endian(length, message.bytes().size(), 4);
    send(length, message.bytes());
  }
  [[nodiscard]] Bytes receive(std::size_t size) {
    Bytes bytes(size);
    for (std::size_t had = 0; had < size;) {
      wait_for_bytes();
      const int got = recv(socket_, reinterpret_cast<char*>(bytes.data() + had),
                           static_cast<int>(size - had), 0);
      if (got == 0) throw std::runtime_error("the hub has closed the connection");
      if (got < 0) throw failure("the hub is lost");
      had += static_cast<std::size_t>(got);
    }
    return bytes;
  }
  [[nodiscard]] Unpacked receive_message() {
    std::size_t size = 0;
    for (const std::uint8_t byte : receive(4)) size = size << 8 | byte;
    if (size > kLargest) throw std::runtime_error("a message of more than 1 MiB from the hub");
    return Unpacked(receive(size));
  }

 private:
  static constexpr std::size_t kLargest = 1 << 20;
  static constexpr int kSendMs = 10'000;
  static constexpr long kLookUs = 100'000;  // between two looks whether end() was called

  static std::runtime_error failure(const std::string& what) {
    return std::runtime_error(what + ": Windows error " + std::to_string(WSAGetLastError()));
  }
  // What a shutdown() does to a recv() that another thread is waiting in must not decide whether
  // we end.
  void wait_for_bytes() const {
    for (const std::int64_t since = now_ns();;) {
      fd_set readable{};
      FD_SET(socket_, &readable);
      timeval time{0, kLookUs};
      if (ended_) throw std::runtime_error("the connection was ended");
      if (select(0, &readable, nullptr, nullptr, &time) != 0) return;
      if (now_ns() - since > silence_ns_) throw std::runtime_error("the hub has been silent");
    }
  }
  void set(int level, int option, int value) noexcept {
    setsockopt(socket_, level, option, reinterpret_cast<const char*>(&value), sizeof value);
  }

  SOCKET socket_ = INVALID_SOCKET;
  std::int64_t silence_ns_ = INT64_MAX;
  std::atomic<bool> ended_{false};
  std::mutex sending_;
};

struct HubAddress {
  std::string host;
  std::string control_port;
  std::string video_port;
  std::string identity;
  std::string secret;
};

// One connection to the hub, from hello to its end. turn() belongs to one thread; two more read.
class HubSession {
 public:
  // Throws std::runtime_error when the hub cannot be reached or does not want us.
  HubSession(const HubAddress& hub, Pipeline& pipeline)
      : pipeline_(pipeline), control_(hub.host, hub.control_port) {
    control_.end_after_silence(5 * kNsPerSec);
    Packer hello("AgentHello", 6);
    hello.text("identity", hub.identity).text("secret", hub.secret).text("name", "Windows");
    hello.text("software", "kvmstream").text("backend", "native").boolean("view_only", true);
    control_.send(hello);
    const Unpacked welcome = control_.receive_message();
    if (welcome.text("t") != "Welcome") throw std::runtime_error(refusal(welcome));
    video_ = std::make_unique<Line>(hub.host, hub.video_port);
    video_->send(Packer("VideoHello", 1).text("token", welcome.text("video_token")));
    send_state();
    readers_[0] = std::thread([this] { read([this] { take_message(); }); });
    readers_[1] = std::thread([this] { read([this] { take_acknowledgement(); }); });
  }
  ~HubSession() {
    control_.end();
    video_->end();
    for (auto& reader : readers_) reader.join();
  }
  HubSession(const HubSession&) = delete;
  HubSession& operator=(const HubSession&) = delete;

  // Sends a unit, if there is one and the hub has room for it; returns after `patience_ns` at the
  // latest, but for what the network takes. Throws std::runtime_error when the connection is lost.
  // True when a unit was sent.
  bool turn(std::int64_t patience_ns) {
    if (now_ns() >= ping_at_) {
      control_.send(Packer("Ping", 1).integer("sent_ns", now_ns()));
      ping_at_ = now_ns() + kNsPerSec;
    }
    if (!may_send(patience_ns)) return false;
    if (!subscription_) subscription_ = pipeline_.subscribe(1);
    const PacketPtr packet = subscription_->next(patience_ns);
    if (packet) video_->send(header(*packet), packet->data);
    return packet != nullptr;
  }

 private:
  static constexpr std::uint32_t kUnacknowledged = 2;  // units on their way
  static constexpr std::size_t kHeader = 72;
  static constexpr std::uint8_t kUnit = 1;
  static constexpr std::uint8_t kAcknowledgement = 3;

  [[nodiscard]] bool may_send(std::int64_t patience_ns) {
    std::unique_lock lock(mutex_);
    const auto may = [this] { return watched_ && sequence_ - acknowledged_ < kUnacknowledged; };
    changed_.wait_for(lock, std::chrono::nanoseconds(patience_ns),
                      [&] { return may() || !lost_.empty(); });
    if (!lost_.empty()) throw std::runtime_error(lost_);
    if (!watched_) subscription_.reset();
    return may();
  }

  [[nodiscard]] Line::Bytes header(const Packet& packet) {
    {
      const std::lock_guard lock(mutex_);
      ++sequence_;
    }
    Line::Bytes bytes;
    bytes.reserve(kHeader);
    put_big_endian(bytes, packet.data.size(), 4);
    put_big_endian(bytes, kUnit, 1);
    put_big_endian(bytes, (packet.keyframe ? 1U : 0U) | (packet.refinement ? 2U : 0U), 1);
    put_big_endian(bytes, 0, 2);  // the main rendition
    put_big_endian(bytes, 0, 4);  // channel
    put_big_endian(bytes, sequence_, 4);
    put_big_endian(bytes, packet.generation, 4);
    put_big_endian(bytes, static_cast<std::uint64_t>(packet.width), 2);
    put_big_endian(bytes, static_cast<std::uint64_t>(packet.height), 2);
    for (const std::int64_t time : {packet.pts_us, packet.times.damaged, packet.times.captured,
                                    packet.times.encoded, now_ns(), std::int64_t{0}})
      put_big_endian(bytes, static_cast<std::uint64_t>(time), 8);
    return bytes;
  }

  void send_state() {
    const auto displays = list_displays("");
    Packer state("SourceState", 3);
    state.array("displays", displays.size());
    std::string shown;
    for (const DisplayInfo& display : displays) {
      state.map(5).text("id", display.id).text("name", display.name);
      state.integer("width", display.bounds.width).integer("height", display.bounds.height);
      state.boolean("primary", display.primary);
      if (display.primary) shown = display.id;
    }
    control_.send(state.text("shown", shown).text("problem", ""));
  }

  // ---- the two threads that read

  template <typename Take>
  void read(Take take) {
    std::string why;
    try {
      while (true) take();
    } catch (const std::exception& error) {
      why = error.what();
    }
    const std::lock_guard lock(mutex_);
    if (lost_.empty()) lost_ = why;
    changed_.notify_all();
  }

  void take_message() {
    const Unpacked message = control_.receive_message();
    const std::int64_t received = now_ns();
    const std::string name = message.text("t");
    if (name == "Ping") {
      Packer pong("Pong", 3);
      pong.integer("sent_ns", message.integer("sent_ns")).integer("received_ns", received);
      control_.send(pong.integer("answered_ns", now_ns()));
    } else if (name == "Watch" && message.integer("rendition") == 0) {
      watch(message);
    } else if (name == "KeyframeWanted" && message.integer("rendition") == 0) {
      pipeline_.request_keyframe();
    } else if (name != "Pong" && name != "Watch" && name != "KeyframeWanted" && name != "Driven") {
      throw std::runtime_error(refusal(message));
    }
  }

  void watch(const Unpacked& message) {
    PipelineUpdate rate;
    rate.fps = message.number("fps");
    rate.bitrate = static_cast<int>(message.integer("bitrate"));
    pipeline_.update(rate);
    const std::lock_guard lock(mutex_);
    watched_ = message.boolean("active");
    changed_.notify_all();
  }

  void take_acknowledgement() {
    const Line::Bytes frame = video_->receive(kHeader);
    if (frame[4] != kAcknowledgement)
      throw std::runtime_error("the hub sent a video frame of kind " + std::to_string(frame[4]));
    std::uint32_t sequence = 0;
    for (std::size_t i = 12; i < 16; ++i) sequence = sequence << 8 | frame[i];
    const std::lock_guard lock(mutex_);
    if (sequence > sequence_)
      throw std::runtime_error("the hub has taken in unit " + std::to_string(sequence) +
                               ", which was not sent");
    acknowledged_ = sequence;
    changed_.notify_all();
  }

  static std::string refusal(const Unpacked& message) {
    const std::string name = message.text("t");
    return name == "Refused" ? message.text("reason") : "the hub sent an unexpected " + name;
  }

  Pipeline& pipeline_;
  Line control_;
  std::unique_ptr<Line> video_;
  std::shared_ptr<Subscription> subscription_;
  std::int64_t ping_at_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool watched_ = false;
  std::uint32_t sequence_ = 0;  // written by turn() alone
  std::uint32_t acknowledged_ = 0;
  std::string lost_;  // why; empty while the connection lives
  std::thread readers_[2];
};

}  // namespace kvm::test
