// A stream's share of a capture that other streams of this process may use as well.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "capture/shared_capture.hpp"
#include "capture/source.hpp"

namespace kvm {

class SharedSource final : public FrameSource {
 public:
  SharedSource(std::shared_ptr<SharedCaptures> captures, std::shared_ptr<LogRing> log,
               std::shared_ptr<AreaMemory> memory = std::make_shared<AreaMemory>())
      : captures_(std::move(captures)) {
    client_.log = std::move(log);
    client_.memory = std::move(memory);
  }
  ~SharedSource() override { SharedSource::close(); }

  [[nodiscard]] std::string description() const override { return client_.description; }
  void open(const StreamConfig& config) override {
    close();
    client_.config = config;
    found_ = captures_->find(config);
    found_->join(client_);
    const std::lock_guard lock(mutex_);
    capture_ = found_;
  }
  [[nodiscard]] int width() const override { return client_.width; }
  [[nodiscard]] int height() const override { return client_.height; }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) override {
    return capture_->wait(client_, not_before_ns, deadline_ns);
  }
  void wake() override {
    client_.woken = true;
    if (const auto capture = opened()) capture->wake(client_);
  }
  // Another region of the same screen, or another way to show its pointer, cannot be shared.
  [[nodiscard]] bool exclusive() const override { return true; }
  [[nodiscard]] std::shared_ptr<GpuDevice> textures() const override { return client_.textures; }
  void refuse_textures(const GpuDevice& of) override {
    if (const auto capture = opened()) capture->refuse_textures(of);
  }
  void close() override {
    std::shared_ptr<SharedCapture> closed;
    {
      const std::lock_guard lock(mutex_);
      closed.swap(capture_);
    }
    if (closed) closed->leave(client_);
    client_.textures.reset();
  }

 private:
  [[nodiscard]] std::shared_ptr<SharedCapture> opened() {
    const std::lock_guard lock(mutex_);
    return capture_;
  }

  std::shared_ptr<SharedCaptures> captures_;
  SharedCapture::Client client_;
  // Stays after close(): what the source keeps from one attempt to the next is for that.
  std::shared_ptr<SharedCapture> found_;
  std::mutex mutex_;
  std::shared_ptr<SharedCapture> capture_;  // written by open() and close(), null in between
};

}  // namespace kvm
