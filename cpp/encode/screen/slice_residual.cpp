// The residual half of SliceCoder: transform, quantisation, reconstruction, levels.
#include <algorithm>
#include <bit>
#include <cstring>

#include "encode/screen/difference.hpp"
#include "encode/screen/residual.hpp"
#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

// How much the levels of a block are worth. A lone ±1 far out costs more bits than it brings;
// anything larger is always worth it.
constexpr int kWorthBlock8 = 4;      // an 8×8 of luma below this is left out
constexpr int kWorthMacroblock = 6;  // all luma
constexpr int kWorthChroma = 7;      // the AC of one chroma plane
constexpr int kLargeWorth = 9;       // any level beyond ±1: more than all of these
[[nodiscard]] int worth(std::uint32_t nonzero) noexcept {
  static constexpr std::array<std::uint8_t, 16> kByRun{3, 2, 2, 1, 1, 1, 0, 0,
                                                       0, 0, 0, 0, 0, 0, 0, 0};
  int score = 0;
  for (std::uint32_t rest = nonzero; rest != 0;) {
    const auto run = static_cast<std::uint32_t>(std::countr_zero(rest));
    score += kByRun[run];
    rest >>= run + 1;
  }
  return score;
}

// The marks of blocks side by side.
template <std::size_t kCount>
[[nodiscard]] std::uint32_t two_of(const std::array<std::uint16_t, kCount>& marks,
                                   std::size_t first) noexcept {
  std::uint32_t two = 0;
  std::memcpy(&two, &marks[first], sizeof two);
  return two;
}
template <std::size_t kCount>
[[nodiscard]] std::uint64_t four_of(const std::array<std::uint16_t, kCount>& marks,
                                    std::size_t first) noexcept {
  std::uint64_t four = 0;
  std::memcpy(&four, &marks[first], sizeof four);
  return four;
}

template <std::size_t kCount>
void clear_block(Blocks<kCount>& blocks, Occupied<kCount>& occupied, std::size_t block) noexcept {
  if (occupied.nonzero[block] == 0) return;
  for (auto& position : blocks.at) position[block] = 0;
  occupied.nonzero[block] = 0;
}
template <std::size_t kCount>
[[nodiscard]] bool any_of(const Occupied<kCount>& occupied) noexcept {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < kCount; i += 4) all |= four_of(occupied.nonzero, i);
  return all != 0;
}

// How many levels of each block of a plane are not 0.
template <std::size_t kPlane, typename State>
[[nodiscard]] auto& counts_of(State& state) noexcept {
  if constexpr (kPlane == 0) {
    return state.luma;
  } else {
    return state.chroma[kPlane - 1];
  }
}

// 9.2.1: nC from the numbers left and above; -1 = that block is outside the picture.
[[nodiscard]] int mean_of(int left, int top) noexcept {
  if (left >= 0 && top >= 0) return (left + top + 1) >> 1;
  return std::max({left, top, 0});
}

}  // namespace

void SliceCoder::luma_inter(std::size_t plane, int col, int row, std::optional<unsigned> pattern) {
  const Plane& picture = (*setup_.picture)[plane];
  std::uint8_t* pixels = picture.at(col * kTile, row * kTile);
  const unsigned kept =
      pattern ? *pattern : luma_levels(plane, col, row, pixels, picture.stride, levels_of(plane));
  if (kept == 0) return;
  residual_.pattern |= kept;
  add_luma(levels_of(plane).blocks, nullptr, quantiser_of(plane), pixels, picture.stride);
}

unsigned SliceCoder::luma_levels(std::size_t plane, int col, int row,
                                 const std::uint8_t* prediction, std::ptrdiff_t stride,
                                 LumaLevels& levels) const {
  const Plane& source = (*setup_.source)[plane];
  LumaBlocks& blocks = levels.blocks;
  Occupied<16>& used = levels.used;
  code_luma(source.at(col * kTile, row * kTile), source.stride, prediction, stride,
            quantiser_of(plane), Rounding::kInter, nullptr, blocks, used);
  if (!any_of(used)) return 0;
  unsigned kept = 0;
  int total = 0;
  for (std::size_t eighth = 0; eighth < 4; ++eighth) {
    const std::size_t first = raster(eighth * 4);
    if ((two_of(used.nonzero, first) | two_of(used.nonzero, first + 4)) == 0) continue;
    int score = 0;
    if ((two_of(used.large, first) | two_of(used.large, first + 4)) != 0) {
      score = kLargeWorth;
    } else {
      for (const std::size_t i : {first, first + 1, first + 4, first + 5})
        score += worth(used.nonzero[i]);
    }
    if (score >= kWorthBlock8) {
      total += score;
      kept |= 1U << eighth;
      continue;
    }
    for (std::size_t i = eighth * 4; i < eighth * 4 + 4; ++i) clear_block(blocks, used, raster(i));
  }
  if (total >= kWorthMacroblock) return kept;
  used.nonzero.fill(0);
  return 0;
}

