#include "encode/avcodec/d3d11_frames.hpp"

extern "C" {
#include <libavutil/hwcontext.h>
#include <libavutil/hwcontext_d3d11va.h>
}

namespace kvm {
namespace {

// QuickSync is told of all its textures beforehand, whose sides it wants in whole macroblocks. One
// is drawn to and one encoded; drivers keep some for a while.
constexpr int kQsvTextures = 8;
constexpr int kQsvStep = 16;

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

[[nodiscard]] ff::Buffer make_pool(AVBufferRef& device, const EncoderFormat& format,
                                   TextureInput kind, const ff::LogCapture& log) {
  auto buffer = ff::own<ff::Buffer>(av_hwframe_ctx_alloc(&device));
  auto* pool = reinterpret_cast<AVHWFramesContext*>(buffer->data);
  const bool qsv = kind == TextureInput::kQsv;
  const int step = qsv ? kQsvStep : 1;
  pool->format = AV_PIX_FMT_D3D11;
  pool->sw_format = kind == TextureInput::kBgra ? AV_PIX_FMT_BGRA : AV_PIX_FMT_NV12;
  pool->width = (format.width + step - 1) / step * step;
  pool->height = (format.height + step - 1) / step * step;
  // 0: textures one by one, as many as are in use.
  pool->initial_pool_size = qsv ? kQsvTextures : 0;
  // What NVENC registers, AMF and Media Foundation take, the converter draws to, and FFmpeg tells
  // QuickSync of one by one.
  static_cast<AVD3D11VAFramesContext*>(pool->hwctx)->BindFlags = D3D11_BIND_RENDER_TARGET;
  ff::check(av_hwframe_ctx_init(buffer.get()), "D3D11 textures", log);
  return buffer;
}

// The same textures as surfaces of a QuickSync session on the same device.
[[nodiscard]] ff::Buffer derive_surfaces(AVBufferRef& device, AVBufferRef& pool,
                                         const ff::LogCapture& log) {
  AVBufferRef* made = nullptr;
  ff::check(av_hwdevice_ctx_create_derived(&made, AV_HWDEVICE_TYPE_QSV, &device, 0),
            "QuickSync on the D3D11 device", log);
  const ff::Buffer session(made);
  made = nullptr;
  ff::check(av_hwframe_ctx_create_derived(&made, AV_PIX_FMT_QSV, session.get(), &pool,
                                          AV_HWFRAME_MAP_DIRECT),
            "D3D11 textures for QuickSync", log);
  return ff::Buffer(made);
}

}  // namespace

std::shared_ptr<D3d11Frames> D3d11Frames::make(const AVCodec& codec, const EncoderFormat& format,
                                               TextureInput kind, std::string& why) {
  if (!takes_pixels(codec, pixels_of(kind))) {
    why = std::string("FFmpeg ") + av_version_info() + " gives it no textures";
    return nullptr;
  }
  try {
    return std::make_shared<D3d11Frames>(format, kind, ff::LogCapture());
  } catch (const Error& error) {
    why = error.what();
    return nullptr;
  }
}

D3d11Frames::D3d11Frames(const EncoderFormat& format, TextureInput kind, const ff::LogCapture& log)
    : device_(format.textures), width_(format.width), height_(format.height) {
  const auto* textures = dynamic_cast<const dxgi::SharedTextures*>(device_.get());
  if (textures == nullptr) throw Error(ErrorKind::kEncoder, "no D3D11 device to encode on");
  const dxgi::EncoderDevice& encoder = textures->encoder();
  const ff::Buffer device = make_device(encoder, log);
  pool_ = make_pool(*device, format, kind, log);
  frame_ = ff::own<ff::Frame>(av_frame_alloc());
  if (kind != TextureInput::kBgra)
    converter_.emplace(encoder.device, encoder.context, textures->width, textures->height);
  if (kind == TextureInput::kQsv) {
    surfaces_ = derive_surfaces(*device, *pool_, log);
    surface_ = ff::own<ff::Frame>(av_frame_alloc());
  }
}

bool D3d11Frames::fill(const dxgi::SharedPicture& picture) const {
  auto& to = *reinterpret_cast<ID3D11Texture2D*>(frame_->data[0]);
  const auto index = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(frame_->data[1]));
  if (!converter_) return picture.copy_to(to, index, width_, height_);
  const auto source = converter_->source(picture.texture());
  const Nv12Planes planes = converter_->planes(to, index);
  return picture.use([&] { converter_->draw(*source, planes); });
}

AVFrame* D3d11Frames::frame_of(const GpuPicture& picture, const ff::LogCapture& log) {
  const auto* shared = dynamic_cast<const dxgi::SharedPicture*>(&picture);
  if (shared == nullptr || picture.device() != device_)
    throw Error(ErrorKind::kEncoder, "a picture of another device");
  if (surface_) av_frame_unref(surface_.get());
  av_frame_unref(frame_.get());
  ff::check(av_hwframe_get_buffer(pool_.get(), frame_.get(), 0), "texture", log);
  frame_->width = width_;
  frame_->height = height_;
  if (!fill(*shared)) throw Error(ErrorKind::kEncoder, shared->textures().why_lost());
  if (!surfaces_) return frame_.get();
  surface_->format = AV_PIX_FMT_QSV;
  surface_->hw_frames_ctx = ff::own<ff::Buffer>(av_buffer_ref(surfaces_.get())).release();
  ff::check(av_hwframe_map(surface_.get(), frame_.get(), AV_HWFRAME_MAP_DIRECT),
            "texture for QuickSync", log);
  return surface_.get();
}

}  // namespace kvm
