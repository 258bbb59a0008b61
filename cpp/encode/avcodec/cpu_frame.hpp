// The pipeline's planes as libavcodec takes them.
#pragma once

#include "encode/avcodec/ffmpeg.hpp"
#include "encode/encoder.hpp"

namespace kvm {

class CpuFrame {
 public:
  enum class Planes {
    kBorrowed,  // read during the call
    kCopied,    // the encoder keeps a reference past the call
  };

  CpuFrame() = default;
  CpuFrame(const EncoderFormat& format, AVPixelFormat pixels, Planes planes);

  // A frame of these planes, valid until the next call. Throws std::bad_alloc.
  [[nodiscard]] AVFrame& of(const CpuPlanes& planes);

 private:
  void describe();
  void copy(const CpuPlanes& planes);
  void borrow(const CpuPlanes& planes);

  EncoderFormat format_;
  AVPixelFormat pixels_ = AV_PIX_FMT_NONE;
  Planes planes_ = Planes::kBorrowed;
  ff::Frame frame_;
};

}  // namespace kvm
