// Tells libavcodec (FFmpeg 6.1 and later) which part of a picture has changed.
#pragma once

extern "C" {
#include <libavutil/frame.h>
}
#if __has_include(<libavutil/video_hint.h>)
extern "C" {
#include <libavutil/video_hint.h>
}
#define KVM_HAS_VIDEO_HINT 1
#else
#define KVM_HAS_VIDEO_HINT 0
#endif

#include <algorithm>
#include <cstddef>

#include "frame/geometry.hpp"

#if KVM_HAS_VIDEO_HINT
namespace kvm {

// In place of an earlier hint; null takes it away.
inline void attach_damage_hint(AVFrame& frame, const TileMap* damage) {
  av_frame_remove_side_data(&frame, AV_FRAME_DATA_VIDEO_HINT);
  if (damage == nullptr) return;
  std::size_t runs = 0;
  damage->for_each_run([&](int, int, int) { ++runs; });
  AVVideoHint* hint = av_video_hint_create_side_data(&frame, std::max<std::size_t>(runs, 1));
  if (hint == nullptr) return;  // no memory for a hint: encode without
  hint->type = AV_VIDEO_HINT_TYPE_CHANGED;
  std::size_t count = 0;
  damage->for_each_run([&](int row, int begin, int end) {
    // libx264.c does not clip: a rectangle beyond the picture would write past its array.
    const Rect rect =
        intersect(damage->run_rect(row, begin, end), {0, 0, frame.width, frame.height});
    if (rect.empty()) return;
    AVVideoRect* out = av_video_hint_get_rect(hint, count++);
    out->x = static_cast<std::uint32_t>(rect.x);
    out->y = static_cast<std::uint32_t>(rect.y);
    out->width = static_cast<std::uint32_t>(rect.width);
    out->height = static_cast<std::uint32_t>(rect.height);
  });
  hint->nb_rects = count;
}

}  // namespace kvm
#endif
