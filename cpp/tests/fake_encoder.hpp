// A fault-injecting encoder behind the real seam: what the machines without a GPU prove the ladder
// with.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "base/error.hpp"
#include "encode/encoder.hpp"
#include "encode/ladder.hpp"

namespace kvm::test {

// Shared by all instances of one rung, set by the test from any thread.
struct FakeControl {
  std::atomic<bool> fail_open{false};
  std::atomic<int> fail_after{-1};    // encodes until Failed; -1 = never
  std::atomic<int> silent_after{-1};  // encodes until it swallows pictures
  std::atomic<int> opened{0};
  std::atomic<int> encoded{0};
  std::atomic<int> slow_ms{0};
  std::atomic<int> refined{0};
  std::atomic<UpdateResult> update_costs{UpdateResult::kSeamless};
  std::atomic<int> bitrate{0};  // of the last open() or update()
};

class FakeEncoder final : public Encoder {
 public:
  FakeEncoder(std::string name, std::shared_ptr<FakeControl> control)
      : name_(std::move(name)), control_(std::move(control)) {}

  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma chroma) const override {
    static constexpr std::array formats{PixelFormat::kNv12};
    return chroma == Chroma::k420 ? std::span<const PixelFormat>(formats)
                                  : std::span<const PixelFormat>();
  }
  void open(const EncoderFormat&, const StreamConfig& config, std::vector<std::string>&) override {
    if (control_->fail_open) throw Error(ErrorKind::kEncoder, name_ + ": injected open failure");
    ++control_->opened;
    control_->bitrate = config.bitrate;
  }
  [[nodiscard]] EncodeResult encode(const CpuPlanes&, const EncodeHints& hints) override;
  [[nodiscard]] std::vector<AccessUnit> drain() override { return {}; }
  [[nodiscard]] UpdateResult update(const RateSettings& rate) override {
    const UpdateResult cost = control_->update_costs;
    if (cost != UpdateResult::kNeedsReopen) control_->bitrate = rate.bitrate;
    return cost;
  }
  void close() override {}

 private:
  std::string name_;
  std::shared_ptr<FakeControl> control_;
  int count_ = 0;
};

inline EncodeResult FakeEncoder::encode(const CpuPlanes&, const EncodeHints& hints) {
  ++count_;
  if (const int ms = control_->slow_ms; ms > 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  if (const int after = control_->fail_after; after >= 0 && count_ > after)
    return Failed{"injected failure"};
  if (const int after = control_->silent_after; after >= 0 && count_ > after) return NeedMore{};
  ++control_->encoded;
  if (hints.refine_step > 0) ++control_->refined;
  AccessUnit unit;
  unit.data = {0, 0, 0, 1, static_cast<std::uint8_t>(hints.keyframe ? 0x65 : 0x41)};
  unit.keyframe = hints.keyframe;
  unit.pts_us = hints.pts_us;
  return unit;
}

inline Candidate fake_candidate(const std::string& name, std::shared_ptr<FakeControl> control,
                                bool hardware = true) {
  Candidate candidate;
  candidate.name = name;
  candidate.hardware = hardware;
  candidate.create = [name, control] { return std::make_unique<FakeEncoder>(name, control); };
  return candidate;
}

}  // namespace kvm::test