bool SliceCoder::code_skip(int col, int row, Vector vector, std::optional<unsigned>& luma_pattern) {
  const SourceBlock source = source_at(col, row);
  const Plane& reference = (*setup_.reference)[0];
  const std::uint8_t* luma = reference.at(col * kTile + vector.x, row * kTile + vector.y);
  // More than this a pixel is never left out.
  const int limit = 160 * lambda_;
  if (difference16(source.luma, source.luma_stride, luma, reference.stride, limit) > limit)
    return false;
  residual_.pattern = 0;
  luma_pattern = luma_levels(0, col, row, luma, reference.stride, residual_.luma);
  if (*luma_pattern != 0) return false;
  predict_inter(col, row, 1, vector);
  chroma(col, row, source, Rounding::kInter);
  if (residual_.pattern != 0) return false;
  map_->code(col, row, false, Motion::of_whole(vector), quantiser_);
  ++skipped_;
  return true;
}

void SliceCoder::luma_intra(std::size_t plane, int col, int row) {
  const Plane& picture = (*setup_.picture)[plane];
  LumaLevels& levels = levels_of(plane);
  luma_intra(plane, col, row, picture.at(col * kTile, row * kTile), picture.stride, levels);
  if (any_of(levels.used)) residual_.pattern |= 15U;
}

void SliceCoder::luma_intra(std::size_t plane, int col, int row, std::uint8_t* pixels,
                            std::ptrdiff_t stride, LumaLevels& levels) const {
  const Plane& source = (*setup_.source)[plane];
  const int quantiser = quantiser_of(plane);
  code_luma(source.at(col * kTile, row * kTile), source.stride, pixels, stride, quantiser,
            Rounding::kIntra, levels.dc.data(), levels.blocks, levels.used);
  quantise_luma_dc(levels.dc, quantiser);
  Block4 dc = levels.dc;
  dequantise_luma_dc(dc, quantiser);
  add_luma(levels.blocks, dc.data(), quantiser, pixels, stride);
}

void SliceCoder::chroma(int col, int row, const SourceBlock& source, Rounding rounding) {
  if (full_chroma()) {
    for (std::size_t plane = 1; plane < 3; ++plane) {
      if (rounding == Rounding::kIntra) {
        luma_intra(plane, col, row);
      } else {
        luma_inter(plane, col, row);
      }
    }
    return;
  }
  const int quantiser = chroma_quantiser(quantiser_);
  const Planes& picture = *setup_.picture;
  const std::array<std::uint8_t*, 2> pixels{picture[1].at(col * 8, row * 8),
                                            picture[2].at(col * 8, row * 8)};
  const std::ptrdiff_t stride = picture[1].stride;
  ChromaBlocks& blocks = residual_.chroma;
  Occupied<8>& used = residual_.chroma_used;
  std::array<std::int16_t, 8> dc;
  code_chroma(source.chroma, source.chroma_stride, {pixels[0], pixels[1]}, stride, quantiser,
              rounding, dc.data(), blocks, used);
  bool any_dc = false;
  for (std::size_t c = 0; c < 2; ++c) {
    ChromaDc& levels = residual_.chroma_dc[c];
    std::copy_n(dc.begin() + static_cast<std::ptrdiff_t>(c * 4), 4, levels.begin());
    any_dc |= quantise_chroma_dc(levels, quantiser, rounding);
  }
  for (std::size_t c = 0; c < 2; ++c) {
    if (four_of(used.nonzero, c * 4) == 0 || four_of(used.large, c * 4) != 0) continue;
    int score = 0;
    for (std::size_t i = c * 4; i < c * 4 + 4; ++i) score += worth(used.nonzero[i]);
    if (score >= kWorthChroma) continue;
    for (std::size_t i = c * 4; i < c * 4 + 4; ++i) clear_block(blocks, used, i);
  }
  const bool any_ac = any_of(used);
  if (!any_dc && !any_ac) return;
  residual_.pattern |= any_ac ? 2U << 4 : 1U << 4;
  for (std::size_t c = 0; c < 2; ++c) {
    ChromaDc scaled = residual_.chroma_dc[c];
    dequantise_chroma_dc(scaled, quantiser);
    std::copy(scaled.begin(), scaled.end(), dc.begin() + static_cast<std::ptrdiff_t>(c * 4));
  }
  add_chroma(blocks, dc.data(), quantiser, pixels, stride);
}

