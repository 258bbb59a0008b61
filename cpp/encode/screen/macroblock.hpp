// A macroblock as SliceCoder hands it to be written: what surrounds it, what it says of itself
// (ITU-T H.264, 7.3.5), and its levels.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "encode/screen/macroblock_map.hpp"
#include "encode/screen/motion.hpp"
#include "encode/screen/predict.hpp"
#include "encode/screen/transform.hpp"

namespace kvm::screen {

struct Around {  // neighbours of the macroblock in hand; null = outside the slice
  using State = MacroblockMap::State;
  const State* left = nullptr;
  const State* top = nullptr;
  const State* corner = nullptr;  // right above, or where there is none left above
  bool corner_is_left = false;
  // Of the pixels that touch the macroblock; 0 where nothing moves.
  [[nodiscard]] Vector left_vector() const noexcept;
  [[nodiscard]] Vector top_vector() const noexcept;
  [[nodiscard]] Vector corner_vector() const noexcept;
  [[nodiscard]] Neighbours available() const noexcept { return {left != nullptr, top != nullptr}; }
};

struct LumaLevels {
  LumaBlocks blocks;
  Block4 dc;  // Intra_16x16 only
  Occupied<16> used;
};

struct Residual {
  LumaLevels luma;
  std::array<LumaLevels, 2> full_chroma;  // 4:4:4: Cb and Cr, coded as luma is
  ChromaBlocks chroma;                    // 4:2:0
  std::array<ChromaDc, 2> chroma_dc;
  Occupied<8> chroma_used;  // AC
  unsigned pattern = 0;     // CodedBlockPatternLuma | CodedBlockPatternChroma << 4

  [[nodiscard]] LumaLevels& plane(std::size_t index) noexcept {
    return index == 0 ? luma : full_chroma[index - 1];
  }
  [[nodiscard]] const LumaLevels& plane(std::size_t index) const noexcept {
    return index == 0 ? luma : full_chroma[index - 1];
  }
};

// The levels of one block among others that lie side by side: level i of the scan is
// levels[kZigzag[i] * stride].
struct BlockLevels {
  const std::int16_t* levels = nullptr;
  std::ptrdiff_t stride = 1;
  std::uint32_t nonzero = 0;  // bit i = level i of the scan is not 0
};

struct Macroblock {
  enum class Kind : std::uint8_t { kInter, kIntra4, kIntra16 };
  using Modes = std::array<std::uint8_t, 16>;  // of 4×4 blocks, raster order

  Kind kind = Kind::kInter;
  int quantiser = 0;
  Motion motion{};                         // kInter
  std::array<Vector, 4> predicted{};       // of its parts, in their order
  IntraMode mode = IntraMode::kDc;         // kIntra16
  Modes modes{};                           // kIntra4
  Modes predicted_modes{};                 // 8.3.1.1
  IntraMode chroma_mode = IntraMode::kDc;  // of an intra one in 4:2:0

  [[nodiscard]] bool intra() const noexcept { return kind != Kind::kInter; }
  // Whether it has an mb_qp_delta and levels.
  [[nodiscard]] bool has_residual(const Residual& residual) const noexcept {
    return kind == Kind::kIntra16 || residual.pattern != 0;
  }
};

}  // namespace kvm::screen
