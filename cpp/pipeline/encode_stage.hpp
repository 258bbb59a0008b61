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

  // Makes the encoder ready for pictures of this size. Throws Error{kEncoderUnavailable}.
  void prepare(int source_width, int source_height);

  struct Request {
    bool fresh = false;  // `frame` is new; else the picture of the last call again
    bool keyframe = false;
    int refine_step = 0;
    std::uint64_t epoch = 0;  // a new one (another monitor, another size) begins a new generation
  };
  // Null when the encoder wants more before it gives a packet. An encoder that fails is rebuilt
  // once, then the next one on the ladder takes over. Throws Error{kEncoderUnavailable} when none
  // is left.
  [[nodiscard]] std::optional<Packet> encode(const Frame& frame, const Request& request);

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
  void convert(const Frame& frame, bool whole);
  // Of the encoded size.
  [[nodiscard]] const CpuPlanes& bgra_planes(const Frame& frame) const;
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