// 9.2.1: contexts count levels of the same plane.
template <std::size_t kPlane>
void SliceCoder::write_luma_block(State& state, const Around& around, std::size_t block,
                                  bool intra) {
  std::array<std::uint8_t, 16>& counts = counts_of<kPlane>(state);
  const int left = block % 4 > 0            ? counts[block - 1]
                   : around.left != nullptr ? counts_of<kPlane>(*around.left)[block + 3]
                                            : -1;
  const int top = block >= 4              ? counts[block - 4]
                  : around.top != nullptr ? counts_of<kPlane>(*around.top)[block + 12]
                                          : -1;
  const LumaLevels& levels = levels_of(kPlane);
  counts[block] = static_cast<std::uint8_t>(
      write_residual(*out_, {&levels.blocks.at[0][block], 16, levels.used.nonzero[block]},
                     intra ? BlockKind::kAc : BlockKind::kWhole, mean_of(left, top)));
}

// residual_luma() (7.3.5.3.1), in 4:4:4 of Cb and Cr too.
template <std::size_t kPlane>
void SliceCoder::write_luma(State& state, const Around& around, bool intra) {
  if (intra) {
    const Block4& dc = levels_of(kPlane).dc;
    BlockLevels block{dc.data(), 1, 0};
    for (std::uint32_t i = 0; i < 16; ++i) block.nonzero |= dc[kZigzag[i]] != 0 ? 1U << i : 0U;
    const int left = around.left != nullptr ? counts_of<kPlane>(*around.left)[3] : -1;
    const int top = around.top != nullptr ? counts_of<kPlane>(*around.top)[12] : -1;
    write_residual(*out_, block, BlockKind::kWhole, mean_of(left, top));
  }
  for (std::size_t i = 0; i < 16; ++i) {
    if ((residual_.pattern >> i / 4 & 1U) != 0)
      write_luma_block<kPlane>(state, around, raster(i), intra);
  }
}

void SliceCoder::write_chroma_block(State& state, const Around& around, std::size_t plane,
                                    std::size_t block) {
  std::array<std::uint8_t, 16>& counts = state.chroma[plane];
  const int left = block % 2 > 0            ? counts[block - 1]
                   : around.left != nullptr ? around.left->chroma[plane][block + 1]
                                            : -1;
  const int top = block >= 2              ? counts[block - 2]
                  : around.top != nullptr ? around.top->chroma[plane][block + 2]
                                          : -1;
  const std::size_t at = plane * 4 + block;
  counts[block] = static_cast<std::uint8_t>(
      write_residual(*out_, {&residual_.chroma.at[0][at], 8, residual_.chroma_used.nonzero[at]},
                     BlockKind::kAc, mean_of(left, top)));
}

void SliceCoder::write_residual_blocks(State& state, const Around& around, bool intra) {
  write_luma<0>(state, around, intra);
  if (full_chroma()) {
    write_luma<1>(state, around, intra);
    write_luma<2>(state, around, intra);
    return;
  }
  if (residual_.pattern >> 4 == 0) return;
  for (const ChromaDc& dc : residual_.chroma_dc) {
    BlockLevels block{dc.data(), 1, 0};
    for (std::uint32_t i = 0; i < 4; ++i) block.nonzero |= dc[i] != 0 ? 1U << i : 0U;
    write_residual(*out_, block, BlockKind::kChromaDc, 0);
  }
  if (residual_.pattern >> 4 != 2) return;
  for (std::size_t plane = 0; plane < 2; ++plane) {
    for (std::size_t block = 0; block < 4; ++block) write_chroma_block(state, around, plane, block);
  }
}

}  // namespace kvm::screen
