// Scale, convert and encode: everything that the encode thread does to a picture.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "convert/convert.hpp"
#include "encode/encoder.hpp"
#include "encode/ladder.hpp"
#include "pipeline/packet.hpp"

namespace kvm {

// Encode thread only.
class EncodeStage {
 public:
  EncodeStage(Ladder ladder, StreamConfig config, std::int64_t start_ns,
              std::shared_ptr<LogRing> log);

  // Makes the encoder ready for pictures of this size, on that GPU where it can read them there.
  // Throws Error{kEncoderUnavailable}.
  void prepare(int source_width, int source_height, std::shared_ptr<GpuDevice> textures = nullptr);

  struct Request {
    bool fresh = false;  // `frame` is new; else the picture of the last call again
    bool keyframe = false;
    int refine_step = 0;
    std::uint64_t epoch = 0;  // a new one (another monitor, another size) begins a new generation
    std::shared_ptr<GpuDevice> textures = {};  // what pictures of this epoch may be on
  };
  // Null when the encoder wants more before it gives a packet, or picture_lost(). An encoder that
  // fails is rebuilt once, then the next one on the ladder takes over. Throws
  // Error{kEncoderUnavailable} when none is left.
  [[nodiscard]] std::optional<Packet> encode(const Frame& frame, const Request& request);

  // The last call's picture was on a GPU, where nobody can read it any more: the next call needs
  // another one, which becomes a keyframe.
  [[nodiscard]] bool picture_lost() const noexcept { return picture_lost_; }
  // Whether pictures should stay on the GPU.
  [[nodiscard]] bool takes_textures() const { return encoder_ && encoder_->takes_textures(); }

  void update(const RateSettings& rate);
  // When the encoder counts as silent; nothing when it owes no packet.
  [[nodiscard]] std::optional<std::int64_t> silence_deadline() const;

  [[nodiscard]] std::uint32_t generation() const noexcept { return generation_; }
  [[nodiscard]] int width() const noexcept { return width_; }
  [[nodiscard]] int height() const noexcept { return height_; }
  [[nodiscard]] std::string encoder_name() const;
  [[nodiscard]] const std::vector<std::string>& notes() const noexcept { return notes_; }

 private:
  void choose_size(int source_width, int source_height);
  void open_encoder();
  // These: false when the picture is lost.
  [[nodiscard]] bool convert(const Frame& frame, bool whole);
  [[nodiscard]] bool bring_to_memory(const Frame& frame, bool whole);
  // Of the encoded size.
  [[nodiscard]] const CpuPlanes& bgra_planes() const;
  [[nodiscard]] EncodeResult encode_by(const Frame& frame, const EncodeHints& hints);
  // Whether the encoder has to be opened again for what is offered now.
  [[nodiscard]] bool consider(const std::shared_ptr<GpuDevice>& textures);
  // The encoder is opened again, for memory.
  void refuse_textures(const std::string& reason);
  void give_up_on_encoder(const std::string& reason);
  [[nodiscard]] Packet make_packet(AccessUnit unit);

  struct Submitted {
    std::int64_t pts_us;
    std::int64_t submitted_ns;
    FrameTimes times;
    bool refinement;
  };

  Ladder ladder_;
  StreamConfig config_;
  std::int64_t start_ns_;
  std::shared_ptr<LogRing> log_;
  std::unique_ptr<Encoder> encoder_;
  EncoderFormat format_;
  YuvPicture yuv_;  // unused by encoders that take BGRA
  std::optional<Scaler> scaler_;
  CpuPlanes source_planes_;             // of the picture at hand
  std::vector<std::uint8_t> from_gpu_;  // its memory, where it came from a GPU
  std::shared_ptr<GpuDevice> offered_;  // what pictures may be on
  bool textures_refused_ = false;       // of offered_
  bool picture_lost_ = false;
  TileMap encode_damage_;  // in the encoded picture, of the current call
  std::vector<std::string> notes_;
  std::deque<Submitted> inside_;  // given to the encoder, not yet out
  int source_width_ = 0;
  int source_height_ = 0;
  int width_ = 0;
  int height_ = 0;
  std::uint32_t generation_ = 0;
  std::uint64_t epoch_ = 0;
  std::int64_t last_pts_us_ = -1;
  bool convert_all_ = true;
  bool force_keyframe_ = true;
};

}  // namespace kvm
