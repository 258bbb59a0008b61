#include "encode/avcodec/d3d11_frames.hpp"

extern "C" {
#include <libavutil/hwcontext.h>
#include <libavutil/hwcontext_d3d11va.h>
}

namespace kvm {
namespace {

// With a reference of its own, as FFmpeg lets go of it.
template <typename T>
[[nodiscard]] T* given(const ComPtr<T>& object) {
  if (object) object->AddRef();
  return object.get();
}

[[nodiscard]] ff::Buffer make_device(const dxgi::EncoderDevice& from, const ff::LogCapture& log) {
  auto device = ff::own<ff::Buffer>(av_hwdevice_ctx_alloc(AV_HWDEVICE_TYPE_D3D11VA));
  auto* d3d11 = static_cast<AVD3D11VADeviceContext*>(
      reinterpret_cast<AVHWDeviceContext*>(device->data)->hwctx);
  d3d11->device = given(from.device);
  d3d11->device_context = given(from.context);
  d3d11->video_device = given(from.video_device);
  d3d11->video_context = given(from.video_context);
  ff::check(av_hwdevice_ctx_init(device.get()), "D3D11 device", log);
  return device;
}

}  // namespace

D3d11Frames::D3d11Frames(const EncoderFormat& format, const ff::LogCapture& log)
    : device_(format.textures) {
  const auto* textures = dynamic_cast<const dxgi::SharedTextures*>(device_.get());
  if (textures == nullptr) throw Error(ErrorKind::kEncoder, "no D3D11 device to encode on");
  const ff::Buffer device = make_device(textures->encoder(), log);
  pool_ = ff::own<ff::Buffer>(av_hwframe_ctx_alloc(device.get()));
  auto* pool = reinterpret_cast<AVHWFramesContext*>(pool_->data);
  pool->format = AV_PIX_FMT_D3D11;
  pool->sw_format = AV_PIX_FMT_BGRA;
  pool->width = format.width;
  pool->height = format.height;
  // Textures one by one, as many as are in use; NVENC registers render targets alone.
  pool->initial_pool_size = 0;
  static_cast<AVD3D11VAFramesContext*>(pool->hwctx)->BindFlags = D3D11_BIND_RENDER_TARGET;
  ff::check(av_hwframe_ctx_init(pool_.get()), "D3D11 textures", log);
  frame_ = ff::own<ff::Frame>(av_frame_alloc());
}

AVFrame* D3d11Frames::copy(const GpuPicture& picture, const ff::LogCapture& log) {
  const auto* shared = dynamic_cast<const dxgi::SharedPicture*>(&picture);
  if (shared == nullptr || picture.device() != device_)
    throw Error(ErrorKind::kEncoder, "a picture of another device");
  av_frame_unref(frame_.get());
  ff::check(av_hwframe_get_buffer(pool_.get(), frame_.get(), 0), "texture", log);
  auto* to = reinterpret_cast<ID3D11Texture2D*>(frame_->data[0]);
  const auto index = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(frame_->data[1]));
  if (!shared->copy_to(*to, index, frame_->width, frame_->height))
    throw Error(ErrorKind::kEncoder, shared->textures().why_lost());
  return frame_.get();
}

}  // namespace kvm
