// The deblocking filter (ITU-T H.264, 8.7) over one slice.
#pragma once

#include "encode/screen/macroblock_map.hpp"
#include "encode/screen/planes.hpp"

namespace kvm::screen {

struct DeblockSetup {
  int first_row = 0;  // of macroblocks: the slice is these rows
  int end_row = 0;
  int quantiser = 26;  // the slice's, before a macroblock states its own
  Chroma chroma = Chroma::k420;
};

// Filters what the slice's macroblocks, all coded by now, left in `picture`; its own edges alone,
// as with disable_deblocking_filter_idc 2: no slice waits for another. A macroblock that was
// touched counts in `map` as at least as coarse as the edge was.
void deblock(const DeblockSetup& setup, MacroblockMap& map, const Planes& picture);

}  // namespace kvm::screen
