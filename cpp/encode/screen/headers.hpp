// Parameter sets, slice headers and NAL units (ITU-T H.264, 7.3.1 to 7.3.3, annexes A, B and E).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "encode/screen/slice_bits.hpp"
#include "frame/config.hpp"

namespace kvm::screen {

enum class Entropy { kCavlc, kCabac };

struct StreamHeader {
  int width = 0;  // even, pixels shown
  int height = 0;
  double fps = 60.0;
  int bitrate = 6'000'000;  // bit/s
  Chroma chroma = Chroma::k420;
  Entropy entropy = Entropy::kCavlc;
  int level_idc = 42;
  int vertical_reach = 511;  // of vectors, full pixels: what the level allows
};

// Fills in the lowest level (table A-1) that carries size, rate and bit rate; 6.2 when none does.
void choose_level(StreamHeader& header);

// SPS and PPS as Annex B.
[[nodiscard]] std::vector<std::uint8_t> parameter_sets(const StreamHeader& header);

inline constexpr int kFrameNumBits = 8;

// chroma_qp_index_offset. In 4:4:4 it makes Cb and Cr about as exact as luma; without it they are
// more exact, for a tenth more bits.
[[nodiscard]] constexpr int chroma_offset(Chroma chroma) noexcept {
  return chroma == Chroma::k444 ? 3 : 0;
}

struct SliceHeader {
  std::uint32_t first_macroblock = 0;
  bool idr = false;
  int frame_num = 0;   // modulo 1 << kFrameNumBits
  int idr_pic_id = 0;  // differs between IDR pictures that follow each other
  int quantiser = 26;
  bool deblocked = false;  // inside the slice, not across its borders
  Entropy entropy = Entropy::kCavlc;
};
void write_slice_header(SliceBits& out, const SliceHeader& header);

// Appends a slice's NAL unit with start code and emulation prevention.
void append_slice(std::vector<std::uint8_t>& annexb, std::span<const std::uint8_t> payload,
                  bool idr);

}  // namespace kvm::screen
