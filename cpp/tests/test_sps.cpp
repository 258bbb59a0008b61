#include "encode/h264_sps.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "encode/avcodec/ffmpeg.hpp"
#include "encode_support.hpp"

namespace kvm {
namespace {

struct Variant {
  const char* title;
  int width;
  int height;
  AVPixelFormat format;
  const char* preset;
  const char* tune;
  const char* x264_params;
  AVColorSpace matrix;
};

constexpr Variant kVariants[] = {
    {"baseline, nothing stated", 640, 360, AV_PIX_FMT_YUV420P, "ultrafast", "zerolatency", "",
     AVCOL_SPC_UNSPECIFIED},
    {"cropped", 642, 358, AV_PIX_FMT_YUV420P, "ultrafast", "zerolatency", "",
     AVCOL_SPC_UNSPECIFIED},
    {"wrong matrix", 1920, 1080, AV_PIX_FMT_YUV420P, "ultrafast", "zerolatency", "",
     AVCOL_SPC_SMPTE170M},
    {"high profile, HRD and pic_struct", 1280, 720, AV_PIX_FMT_YUV420P, "medium", "zerolatency",
     "nal-hrd=vbr:vbv-maxrate=3000:vbv-bufsize=1500:pic-struct=1", AVCOL_SPC_UNSPECIFIED},
    {"custom scaling lists", 320, 240, AV_PIX_FMT_YUV420P, "medium", "zerolatency", "cqm=jvt",
     AVCOL_SPC_UNSPECIFIED},
    {"high 4:4:4", 640, 360, AV_PIX_FMT_YUV444P, "ultrafast", "zerolatency", "", AVCOL_SPC_BT709},
    {"interlaced", 640, 368, AV_PIX_FMT_YUV420P, "medium", "zerolatency", "tff=1",
     AVCOL_SPC_UNSPECIFIED},
    {"three references, overscan, chroma location", 352, 288, AV_PIX_FMT_YUV420P, "medium",
     "zerolatency", "ref=3:overscan=show:chromaloc=2", AVCOL_SPC_UNSPECIFIED},
    {"sample aspect ratio 12:11", 352, 288, AV_PIX_FMT_YUV420P, "medium", "zerolatency",
     "sar=12/11", AVCOL_SPC_UNSPECIFIED},
};

// A real stream straight from libx264, not through our encoder.
std::vector<std::vector<std::uint8_t>> x264_stream(const Variant& variant, int pictures) {
  const AVCodec* codec = avcodec_find_encoder_by_name("libx264");
  REQUIRE(codec != nullptr);
  const ff::LogCapture log;
  const auto context = ff::own<ff::Context>(avcodec_alloc_context3(codec));
  context->width = variant.width;
  context->height = variant.height;
  context->pix_fmt = variant.format;
  context->time_base = {1, 60};
  context->colorspace = variant.matrix;
  context->thread_count = 1;
  ff::Dictionary options;
  options.set("preset", variant.preset);
  options.set("tune", variant.tune);
  options.set("x264-params", variant.x264_params);
  REQUIRE(avcodec_open2(context.get(), codec, options.out()) == 0);
  const auto frame = ff::own<ff::Frame>(av_frame_alloc());
  frame->format = variant.format;
  frame->width = variant.width;
  frame->height = variant.height;
  REQUIRE(av_frame_get_buffer(frame.get(), 0) == 0);
  std::vector<std::vector<std::uint8_t>> units;
  const auto packet = ff::own<ff::Packet>(av_packet_alloc());
  for (int i = 0; i < pictures; ++i) {
    REQUIRE(av_frame_make_writable(frame.get()) == 0);
    for (int plane = 0; plane < 3; ++plane) {
      const bool half = plane > 0 && variant.format == AV_PIX_FMT_YUV420P;
      for (int y = 0; y < (half ? variant.height / 2 : variant.height); ++y) {
        for (int x = 0; x < (half ? variant.width / 2 : variant.width); ++x) {
          frame->data[plane][y * frame->linesize[plane] + x] =
              static_cast<std::uint8_t>(40 + (x * (plane + 1) + y * 3 + i * 5) % 170);
        }
      }
    }
    frame->pts = i;
    REQUIRE(avcodec_send_frame(context.get(), frame.get()) == 0);
    REQUIRE(avcodec_receive_packet(context.get(), packet.get()) == 0);
    units.emplace_back(packet->data, packet->data + packet->size);
  }
  return units;
}

std::vector<std::uint8_t> find_sps(const std::vector<std::uint8_t>& unit) {
  std::vector<std::uint8_t> found;
  for_each_nal(unit, [&](const NalUnit& nal) {
    if (nal.type() == kNalSps) found.assign(nal.bytes.begin(), nal.bytes.end());
    return found.empty();
  });
  return found;
}

TEST_CASE("a real SPS is read as libavcodec reads it") {
  for (const Variant& variant : kVariants) {
    CAPTURE(variant.title);
    const auto units = x264_stream(variant, 1);
    const auto sps = parse_sps(find_sps(units[0]));
    REQUIRE(sps.has_value());
    CHECK(sps->width == variant.width);
    CHECK(sps->height == variant.height);
    CHECK(sps->vui_present);
    CHECK(sps->bit_depth == 8);
    CHECK(sps->chroma_format_idc == (variant.format == AV_PIX_FMT_YUV444P ? 3 : 1));
    test::Decoder decoder;
    REQUIRE(decoder.decode(units[0]).has_value());
    CHECK(sps->profile_idc == (decoder.context().profile & 0xff));
    CHECK(sps->level_idc == decoder.context().level);
    CHECK(sps->max_num_ref_frames == decoder.context().refs);
  }
}

TEST_CASE("a mended SPS says what we promise, keeps the rest, and the pictures stay the same") {
  for (const Variant& variant : kVariants) {
    CAPTURE(variant.title);
    const auto units = x264_stream(variant, 4);
    std::vector<std::uint8_t> first = units[0];
    const auto before = parse_sps(find_sps(first));
    const bool changed = mend_access_unit(first, ColourDescription{});
    const auto after = parse_sps(find_sps(first));
    REQUIRE(before.has_value());
    REQUIRE(after.has_value());
    CHECK(changed ==
          (before->colour != ColourDescription{} || before->max_num_reorder_frames != 0 ||
           before->max_dec_frame_buffering != before->max_num_ref_frames));
    CHECK(after->colour == ColourDescription{});
    CHECK(after->max_num_reorder_frames == 0);
    CHECK(after->max_dec_frame_buffering == before->max_num_ref_frames);
    CHECK(after->width == before->width);
    CHECK(after->height == before->height);
    CHECK(codec_string(*after) == codec_string(*before));
    std::vector<std::uint8_t> twice = first;
    CHECK_FALSE(mend_access_unit(twice, ColourDescription{}));
    CHECK(twice == first);

    test::Decoder plain;
    test::Decoder mended;
    for (std::size_t i = 0; i < units.size(); ++i) {
      const auto a = plain.decode(units[i]);
      const auto b = mended.decode(i == 0 ? first : units[i]);
      REQUIRE(a.has_value());
      REQUIRE(b.has_value());
      CHECK(a->luma == b->luma);
      CHECK(b->matrix == AVCOL_SPC_BT709);
      CHECK(b->range == AVCOL_RANGE_MPEG);
    }
    CHECK(mended.context().has_b_frames == 0);
    CHECK(mended.context().color_primaries == AVCOL_PRI_BT709);
    CHECK(mended.context().color_trc == AVCOL_TRC_BT709);
    CHECK(mended.context().sample_aspect_ratio.num == plain.context().sample_aspect_ratio.num);
    CHECK(mended.context().sample_aspect_ratio.den == plain.context().sample_aspect_ratio.den);
    CHECK(mended.context().chroma_sample_location == plain.context().chroma_sample_location);
  }
}

TEST_CASE("an SPS without VUI gets one") {
  // profile 66, flags C0, level 30; ue: id 0, log2_max_frame_num-4 0, poc type 2, 1 reference; gaps
  // 0; 1×1 macroblocks; frames only; direct 8x8; no cropping; no VUI; stop bit.
  //   1 1 011 010 0 1 1 1 1 0 0 1
  const std::vector<std::uint8_t> sps{0x67, 0x42, 0xC0, 0x1E, 0b11011010, 0b01111001};
  const auto before = parse_sps(sps);
  REQUIRE(before.has_value());
  CHECK_FALSE(before->vui_present);
  CHECK(before->width == 16);
  CHECK(before->height == 16);
  CHECK(before->poc_type == 2);
  CHECK(before->max_num_ref_frames == 1);
  CHECK(codec_string(*before) == "avc1.42C01E");
  const auto mended = mend_sps(sps, ColourDescription{});
  REQUIRE(mended.has_value());
  const auto after = parse_sps(*mended);
  REQUIRE(after.has_value());
  CHECK(after->vui_present);
  CHECK(after->colour == ColourDescription{});
  CHECK(after->max_num_reorder_frames == 0);
  CHECK(after->max_dec_frame_buffering == 1);
  CHECK_FALSE(mend_sps(*mended, ColourDescription{}).has_value());
}

TEST_CASE("emulation prevention is taken out and put back") {
  // x264 writes num_units_in_tick = 1 as 00 00 00 01, so every one of its SPS needs it.
  const auto unit = x264_stream(kVariants[0], 1)[0];
  const auto sps = find_sps(unit);
  const auto has_three_byte_pattern = [](const std::vector<std::uint8_t>& bytes,
                                         std::uint8_t last) {
    for (std::size_t i = 2; i < bytes.size(); ++i) {
      if (bytes[i - 2] == 0 && bytes[i - 1] == 0 && bytes[i] == last) return true;
    }
    return false;
  };
  REQUIRE(has_three_byte_pattern(sps, 3));
  const auto mended = mend_sps(sps, ColourDescription{});
  REQUIRE(mended.has_value());
  CHECK(has_three_byte_pattern(*mended, 3));
  CHECK_FALSE(has_three_byte_pattern(*mended, 0));
  CHECK_FALSE(has_three_byte_pattern(*mended, 1));
  CHECK_FALSE(has_three_byte_pattern(*mended, 2));
}

TEST_CASE("damaged and hostile bytes are refused, not believed") {
  CHECK_FALSE(parse_sps({}).has_value());
  CHECK_FALSE(parse_sps(std::vector<std::uint8_t>{0x67}).has_value());
  CHECK_FALSE(parse_sps(std::vector<std::uint8_t>{0x68, 0xEE, 0x3C, 0x80}).has_value());
  CHECK_FALSE(parse_sps(std::vector<std::uint8_t>(64, 0)).has_value());
  const auto whole = find_sps(x264_stream(kVariants[3], 1)[0]);
  for (std::size_t length = 0; length + 1 < whole.size(); ++length) {
    const std::vector<std::uint8_t> cut(whole.begin(),
                                        whole.begin() + static_cast<std::ptrdiff_t>(length));
    CHECK_FALSE(parse_sps(cut).has_value());
    CHECK_FALSE(mend_sps(cut, ColourDescription{}).has_value());
  }
  std::mt19937 random(7);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::uint8_t> bytes = whole;
    for (auto flips = 1 + random() % 6; flips > 0; --flips) {
      bytes[1 + random() % (bytes.size() - 1)] ^= static_cast<std::uint8_t>(1U << (random() % 8));
    }
    const auto info = parse_sps(bytes);
    const auto mended = mend_sps(bytes, ColourDescription{});
    if (!info) {
      CHECK_FALSE(mended.has_value());
      continue;
    }
    ++accepted;
    CHECK(info->width > 0);
    CHECK(info->width <= 16'384);
    CHECK(info->height > 0);
    CHECK(info->height <= 32'768);
    if (mended) {
      const auto again = parse_sps(*mended);
      REQUIRE(again.has_value());
      CHECK(again->max_num_reorder_frames == 0);
      CHECK(again->colour == ColourDescription{});
      CHECK(again->width == info->width);
    }
  }
  CHECK(accepted > 100);  // else the rounds above tested little
}

TEST_CASE("NAL units are found with three and four byte start codes") {
  const std::vector<std::uint8_t> bytes{0xFF, 0, 0, 0, 1, 0x67, 1, 0,    0, 1,
                                        0x68, 2, 0, 0, 0, 0,    1, 0x65, 3, 0};
  std::vector<int> types;
  std::vector<std::size_t> starts;
  std::vector<std::size_t> sizes;
  for_each_nal(bytes, [&](const NalUnit& unit) {
    types.push_back(unit.type());
    starts.push_back(unit.start_code);
    sizes.push_back(unit.bytes.size());
    return true;
  });
  CHECK(types == std::vector<int>{7, 8, 5});
  CHECK(starts == std::vector<std::size_t>{1, 7, 13});
  CHECK(sizes == std::vector<std::size_t>{2, 2, 2});
  CHECK(is_idr_access_unit(bytes));
  CHECK(has_idr_slice(bytes));

  int visits = 0;
  for_each_nal(bytes, [&](const NalUnit&) { return ++visits < 2; });
  CHECK(visits == 2);
  for_each_nal(std::vector<std::uint8_t>{0, 0}, [&](const NalUnit&) { return ++visits > 0; });
  CHECK(visits == 2);
}

TEST_CASE("parameter sets are kept for keyframes that come without") {
  const std::vector<std::uint8_t> with{0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 1, 0x65, 3};
  const std::vector<std::uint8_t> without{0, 0, 1, 0x65, 4};
  CHECK_FALSE(is_idr_access_unit(without));
  CHECK(has_idr_slice(without));
  std::vector<std::uint8_t> kept;
  keep_parameter_sets(with, kept);
  CHECK(kept == std::vector<std::uint8_t>{0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2});
  keep_parameter_sets(without, kept);
  std::vector<std::uint8_t> whole = kept;
  whole.insert(whole.end(), without.begin(), without.end());
  CHECK(is_idr_access_unit(whole));
}

}  // namespace
}  // namespace kvm
