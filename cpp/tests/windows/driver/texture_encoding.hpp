// Encoding of textures for the tests of drivers that have no GPU.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../texture_support.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"
#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/h264_sps.hpp"

namespace kvm::test {

// An encoder, and a ring whose textures it is opened for. NV12 textures are those of Nv12Support.
class TextureEncoding {
 public:
  explicit TextureEncoding(const char* name) : encoder(make_avcodec_encoder(name)) {
    REQUIRE(ring);
    format.width = (desk.at.width + 1) & ~1;
    format.height = (desk.at.height + 1) & ~1;
    format.bgra_width = desk.at.width;
    format.bgra_height = desk.at.height;
    format.textures = ring->textures();
  }
  void open() {
    encoder->open(format, {}, notes);
    REQUIRE(encoder->takes_textures());
  }
  EncodeResult encode(const Frame& frame, bool keyframe = false) {
    EncodeHints hints;
    hints.keyframe = keyframe;
    hints.pts_us = ++pts;
    hints.wall_ns = now_ns();
    return encoder->encode_texture(*frame.on_gpu(), hints);
  }
  // Of the encoder's device.
  [[nodiscard]] int device_references() const {
    return references(*ring->textures()->encoder().device);
  }

  Desk desk{{24, 10, 141, 83}};
  std::unique_ptr<dxgi::TextureRing> ring = desk.ring();
  Nv12Support nv12{*desk.device};
  EncoderFormat format;
  std::unique_ptr<Encoder> encoder;
  std::vector<std::string> notes;
  std::int64_t pts = 0;
};

[[nodiscard]] inline std::optional<SpsInfo> sps_of(const AccessUnit& unit) {
  std::optional<SpsInfo> sps;
  for_each_nal(unit.data, [&](const NalUnit& nal) {
    if (nal.type() == kNalSps) sps = parse_sps(nal.bytes);
    return true;
  });
  return sps;
}

}  // namespace kvm::test
