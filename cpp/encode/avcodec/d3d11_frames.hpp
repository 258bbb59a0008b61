// D3D11 textures as libavcodec takes them: a pool of its own on the encoder's device, which each
// picture is copied to, or converted, on the GPU.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "capture/dxgi/shared_textures.hpp"
#include "encode/avcodec/ffmpeg.hpp"
#include "encode/avcodec/settings.hpp"
#include "encode/d3d11/nv12_converter.hpp"
#include "encode/encoder.hpp"

namespace kvm {

class D3d11Frames {
 public:
  // For an encoder. Null with the reason in `why`.
  [[nodiscard]] static std::shared_ptr<D3d11Frames> make(const AVCodec& codec,
                                                         const EncoderFormat& format,
                                                         TextureInput kind, std::string& why);
  // On the device of `format.textures`. Throws Error{kEncoder}.
  D3d11Frames(const EncoderFormat& format, TextureInput kind, const ff::LogCapture& log);

  // What frames of that kind are to libavcodec.
  [[nodiscard]] static AVPixelFormat pixels_of(TextureInput kind) noexcept {
    return kind == TextureInput::kQsv ? AV_PIX_FMT_QSV : AV_PIX_FMT_D3D11;
  }
  // A new reference to the pool, for AVCodecContext::hw_frames_ctx to own.
  [[nodiscard]] AVBufferRef* reference() const {
    return ff::own<ff::Buffer>(av_buffer_ref(surfaces_ ? surfaces_.get() : pool_.get())).release();
  }
  // A frame of the pool with that picture, of the coded size; valid until the next call. Throws
  // Error{kEncoder} when the picture is lost or of another device.
  [[nodiscard]] AVFrame* frame_of(const GpuPicture& picture, const ff::LogCapture& log);

 private:
  [[nodiscard]] bool fill(const dxgi::SharedPicture& picture) const;

  std::shared_ptr<GpuDevice> device_;
  int width_;  // coded
  int height_;
  ff::Buffer pool_;
  std::optional<Nv12Converter> converter_;
  ff::Frame frame_;
  ff::Buffer surfaces_;  // the pool as QuickSync has it, or null
  ff::Frame surface_;
};

}  // namespace kvm
