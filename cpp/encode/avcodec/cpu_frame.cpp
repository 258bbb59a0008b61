#include "encode/avcodec/cpu_frame.hpp"

extern "C" {
#include <libavutil/imgutils.h>
}

#include <array>
#include <new>

namespace kvm {

CpuFrame::CpuFrame(const EncoderFormat& format, AVPixelFormat pixels, Planes planes)
    : format_(format),
      pixels_(pixels),
      planes_(planes),
      frame_(ff::own<ff::Frame>(av_frame_alloc())) {
  describe();
}

void CpuFrame::describe() {
  frame_->format = pixels_;
  frame_->width = format_.width;
  frame_->height = format_.height;
}

AVFrame& CpuFrame::of(const CpuPlanes& planes) {
  if (planes_ == Planes::kCopied) {
    copy(planes);
  } else {
    borrow(planes);
  }
  return *frame_;
}

void CpuFrame::copy(const CpuPlanes& planes) {
  av_frame_unref(frame_.get());
  describe();
  if (av_frame_get_buffer(frame_.get(), 0) < 0) throw std::bad_alloc();
  std::array<const std::uint8_t*, 4> source{planes.data[0], planes.data[1], planes.data[2]};
  std::array<int, 4> strides{};
  for (std::size_t i = 0; i < planes.stride.size(); ++i)
    strides[i] = static_cast<int>(planes.stride[i]);
  av_image_copy(frame_->data, frame_->linesize, source.data(), strides.data(), pixels_,
                format_.width, format_.height);
}

// A frame must own its planes or libavcodec copies them: each gets a reference that frees nothing.
void CpuFrame::borrow(const CpuPlanes& planes) {
  const int rows_divisor = format_.pixel_format == PixelFormat::kI444 ? 1 : 2;
  for (std::size_t i = 0; i < planes.data.size() && planes.data[i] != nullptr; ++i) {
    if (frame_->data[i] == planes.data[i] && frame_->linesize[i] == planes.stride[i]) continue;
    const int rows = i == 0 ? format_.height : format_.height / rows_divisor;
    av_buffer_unref(&frame_->buf[i]);
    frame_->buf[i] =
        ff::own<ff::Buffer>(
            av_buffer_create(
                planes.data[i],
                static_cast<std::size_t>(planes.stride[i]) * static_cast<std::size_t>(rows),
                [](void*, std::uint8_t*) {}, nullptr, AV_BUFFER_FLAG_READONLY))
            .release();
    frame_->data[i] = planes.data[i];
    frame_->linesize[i] = static_cast<int>(planes.stride[i]);
  }
}

}  // namespace kvm
