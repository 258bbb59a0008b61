#include "encode/screen/headers.hpp"

#include <array>
#include <cmath>
#include <cstring>

#include "encode/bits.hpp"
#include "encode/h264_sps.hpp"
#include "frame/geometry.hpp"

namespace kvm::screen {
namespace {

constexpr int kInitialQuantiser = 26;  // what slice_qp_delta counts from
constexpr std::uint8_t kSpsByte = 0x67;
constexpr std::uint8_t kPpsByte = 0x68;
constexpr std::uint8_t kIdrByte = 0x65;
constexpr std::uint8_t kSliceByte = 0x41;
constexpr std::array<std::uint8_t, 4> kStartCode{0, 0, 0, 1};

void append_nal(std::vector<std::uint8_t>& annexb, std::uint8_t type,
                std::span<const std::uint8_t> payload) {
  annexb.insert(annexb.end(), kStartCode.begin(), kStartCode.end());
  annexb.push_back(type);
  // 7.4.1.1: after two zeros a byte below 4 would look like a start code.
  std::size_t copied = 0;
  const auto copy_up_to = [&](std::size_t end) {
    annexb.insert(annexb.end(), payload.begin() + static_cast<std::ptrdiff_t>(copied),
                  payload.begin() + static_cast<std::ptrdiff_t>(end));
    copied = end;
  };
  for (std::size_t at = 0; at + 2 < payload.size();) {
    const void* zero = std::memchr(&payload[at], 0, payload.size() - 2 - at);
    if (zero == nullptr) break;
    at = static_cast<std::size_t>(static_cast<const std::uint8_t*>(zero) - payload.data());
    if (payload[at + 1] != 0 || payload[at + 2] > 3) {
      ++at;
      continue;
    }
    at += 2;
    copy_up_to(at);
    annexb.push_back(3);
  }
  copy_up_to(payload.size());
}

[[nodiscard]] std::uint32_t macroblocks(int pixels) {
  return static_cast<std::uint32_t>((pixels + kTile - 1) / kTile);
}

void put_se(BitWriter& out, int value) {
  out.ue(value > 0 ? 2U * static_cast<std::uint32_t>(value) - 1U
                   : 2U * static_cast<std::uint32_t>(-value));
}

// E.1.1: only the rate, for recordings; mend_access_unit() adds what every stream states.
void put_vui(BitWriter& sps, double fps) {
  constexpr std::uint32_t kUnits = 1000;
  sps.bit(true);         // vui_parameters_present_flag
  sps.bits(0, 4);        // aspect ratio, overscan, video signal, chroma location
  sps.bit(true);         // timing_info_present_flag
  sps.bits(kUnits, 32);  // num_units_in_tick; a tick is half a picture
  sps.bits(static_cast<std::uint32_t>(std::lround(2.0 * kUnits * fps)), 32);  // time_scale
  sps.bit(false);  // fixed_frame_rate_flag
  sps.bits(0, 4);  // two HRDs, pic_struct, bitstream restriction
}

}  // namespace

void choose_level(StreamHeader& header) {
  struct Level {
    int idc;
    int blocks_per_second;
    int blocks_per_frame;
    int kbit_per_second;
    int vertical_reach;
  };
  // Table A-1; the buffer holds one reference of any size that fits.
  static constexpr std::array<Level, 19> kLevels{{{10, 1485, 99, 64, 63},
                                                  {11, 3000, 396, 192, 127},
                                                  {12, 6000, 396, 384, 127},
                                                  {13, 11880, 396, 768, 127},
                                                  {20, 11880, 396, 2000, 127},
                                                  {21, 19800, 792, 4000, 255},
                                                  {22, 20250, 1620, 4000, 255},
                                                  {30, 40500, 1620, 10000, 255},
                                                  {31, 108000, 3600, 14000, 511},
                                                  {32, 216000, 5120, 20000, 511},
                                                  {40, 245760, 8192, 20000, 511},
                                                  {41, 245760, 8192, 50000, 511},
                                                  {42, 522240, 8704, 50000, 511},
                                                  {50, 589824, 22080, 135000, 511},
                                                  {51, 983040, 36864, 240000, 511},
                                                  {52, 2073600, 36864, 240000, 511},
                                                  {60, 4177920, 139264, 240000, 511},
                                                  {61, 8355840, 139264, 480000, 511},
                                                  {62, 16711680, 139264, 800000, 511}}};
  // Table A-2: how many bits the profile makes of one in the level's column MaxBR.
  const double rate_factor = header.chroma == Chroma::k444 ? 4000.0 : 1000.0;
  const double cols = macroblocks(header.width);
  const double rows = macroblocks(header.height);
  for (const Level& level : kLevels) {
    header.level_idc = level.idc;
    header.vertical_reach = level.vertical_reach;
    const double longest_side = std::sqrt(8.0 * level.blocks_per_frame);
    if (cols * rows <= level.blocks_per_frame && cols <= longest_side && rows <= longest_side &&
        cols * rows * header.fps <= level.blocks_per_second &&
        header.bitrate <= level.kbit_per_second * rate_factor) {
      return;
    }
  }
}

std::vector<std::uint8_t> parameter_sets(const StreamHeader& header) {
  BitWriter sps;
  constexpr int kBaseline = 66;
  constexpr int kMain = 77;
  constexpr int kConstrainedBaseline = 0xC0;  // obeys the limits of Baseline and of Main
  constexpr int kAsMain = 0x40;
  constexpr int kHigh444Predictive = 244;
  const bool full_chroma = header.chroma == Chroma::k444;
  const bool cabac = header.entropy == Entropy::kCabac;
  sps.bits(full_chroma ? kHigh444Predictive : cabac ? kMain : kBaseline, 8);
  sps.bits(full_chroma ? 0 : cabac ? kAsMain : kConstrainedBaseline, 8);
  sps.bits(static_cast<std::uint32_t>(header.level_idc), 8);
  sps.ue(0);  // seq_parameter_set_id
  if (full_chroma) {
    sps.ue(3);       // chroma_format_idc
    sps.bit(false);  // separate_colour_plane_flag
    sps.ue(0);       // bit_depth_luma_minus8
    sps.ue(0);       // bit_depth_chroma_minus8
    sps.bits(0, 2);  // qpprime_y_zero_transform_bypass_flag, seq_scaling_matrix_present_flag
  }
  sps.ue(kFrameNumBits - 4);
  sps.ue(2);  // pic_order_cnt_type: pictures come in the order they are shown
  sps.ue(1);  // max_num_ref_frames
  sps.bit(false);
  const std::uint32_t cols = macroblocks(header.width);
  const std::uint32_t rows = macroblocks(header.height);
  sps.ue(cols - 1);
  sps.ue(rows - 1);
  sps.bit(true);  // frame_mbs_only_flag
  sps.bit(true);  // direct_8x8_inference_flag
  const auto right = cols * kTile - static_cast<std::uint32_t>(header.width);
  const auto below = rows * kTile - static_cast<std::uint32_t>(header.height);
  sps.bit(right + below > 0);
  if (right + below > 0) {
    const std::uint32_t unit = full_chroma ? 1 : 2;  // (7-19) to (7-22)
    sps.ue(0);
    sps.ue(right / unit);
    sps.ue(0);
    sps.ue(below / unit);
  }
  put_vui(sps, header.fps);
  BitWriter pps;
  pps.ue(0);
  pps.ue(0);
  pps.bit(cabac);  // entropy_coding_mode_flag
  pps.bit(false);
  pps.ue(0);  // one slice group
  pps.ue(0);  // one reference
  pps.ue(0);
  pps.bit(false);
  pps.bits(0, 2);
  put_se(pps, kInitialQuantiser - 26);
  put_se(pps, 0);
  put_se(pps, chroma_offset(header.chroma));
  pps.bit(true);   // deblocking_filter_control_present_flag
  pps.bit(false);  // constrained_intra_pred_flag
  pps.bit(false);

  std::vector<std::uint8_t> annexb;
  append_nal(annexb, kSpsByte, sps.finish());
  append_nal(annexb, kPpsByte, pps.finish());
  mend_access_unit(annexb, ColourDescription{});
  return annexb;
}

void write_slice_header(SliceBits& out, const SliceHeader& header) {
  out.reserve(64);
  constexpr std::uint32_t kAllP = 5;
  constexpr std::uint32_t kAllI = 7;
  out.ue(header.first_macroblock);
  out.ue(header.idr ? kAllI : kAllP);
  out.ue(0);  // pic_parameter_set_id
  out.put(static_cast<std::uint32_t>(header.frame_num), kFrameNumBits);
  if (header.idr) {
    out.ue(static_cast<std::uint32_t>(header.idr_pic_id));
    out.put(0, 2);  // dec_ref_pic_marking(): output what came before, short-term
  } else {
    out.put(0, 3);  // one reference, in its order; sliding window
    if (header.entropy == Entropy::kCabac) out.ue(0);  // cabac_init_idc
  }
  out.se(header.quantiser - kInitialQuantiser);
  constexpr std::uint32_t kNotDeblocked = 1;
  constexpr std::uint32_t kInsideSlice = 2;
  out.ue(header.deblocked ? kInsideSlice : kNotDeblocked);  // disable_deblocking_filter_idc
  if (header.deblocked) {
    out.se(0);  // slice_alpha_c0_offset_div2
    out.se(0);  // slice_beta_offset_div2
  }
}

void append_slice(std::vector<std::uint8_t>& annexb, std::span<const std::uint8_t> payload,
                  bool idr) {
  append_nal(annexb, idr ? kIdrByte : kSliceByte, payload);
}

}  // namespace kvm::screen
