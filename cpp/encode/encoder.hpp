// The Encoder seam: pictures in, H.264 access units out, one in flight.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "frame/config.hpp"
#include "frame/frame.hpp"

namespace kvm {

// What the picture handed to encode() looks like; fixed from open() to close().
struct EncoderFormat {
  int width = 0;  // coded size: even, true size rounded up
  int height = 0;
  PixelFormat pixel_format = PixelFormat::kNv12;
  // Of the planes when they are BGRA, which hold the true size; else 0.
  int bgra_width = 0;
  int bgra_height = 0;
  // Pictures come from it, BGRA of the true size, and stay on the GPU where the encoder can read
  // them there; null = all come in memory.
  std::shared_ptr<GpuDevice> textures = {};
};

// Rate aims that update() may change while the encoder runs.
struct RateSettings {
  double fps = 60.0;
  int bitrate = 6'000'000;  // bit/s ceiling
  double crf = 23.0;        // x264's scale
};

struct EncodeHints {
  bool keyframe = false;            // the access unit must be an IDR
  const TileMap* damage = nullptr;  // changed since the last picture this encoder took; null = all
  int refine_step = 0;              // 0 = new content; 1…6 = n-th pass over unchanged content
  std::int64_t pts_us = 0;          // rising
  std::int64_t wall_ns = 0;         // CLOCK_MONOTONIC of this call: rate control counts real time
};

struct AccessUnit {
  std::vector<std::uint8_t> data;  // Annex B, SPS + PPS before every IDR
  bool keyframe = false;
  std::int64_t pts_us = 0;
};
struct NeedMore {};  // taken; its access unit comes with a later call or drain()
struct Failed {
  std::string reason;  // the encoder must be closed and rebuilt
};
using EncodeResult = std::variant<AccessUnit, NeedMore, Failed>;

// What an update() cost.
enum class UpdateResult {
  kSeamless,     // applied from the next picture on
  kKeyframe,     // applied, and the encoder starts again with an IDR
  kNeedsReopen,  // not possible live: the pipeline reopens the encoder
};

// Owned and called by one thread (the encode thread) from open() to the destructor.
class Encoder {
 public:
  virtual ~Encoder() = default;
  Encoder() = default;
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // "libx264", "h264_nvenc", … as shown to the user.
  [[nodiscard]] virtual std::string_view name() const = 0;
  // Pixel formats it takes for this chroma, best first. Empty = cannot.
  [[nodiscard]] virtual std::span<const PixelFormat> accepts(Chroma chroma) const = 0;
  // Throws Error{kEncoder} with the reason. `notes` receives one line for each setting that has no
  // counterpart here.
  virtual void open(const EncoderFormat& format, const StreamConfig& config,
                    std::vector<std::string>& notes) = 0;
  // Planes are read before it returns and not kept.
  [[nodiscard]] virtual EncodeResult encode(const CpuPlanes& planes, const EncodeHints& hints) = 0;
  // What open() made of EncoderFormat::textures; until close(). When true every picture has to come
  // by encode_texture(), and be of that device.
  [[nodiscard]] virtual bool takes_textures() const { return false; }
  // The texture is copied before it returns.
  [[nodiscard]] virtual EncodeResult encode_texture(const GpuPicture& /*picture*/,
                                                    const EncodeHints& /*hints*/) {
    return Failed{std::string(name()) + " takes no textures"};
  }
  // Access units still inside, oldest first.
  [[nodiscard]] virtual std::vector<AccessUnit> drain() = 0;
  [[nodiscard]] virtual UpdateResult update(const RateSettings& rate) = 0;
  // Idempotent.
  virtual void close() = 0;
};

}  // namespace kvm
