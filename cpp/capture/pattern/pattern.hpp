// A synthetic moving picture that needs no display: the n-th frame is always the same.
#pragma once

#include <memory>
#include <optional>

#include "base/wake_event.hpp"
#include "capture/frame_pool.hpp"
#include "capture/source.hpp"

namespace kvm {

// A still gradient with a box that moves over it and a bar of the frame number's bits along the top
// edge. config.display: "WxH" sets the size, "fast" ignores fps; else region's size, else
// 1920×1080.
class PatternSource final : public FrameSource {
 public:
  [[nodiscard]] std::string description() const override { return "pattern"; }
  void open(const StreamConfig& config) override;
  [[nodiscard]] int width() const override { return width_; }
  [[nodiscard]] int height() const override { return height_; }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) override;
  void wake() override { wake_.set(); }
  void close() override { pool_.reset(); }

 private:
  [[nodiscard]] Rect box_at(std::uint32_t index) const noexcept;
  void paint_background(const CpuPlanes& planes, const Rect& rect) const noexcept;
  void paint_box(const CpuPlanes& planes, const Rect& box, std::uint32_t index) const noexcept;
  void paint_counter(const CpuPlanes& planes, std::uint32_t index) const noexcept;

  WakeEvent wake_;
  std::optional<FramePool> pool_;
  int width_ = 0;
  int height_ = 0;
  bool fast_ = false;
  std::uint32_t index_ = 0;
};

}  // namespace kvm
