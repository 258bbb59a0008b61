// The 4×4 integer transform and its quantisation (ITU-T H.264, 8.5.6 to 8.5.12), flat scaling, for
// all blocks of a macroblock at once. Each call picks the best instruction set of this machine; all
// give the same bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvm::screen {

// 4×4 blocks side by side: [position in the block, raster order][block]. Coefficients or levels.
template <std::size_t kCount>
struct alignas(64) Blocks {
  std::array<std::array<std::int16_t, kCount>, 16> at;
};
using LumaBlocks = Blocks<16>;   // blocks in raster order
using ChromaBlocks = Blocks<8>;  // Cb's four, then Cr's four

// The levels of one block in raster order; for DC coefficients.
using Block4 = std::array<std::int16_t, 16>;
using ChromaDc = std::array<std::int16_t, 4>;

inline constexpr std::array<std::uint8_t, 16> kZigzag{0, 1,  4,  8,  5, 2,  3,  6,
                                                      9, 12, 13, 10, 7, 11, 14, 15};

// Block `i` in coding order (6.4.3, figure 6-10) → column and row of 4×4 blocks.
[[nodiscard]] constexpr std::size_t block_col(std::size_t i) noexcept {
  return (i & 1) | (i >> 1 & 2);
}
[[nodiscard]] constexpr std::size_t block_row(std::size_t i) noexcept {
  return (i >> 1 & 1) | (i >> 2 & 2);
}
[[nodiscard]] constexpr std::size_t raster(std::size_t i) noexcept {
  return block_row(i) * 4 + block_col(i);
}

// Table 8-15: chroma's quantiser for luma's 0 … 51.
[[nodiscard]] int chroma_quantiser(int quantiser) noexcept;

// Which part of a quantiser step is added before the division: less keeps more zeros.
enum class Rounding { kIntra, kInter };

// Which levels of each block are not 0, and which are beyond ±1: bit i = place i of the scan.
template <std::size_t kCount>
struct alignas(32) Occupied {
  std::array<std::uint16_t, kCount> nonzero;
  std::array<std::uint16_t, kCount> large;
};

// source - prediction, transformed and quantised. `dc` gets the coefficients at position 0, one of
// each block, whose levels are 0 then; null = they are quantised as the others. The two chroma
// planes have the same stride.
void code_luma(const std::uint8_t* source, std::ptrdiff_t source_stride,
               const std::uint8_t* prediction, std::ptrdiff_t prediction_stride, int quantiser,
               Rounding rounding, std::int16_t* dc, LumaBlocks& levels,
               Occupied<16>& used) noexcept;
void code_chroma(const std::array<const std::uint8_t*, 2>& source, std::ptrdiff_t source_stride,
                 const std::array<const std::uint8_t*, 2>& prediction,
                 std::ptrdiff_t prediction_stride, int quantiser, Rounding rounding,
                 std::int16_t* dc, ChromaBlocks& levels, Occupied<8>& used) noexcept;

// pixels += what a decoder makes of the levels. `dc`: coefficients that take the place of the
// scaled levels at position 0, one for each block; null = none.
void add_luma(const LumaBlocks& levels, const std::int16_t* dc, int quantiser, std::uint8_t* pixels,
              std::ptrdiff_t stride) noexcept;
void add_chroma(const ChromaBlocks& levels, const std::int16_t* dc, int quantiser,
                const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride) noexcept;

// The DC coefficients of an Intra_16x16 macroblock, in raster order of its blocks.
bool quantise_luma_dc(Block4& dc, int quantiser) noexcept;
void dequantise_luma_dc(Block4& dc, int quantiser) noexcept;
// The four DC coefficients of a chroma plane.
bool quantise_chroma_dc(ChromaDc& dc, int quantiser, Rounding rounding) noexcept;
void dequantise_chroma_dc(ChromaDc& dc, int quantiser) noexcept;

}  // namespace kvm::screen
