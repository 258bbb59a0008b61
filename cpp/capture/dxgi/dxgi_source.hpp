// Captures a monitor (or a region of it) of a Windows desktop by Desktop Duplication, which hands
// out each new picture together with what moved and what is new in it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/log.hpp"
#include "base/wake_event.hpp"
#include "capture/choose_area.hpp"
#include "capture/dxgi/desktop_picture.hpp"
#include "capture/dxgi/duplicator.hpp"
#include "capture/dxgi/pointer.hpp"
#include "capture/dxgi/texture_ring.hpp"
#include "capture/frame_pool.hpp"
#include "capture/source.hpp"

namespace kvm::dxgi {

class DxgiSource final : public FrameSource {
 public:
  // With `sharing` pictures stay on the GPU where they can. In memory there are `buffers` of them
  // at most, for as many consumers.
  DxgiSource(std::shared_ptr<LogRing> log, std::unique_ptr<Duplicator> duplicator,
             std::shared_ptr<AreaMemory> memory = std::make_shared<AreaMemory>(),
             std::shared_ptr<TextureSharing> sharing = nullptr,
             std::size_t buffers = FramePool::kBuffers)
      : log_(std::move(log)),
        duplicator_(std::move(duplicator)),
        memory_(std::move(memory)),
        sharing_(std::move(sharing)),
        buffers_(buffers) {}
  ~DxgiSource() override { DxgiSource::close(); }

  [[nodiscard]] std::string description() const override;
  void open(const StreamConfig& config) override;
  [[nodiscard]] int width() const override { return area_.width; }
  [[nodiscard]] int height() const override { return area_.height; }
  [[nodiscard]] SourceEvent wait(std::int64_t not_before_ns, std::int64_t deadline_ns) override;
  void wake() override { wake_.set(); }
  // Windows lets a process duplicate an output once.
  [[nodiscard]] bool exclusive() const override { return true; }
  [[nodiscard]] std::shared_ptr<GpuDevice> textures() const override {
    return ring_ ? ring_->textures() : nullptr;
  }
  void refuse_textures(const GpuDevice& of) override { refused_ = &of; }
  void close() override;

 private:
  // Which monitor and what of it; the latter from the monitor's corner.
  [[nodiscard]] ChosenArea choose() const;
  [[nodiscard]] HRESULT attach();
  void detach();
  // With another duplication, and all of its picture.
  void begin_anew(HRESULT why);
  void release_frame();

  [[nodiscard]] bool wants_frame() const noexcept { return has_picture_ && damage_.any(); }
  // Before a picture is wanted Windows gathers better than anybody else: while the last frame is
  // held it notes where the desktop changes, moves in their order, and copies nothing. Not so where
  // the pointer is told apart, which comes by frames as well and must not wait; then DesktopPicture
  // gathers.
  [[nodiscard]] bool gathers_there() const noexcept {
    return has_picture_ && !fresh_ && config_.cursor != CursorMode::kMetadata;
  }
  [[nodiscard]] Rect in_area(const Rect& r) const noexcept {
    return {r.x - area_.x, r.y - area_.y, r.width, r.height};
  }

  // What wait() does once; nothing when it should go on.
  [[nodiscard]] std::optional<SourceEvent> check_outputs(std::int64_t now);
  [[nodiscard]] std::optional<SourceEvent> check_failing(std::int64_t now);
  [[nodiscard]] std::optional<SourceEvent> attach_again(std::int64_t now);
  void failed_to_attach(HRESULT why, std::int64_t now);
  void acquire(std::int64_t until);
  void take(const DXGI_OUTDUPL_FRAME_INFO& info, ID3D11Texture2D* surface);
  void settle_for_old_picture();
  void has_new_picture(std::int64_t when_ns);
  void take_pointer(const DXGI_OUTDUPL_FRAME_INFO& info);
  void note_damage(std::int64_t when_ns);
  [[nodiscard]] std::optional<Frame> publish();
  [[nodiscard]] std::optional<Frame> publish_in_memory();
  // Only a surface that is upright, BGRA8 and without a pointer to be drawn on it can be copied.
  [[nodiscard]] bool suits_textures() const noexcept {
    return config_.cursor != CursorMode::kEmbedded && !held_.output.hdr &&
           held_.output.rotation <= DXGI_MODE_ROTATION_IDENTITY;
  }
  [[nodiscard]] ID3D11Texture2D* texture_to_publish();
  void begin_textures();
  // With the next picture, which is a whole one, until the source is opened again.
  void end_textures();
  void make_pool() { pool_.emplace(area_.width, area_.height, buffers_); }

  std::shared_ptr<LogRing> log_;
  std::unique_ptr<Duplicator> duplicator_;
  std::shared_ptr<AreaMemory> memory_;
  std::shared_ptr<TextureSharing> sharing_;  // null: not wanted
  std::size_t buffers_;
  WakeEvent wake_;
  StreamConfig config_;
  std::string monitor_;  // its id
  Rect monitor_bounds_;  // on the desktop
  Rect area_;            // of the monitor, from its corner

  // Goes with a duplication.
  Duplicated held_;
  std::optional<SurfaceReader> reader_;
  bool holds_frame_ = false;
  bool fresh_ = false;    // nothing new was presented yet
  bool fetched_ = false;  // what it began with
  std::int64_t attached_ns_ = 0;
  std::int64_t next_settle_ns_ = 0;  // for what it began with

  DesktopPicture picture_;
  bool has_picture_ = false;
  Pointer pointer_;
  bool pointer_news_ = false;  // to be told
  TileMap damage_;             // of the picture and of a drawn pointer, since the last frame
  std::int64_t damaged_ns_ = 0;
  std::optional<FramePool> pool_;
  std::unique_ptr<TextureRing> ring_;               // in place of pool_
  std::atomic<const GpuDevice*> refused_{nullptr};  // compared, never used

  std::int64_t rest_until_ns_ = 0;
  std::int64_t next_check_ns_ = 0;     // of the outputs
  std::int64_t next_attach_ns_ = 0;    // while there is no duplication
  std::int64_t pause_ns_ = 0;          // before the newest attach
  std::int64_t failing_since_ns_ = 0;  // without a picture since; 0 = all is well
  HRESULT failure_ = S_OK;             // the newest
  bool secure_desktop_ = false;        // told already
  bool protected_told_ = false;
};

}  // namespace kvm::dxgi
