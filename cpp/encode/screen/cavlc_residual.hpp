// Residual blocks in CAVLC (ITU-T H.264, 7.3.5.3.2 and 9.2).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "encode/screen/macroblock.hpp"
#include "encode/screen/slice_bits.hpp"

namespace kvm::screen {

enum class BlockKind {
  kWhole,     // 16 levels
  kAc,        // 15: the scan's first is coded elsewhere
  kChromaDc,  // 4, in raster order
};

// Writes a block, returns how many levels are not 0. `neighbours`: nC, the mean of those numbers in
// the blocks left and above; nothing to a chroma DC block.
int write_residual(SliceBits& out, const BlockLevels& block, BlockKind kind,
                   int neighbours) noexcept;

}  // namespace kvm::screen
