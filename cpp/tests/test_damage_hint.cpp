// What libavcodec is told of damage; before FFmpeg 6.1 it could not be told anything.
#include "encode/avcodec/damage_hint.hpp"

#include <doctest/doctest.h>

#include <utility>
#include <vector>

#include "encode/avcodec/ffmpeg.hpp"

#if KVM_HAS_VIDEO_HINT
using namespace kvm;

namespace {

std::vector<Rect> hinted(const AVFrame& frame) {
  const AVFrameSideData* data = av_frame_get_side_data(&frame, AV_FRAME_DATA_VIDEO_HINT);
  REQUIRE(data != nullptr);
  const auto* hint = reinterpret_cast<const AVVideoHint*>(data->data);
  CHECK(hint->type == AV_VIDEO_HINT_TYPE_CHANGED);
  std::vector<Rect> rects;
  for (std::size_t i = 0; i < hint->nb_rects; ++i) {
    const AVVideoRect* rect = av_video_hint_get_rect(hint, i);
    rects.push_back({static_cast<int>(rect->x), static_cast<int>(rect->y),
                     static_cast<int>(rect->width), static_cast<int>(rect->height)});
  }
  return rects;
}

}  // namespace

TEST_CASE("damage of odd sizes stays inside the coded picture and covers the true one") {
  const auto frame = ff::own<ff::Frame>(av_frame_alloc());
  for (const auto& [width, height] : std::vector<std::pair<int, int>>{
           {97, 51}, {1, 1}, {15, 17}, {33, 31}, {641, 359}, {1919, 1079}}) {
    CAPTURE(width);
    CAPTURE(height);
    frame->width = (width + 1) & ~1;
    frame->height = (height + 1) & ~1;
    TileMap damage(width, height);
    damage.set_all();
    attach_damage_hint(*frame, &damage);
    long area = 0;
    for (const Rect& rect : hinted(*frame)) {
      CHECK(rect.right() <= frame->width);
      CHECK(rect.bottom() <= frame->height);
      area += long{rect.width} * rect.height;
    }
    CHECK(area == long{width} * height);
  }
}

TEST_CASE("damage beyond the picture is cut off, and one hint replaces the other") {
  const auto frame = ff::own<ff::Frame>(av_frame_alloc());
  frame->width = 98;
  frame->height = 52;
  TileMap larger(640, 480);
  larger.set_all();
  attach_damage_hint(*frame, &larger);
  long area = 0;
  for (const Rect& rect : hinted(*frame)) {
    CHECK(rect.right() <= 98);
    CHECK(rect.bottom() <= 52);
    area += long{rect.width} * rect.height;
  }
  CHECK(area == 98L * 52);
  TileMap none(97, 51);
  attach_damage_hint(*frame, &none);
  CHECK(hinted(*frame).empty());
  attach_damage_hint(*frame, nullptr);
  CHECK(av_frame_get_side_data(frame.get(), AV_FRAME_DATA_VIDEO_HINT) == nullptr);
}
#endif
