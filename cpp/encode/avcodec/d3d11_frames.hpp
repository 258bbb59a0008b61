// D3D11 textures as libavcodec takes them: a pool of its own on the encoder's device, which each
// picture is copied to on the GPU.
#pragma once

#include <memory>

#include "capture/dxgi/shared_textures.hpp"
#include "encode/avcodec/ffmpeg.hpp"
#include "encode/encoder.hpp"

namespace kvm {

class D3d11Frames {
 public:
  // On the device of `format.textures`. Throws Error{kEncoder}.
  D3d11Frames(const EncoderFormat& format, const ff::LogCapture& log);

  // A new reference to the pool, for AVCodecContext::hw_frames_ctx to own.
  [[nodiscard]] AVBufferRef* reference() const {
    return ff::own<ff::Buffer>(av_buffer_ref(pool_.get())).release();
  }
  // A frame of the pool with that picture, of the coded size; valid until the next call. Throws
  // Error{kEncoder} when the picture is lost or of another device.
  [[nodiscard]] AVFrame* copy(const GpuPicture& picture, const ff::LogCapture& log);

 private:
  std::shared_ptr<GpuDevice> device_;
  ff::Buffer pool_;
  ff::Frame frame_;
};

}  // namespace kvm
