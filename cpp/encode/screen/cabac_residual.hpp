// Residual blocks in CABAC (ITU-T H.264, 7.3.5.3.3 and 9.3.3.1.3).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "encode/screen/cabac_engine.hpp"
#include "encode/screen/macroblock.hpp"

namespace kvm::screen {

// The contexts of a slice, by ctxIdx; those of Cb and Cr in 4:4:4 follow at places of our own.
inline constexpr std::size_t kPlaneContexts = 12 + 44 + 44 + 30;
using CabacContexts = std::array<CabacContext, kContextStarts + 2 * kPlaneContexts>;

void start_contexts(CabacContexts& contexts, bool intra, int quantiser) noexcept;

// ctxBlockCat (table 9-42), of luma and of Cb and Cr in 4:4:4.
enum class CabacKind : std::uint8_t { kDc, kAc, kWhole, kChromaDc, kChromaAc };

// Writes coded_block_flag, in the context that the two neighbours' flags choose, and the levels.
// `plane`: 0, and for Cb and Cr in 4:4:4 1 and 2.
void write_residual(CabacEngine& engine, CabacContexts& contexts, const BlockLevels& block,
                    CabacKind kind, std::size_t plane, bool left, bool top) noexcept;

}  // namespace kvm::screen
