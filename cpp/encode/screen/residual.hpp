// Residual blocks in CAVLC (ITU-T H.264, 7.3.5.3.2 and 9.2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "encode/screen/slice_bits.hpp"

namespace kvm::screen {

// The levels of Baseline reach this far at the finest quantisers that the encoder uses (9.2.2.1: no
// level_prefix above 15).
inline constexpr int kLargestLevel = 2000;

// The non-zero levels of a block, lowest frequency first.
struct Levels {
  std::array<std::int16_t, 16> value;
  std::array<std::uint8_t, 16> place;  // in scan order, from the first that the block may have
  int total = 0;

  void add(std::int16_t level, int at) noexcept {  // without a branch: every other level is 0
    value[static_cast<std::size_t>(total)] = level;
    place[static_cast<std::size_t>(total)] = static_cast<std::uint8_t>(at);
    total += level != 0 ? 1 : 0;
  }
};

// Writes a block that may have `count` levels (4, 15 or 16). `neighbours`: nC, the mean number of
// non-zero levels in the blocks left and above; -1 for a chroma DC block.
void write_residual(SliceBits& out, const Levels& levels, int count, int neighbours) noexcept;

}  // namespace kvm::screen
