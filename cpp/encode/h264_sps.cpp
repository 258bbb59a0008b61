#include "encode/h264_sps.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "encode/bits.hpp"

namespace kvm {
namespace {

std::vector<std::uint8_t> remove_emulation_prevention(std::span<const std::uint8_t> nal) {
  std::vector<std::uint8_t> out;
  out.reserve(nal.size());
  int zeros = 0;
  for (const std::uint8_t byte : nal) {
    if (zeros >= 2 && byte == 3) {
      zeros = 0;
      continue;
    }
    zeros = byte == 0 ? zeros + 1 : 0;
    out.push_back(byte);
  }
  return out;
}

std::vector<std::uint8_t> add_emulation_prevention(std::span<const std::uint8_t> rbsp) {
  std::vector<std::uint8_t> out;
  out.reserve(rbsp.size() + 4);
  int zeros = 0;
  for (const std::uint8_t byte : rbsp) {
    if (zeros >= 2 && byte <= 3) {
      out.push_back(3);
      zeros = 0;
    }
    zeros = byte == 0 ? zeros + 1 : 0;
    out.push_back(byte);
  }
  return out;
}

// Where the pieces lie that mend_sps() keeps as they are, in bits from the start of the payload.
struct Layout {
  std::size_t vui_flag = 0;
  std::size_t signal_type = 0;  // video_signal_type_present_flag
  std::size_t after_signal_type = 0;
  std::size_t restriction = 0;     // bitstream_restriction_flag
  std::uint32_t video_format = 5;  // unspecified
  bool motion_over_boundaries =
      true;  // these are the values that annex E infers when nothing is stated
  std::uint32_t max_bytes_per_pic = 2;
  std::uint32_t max_bits_per_mb = 1;
  std::uint32_t log2_mv_horizontal = 16;
  std::uint32_t log2_mv_vertical = 16;
};

struct Sps {
  SpsInfo info;
  Layout layout;
};

void skip_scaling_list(BitReader& in, int size) {
  int last = 8;
  int next = 8;
  for (int i = 0; i < size && in.ok(); ++i) {
    if (next != 0) {
      const std::int32_t delta = in.se();
      if (delta < -128 || delta > 127) return in.fail();
      next = (last + delta + 256) % 256;
    }
    if (next != 0) last = next;
  }
}

void skip_hrd(BitReader& in) {
  const int count = in.ue_max(31) + 1;
  in.bits(8);  // bit_rate_scale, cpb_size_scale
  for (int i = 0; i < count && in.ok(); ++i) {
    in.ue();
    in.ue();
    in.flag();
  }
  in.bits(20);  // four lengths of five bits
}

void read_vui(BitReader& in, Sps& sps) {
  constexpr std::uint32_t kExtendedSar = 255;
  SpsInfo& info = sps.info;
  Layout& layout = sps.layout;
  if (in.flag() && in.bits(8) == kExtendedSar) in.bits(32);  // aspect_ratio_info
  if (in.flag()) in.flag();                                  // overscan
  layout.signal_type = in.position();
  if (in.flag()) {
    layout.video_format = in.bits(3);
    ColourDescription colour{2, 2, 2, in.flag()};  // 2 = unspecified
    if (in.flag()) {
      colour.primaries = static_cast<int>(in.bits(8));
      colour.transfer = static_cast<int>(in.bits(8));
      colour.matrix = static_cast<int>(in.bits(8));
    }
    info.colour = colour;
  }
  layout.after_signal_type = in.position();
  if (in.flag()) {  // chroma_loc_info
    in.ue_max(5);
    in.ue_max(5);
  }
  if (in.flag()) {  // timing_info
    in.bits(32);
    in.bits(32);
    in.flag();
  }
  const bool nal_hrd = in.flag();
  if (nal_hrd) skip_hrd(in);
  const bool vcl_hrd = in.flag();
  if (vcl_hrd) skip_hrd(in);
  if (nal_hrd || vcl_hrd) in.flag();  // low_delay_hrd
  in.flag();                          // pic_struct_present
  layout.restriction = in.position();
  info.bitstream_restriction = in.flag();
  if (info.bitstream_restriction) {
    layout.motion_over_boundaries = in.flag();
    layout.max_bytes_per_pic = static_cast<std::uint32_t>(in.ue_max(16));
    layout.max_bits_per_mb = static_cast<std::uint32_t>(in.ue_max(16));
    layout.log2_mv_horizontal = static_cast<std::uint32_t>(in.ue_max(16));
    layout.log2_mv_vertical = static_cast<std::uint32_t>(in.ue_max(16));
    info.max_num_reorder_frames = in.ue_max(16);
    info.max_dec_frame_buffering = in.ue_max(16);
  }
}

bool has_chroma_fields(int profile) {
  constexpr std::array kHighProfiles{100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135};
  return std::find(kHighProfiles.begin(), kHighProfiles.end(), profile) != kHighProfiles.end();
}

void read_picture_order(BitReader& in, SpsInfo& info) {
  in.ue_max(12);  // log2_max_frame_num - 4
  info.poc_type = in.ue_max(2);
  if (info.poc_type == 0) {
    in.ue_max(12);
  } else if (info.poc_type == 1) {
    in.flag();
    in.se();
    in.se();
    const int cycle = in.ue_max(255);
    for (int i = 0; i < cycle && in.ok(); ++i) in.se();
  }
}

void read_size(BitReader& in, SpsInfo& info, bool separate_planes) {
  constexpr std::uint32_t kMaxMacroblocks = 16'384 / 16;  // a side; far above level 6.2's limit
  const int mbs_wide = in.ue_max(kMaxMacroblocks - 1) + 1;
  const int map_units_high = in.ue_max(kMaxMacroblocks - 1) + 1;
  const bool frame_mbs_only = in.flag();
  if (!frame_mbs_only) in.flag();
  in.flag();  // direct_8x8_inference
  const int field_factor = frame_mbs_only ? 1 : 2;
  info.width = mbs_wide * 16;
  info.height = map_units_high * field_factor * 16;
  if (!in.flag()) return;
  const int chroma = separate_planes ? 0 : info.chroma_format_idc;
  const int unit_x = chroma == 1 || chroma == 2 ? 2 : 1;
  const int unit_y = (chroma == 1 ? 2 : 1) * field_factor;
  const int left = in.ue_max(16'384);
  const int right = in.ue_max(16'384);
  const int top = in.ue_max(16'384);
  const int bottom = in.ue_max(16'384);
  info.width -= unit_x * (left + right);
  info.height -= unit_y * (top + bottom);
  if (info.width <= 0 || info.height <= 0) in.fail();
}

// `rbsp`: header byte first, emulation prevention removed.
std::optional<Sps> read_sps(std::span<const std::uint8_t> rbsp) {
  BitReader in(rbsp);
  if ((in.bits(8) & 0x1fU) != kNalSps) return std::nullopt;
  Sps sps;
  SpsInfo& info = sps.info;
  info.profile_idc = static_cast<int>(in.bits(8));
  info.constraint_flags = static_cast<int>(in.bits(8));
  info.level_idc = static_cast<int>(in.bits(8));
  in.ue_max(31);  // seq_parameter_set_id
  bool separate_planes = false;
  if (has_chroma_fields(info.profile_idc)) {
    info.chroma_format_idc = in.ue_max(3);
    if (info.chroma_format_idc == 3) separate_planes = in.flag();
    info.bit_depth = 8 + in.ue_max(6);
    in.ue_max(6);
    in.flag();  // qpprime_y_zero_transform_bypass
    if (in.flag()) {
      const int lists = info.chroma_format_idc == 3 ? 12 : 8;
      for (int i = 0; i < lists && in.ok(); ++i) {
        if (in.flag()) skip_scaling_list(in, i < 6 ? 16 : 64);
      }
    }
  }
  read_picture_order(in, info);
  info.max_num_ref_frames = in.ue_max(16);
  in.flag();  // gaps_in_frame_num_value_allowed
  read_size(in, info, separate_planes);
  sps.layout.vui_flag = in.position();
  info.vui_present = in.flag();
  if (info.vui_present) read_vui(in, sps);
  if (!in.ok()) return std::nullopt;
  return sps;
}

}  // namespace

std::optional<SpsInfo> parse_sps(std::span<const std::uint8_t> nal) {
  const auto sps = read_sps(remove_emulation_prevention(nal));
  if (!sps) return std::nullopt;
  return sps->info;
}

std::string codec_string(const SpsInfo& sps) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "avc1.%02X%02X%02X",
                static_cast<unsigned>(sps.profile_idc) & 0xffU,
                static_cast<unsigned>(sps.constraint_flags) & 0xffU,
                static_cast<unsigned>(sps.level_idc) & 0xffU);
  return text.data();
}

std::optional<std::vector<std::uint8_t>> mend_sps(std::span<const std::uint8_t> nal,
                                                  const ColourDescription& colour) {
  const std::vector<std::uint8_t> rbsp = remove_emulation_prevention(nal);
  const auto sps = read_sps(rbsp);
  if (!sps) return std::nullopt;
  const SpsInfo& info = sps->info;
  const Layout& layout = sps->layout;
  if (info.colour == colour && info.max_num_reorder_frames == 0 &&
      info.max_dec_frame_buffering == info.max_num_ref_frames) {
    return std::nullopt;
  }

  BitWriter out;
  out.copy(rbsp, 0, layout.vui_flag);
  out.bit(true);  // vui_parameters_present_flag
  if (info.vui_present) {
    out.copy(rbsp, layout.vui_flag + 1, layout.signal_type);
  } else {
    out.bits(0, 2);  // aspect ratio, overscan
  }
  out.bit(true);  // video_signal_type_present_flag
  out.bits(layout.video_format, 3);
  out.bit(colour.full_range);
  out.bit(true);  // colour_description_present_flag
  out.bits(static_cast<std::uint32_t>(colour.primaries), 8);
  out.bits(static_cast<std::uint32_t>(colour.transfer), 8);
  out.bits(static_cast<std::uint32_t>(colour.matrix), 8);
  if (info.vui_present) {
    out.copy(rbsp, layout.after_signal_type, layout.restriction);
  } else {
    out.bits(0, 5);  // chroma location, timing, two HRDs, pic_struct
  }
  out.bit(true);  // bitstream_restriction_flag
  out.bit(layout.motion_over_boundaries);
  out.ue(layout.max_bytes_per_pic);
  out.ue(layout.max_bits_per_mb);
  out.ue(layout.log2_mv_horizontal);
  out.ue(layout.log2_mv_vertical);
  out.ue(0);  // max_num_reorder_frames
  out.ue(static_cast<std::uint32_t>(info.max_num_ref_frames));
  return add_emulation_prevention(out.finish());
}

void for_each_nal(std::span<const std::uint8_t> annexb,
                  const std::function<bool(const NalUnit&)>& visit) {
  const std::size_t size = annexb.size();
  const auto next_start = [&](std::size_t from) {  // offset of the next 00 00 01, or `size`
    while (from + 3 <= size) {
      const void* one = std::memchr(annexb.data() + from + 2, 1, size - from - 2);
      if (one == nullptr) return size;
      const auto at =
          static_cast<std::size_t>(static_cast<const std::uint8_t*>(one) - annexb.data());
      if (annexb[at - 1] == 0 && annexb[at - 2] == 0) return at - 2;
      from = at - 1;
    }
    return size;
  };
  std::size_t start = next_start(0);
  while (start < size) {
    const std::size_t begin = start + 3;
    const std::size_t next = next_start(begin);
    std::size_t end = next;
    while (end > begin && annexb[end - 1] == 0) --end;  // trailing_zero_8bits
    NalUnit unit;
    unit.start_code = start > 0 && annexb[start - 1] == 0 ? start - 1 : start;
    unit.bytes = annexb.subspan(begin, end - begin);
    if (!visit(unit)) return;
    start = next;
  }
}

bool is_idr_access_unit(std::span<const std::uint8_t> annexb) {
  bool sps = false;
  bool pps = false;
  bool idr = false;
  for_each_nal(annexb, [&](const NalUnit& unit) {
    sps |= unit.type() == kNalSps;
    pps |= unit.type() == kNalPps;
    idr = unit.type() == kNalIdr;
    return unit.type() == 0 || unit.type() > kNalIdr;  // the first slice decides
  });
  return sps && pps && idr;
}

bool has_idr_slice(std::span<const std::uint8_t> annexb) {
  bool idr = false;
  for_each_nal(annexb, [&](const NalUnit& unit) {
    idr = unit.type() == kNalIdr;
    return unit.type() == 0 || unit.type() > kNalIdr;
  });
  return idr;
}

void keep_parameter_sets(std::span<const std::uint8_t> annexb, std::vector<std::uint8_t>& kept) {
  std::vector<std::uint8_t> found;
  for_each_nal(annexb, [&](const NalUnit& unit) {
    if (unit.type() == kNalSps || unit.type() == kNalPps) {
      found.insert(found.end(), {0, 0, 0, 1});
      found.insert(found.end(), unit.bytes.begin(), unit.bytes.end());
    }
    return unit.type() == 0 || unit.type() > kNalIdr;
  });
  if (!found.empty()) kept = std::move(found);
}

bool mend_access_unit(std::vector<std::uint8_t>& access_unit, const ColourDescription& colour) {
  struct Edit {
    std::size_t offset;
    std::size_t length;
    std::vector<std::uint8_t> replacement;
  };
  std::vector<Edit> edits;
  for_each_nal(access_unit, [&](const NalUnit& unit) {
    if (unit.type() == kNalSps) {
      if (auto mended = mend_sps(unit.bytes, colour)) {
        edits.push_back({static_cast<std::size_t>(unit.bytes.data() - access_unit.data()),
                         unit.bytes.size(), std::move(*mended)});
      }
    }
    return unit.type() == 0 || unit.type() > kNalIdr;  // parameter sets come before the slices
  });
  for (auto edit = edits.rbegin(); edit != edits.rend(); ++edit) {
    const auto at = access_unit.begin() + static_cast<std::ptrdiff_t>(edit->offset);
    const auto after = access_unit.erase(at, at + static_cast<std::ptrdiff_t>(edit->length));
    access_unit.insert(after, edit->replacement.begin(), edit->replacement.end());
  }
  return !edits.empty();
}

}  // namespace kvm
