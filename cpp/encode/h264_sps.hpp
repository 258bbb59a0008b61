// Reading and mending the H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1 and annex E).
//
// Browsers' hardware decoders hold back several pictures when an SPS does not promise that nothing
// is reordered, and guess the colour matrix when it is not stated. Encoders differ in what they
// write, so every IDR passes through here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace kvm {

// Code points of ISO/IEC 23091-2; the defaults are BT.709, limited range.
struct ColourDescription {
  int primaries = 1;
  int transfer = 1;
  int matrix = 1;
  bool full_range = false;
  friend bool operator==(const ColourDescription&, const ColourDescription&) = default;
};

struct SpsInfo {
  int profile_idc = 0;
  int constraint_flags = 0;  // the whole byte between profile and level
  int level_idc = 0;
  int chroma_format_idc = 1;
  int bit_depth = 8;
  int width = 0;  // pixels shown: after cropping
  int height = 0;
  int poc_type = 0;
  int max_num_ref_frames = 0;
  bool vui_present = false;
  std::optional<ColourDescription> colour;  // empty: not stated
  bool bitstream_restriction = false;
  int max_num_reorder_frames = -1;  // -1: not stated
  int max_dec_frame_buffering = -1;
};

// `nal`: one NAL unit without its start code, emulation prevention still in. Empty when it is not
// an SPS or is damaged.
[[nodiscard]] std::optional<SpsInfo> parse_sps(std::span<const std::uint8_t> nal);

// "avc1.42C028", as WebCodecs and MP4 want it (RFC 6381).
[[nodiscard]] std::string codec_string(const SpsInfo& sps);

// The SPS with `colour`, max_num_reorder_frames = 0 and max_dec_frame_buffering =
// max_num_ref_frames; all else is kept. Empty when it says so already, or cannot be parsed.
[[nodiscard]] std::optional<std::vector<std::uint8_t>> mend_sps(std::span<const std::uint8_t> nal,
                                                                const ColourDescription& colour);

// Mends each SPS of an Annex B access unit. Returns whether `access_unit` was changed.
bool mend_access_unit(std::vector<std::uint8_t>& access_unit, const ColourDescription& colour);

inline constexpr int kNalIdr = 5;
inline constexpr int kNalSps = 7;
inline constexpr int kNalPps = 8;

struct NalUnit {
  std::size_t start_code = 0;           // offset of its 00 00 01 (or 00 00 00 01)
  std::span<const std::uint8_t> bytes;  // header byte first, no trailing zeros
  [[nodiscard]] int type() const noexcept { return bytes.empty() ? 0 : bytes[0] & 0x1f; }
};

// The NAL units of an Annex B byte string in order. Stops early when `visit` returns false.
void for_each_nal(std::span<const std::uint8_t> annexb,
                  const std::function<bool(const NalUnit&)>& visit);

// Whether an access unit starts a decoder: SPS, PPS and an IDR slice.
[[nodiscard]] bool is_idr_access_unit(std::span<const std::uint8_t> annexb);

// Whether its first slice is of an IDR picture, parameter sets or not.
[[nodiscard]] bool has_idr_slice(std::span<const std::uint8_t> annexb);

// Replaces `kept` by the access unit's SPS and PPS (Annex B) when it has any.
void keep_parameter_sets(std::span<const std::uint8_t> annexb, std::vector<std::uint8_t>& kept);

}  // namespace kvm
