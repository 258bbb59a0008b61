// VA-API surfaces: what h264_vaapi takes instead of planes.
#pragma once

extern "C" {
#include <libavutil/hwcontext.h>
}

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "encode/avcodec/ffmpeg.hpp"
#include "encode/encoder.hpp"

namespace kvm {

// Render nodes that may be opened, in order. With several GPUs the first one need not be the one
// that encodes.
[[nodiscard]] inline std::vector<std::string> render_nodes() {
  std::vector<std::string> nodes;
#if defined(__linux__)
  constexpr int kFirst = 128;  // the kernel numbers render nodes from 128 to 191
  constexpr int kLast = 191;
  for (int i = kFirst; i <= kLast; ++i) {
    std::string path = "/dev/dri/renderD" + std::to_string(i);
    if (std::FILE* node = std::fopen(path.c_str(), "r+b")) {
      std::fclose(node);
      nodes.push_back(std::move(path));
    }
  }
#endif
  return nodes;
}

// A pool of surfaces on one device, and the one that the newest picture was uploaded to.
class VaapiSurfaces {
 public:
  // Throws Error{kEncoder}.
  VaapiSurfaces(const std::string& node, const EncoderFormat& format, AVPixelFormat planes,
                const ff::LogCapture& log) {
    AVBufferRef* device = nullptr;
    ff::check(av_hwdevice_ctx_create(&device, AV_HWDEVICE_TYPE_VAAPI, node.c_str(), nullptr, 0),
              node, log);
    const ff::Buffer device_owner(device);
    pool_ = ff::own<ff::Buffer>(av_hwframe_ctx_alloc(device));
    auto* pool = reinterpret_cast<AVHWFramesContext*>(pool_->data);
    pool->format = AV_PIX_FMT_VAAPI;
    pool->sw_format = planes;
    pool->width = format.width;
    pool->height = format.height;
    ff::check(av_hwframe_ctx_init(pool_.get()), node, log);
    surface_ = ff::own<ff::Frame>(av_frame_alloc());
  }

  // A new reference to the pool, for AVCodecContext::hw_frames_ctx to own.
  [[nodiscard]] AVBufferRef* reference() const {
    return ff::own<ff::Buffer>(av_buffer_ref(pool_.get())).release();
  }

  // The surface that `picture` was copied to; valid until the next upload. Throws Error{kEncoder}.
  [[nodiscard]] AVFrame* upload(const AVFrame& picture, const ff::LogCapture& log) {
    av_frame_unref(surface_.get());
    ff::check(av_hwframe_get_buffer(pool_.get(), surface_.get(), 0), "surface", log);
    ff::check(av_hwframe_transfer_data(surface_.get(), &picture, 0), "upload", log);
    return surface_.get();
  }

 private:
  ff::Buffer pool_;
  ff::Frame surface_;
};

}  // namespace kvm
