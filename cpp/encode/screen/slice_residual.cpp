// The residual half of SliceCoder: transform, quantisation, reconstruction, levels.
#include <algorithm>
#include <bit>

#include "encode/screen/residual.hpp"
#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

// How much the levels of a block are worth. A lone ±1 far out costs more bits than it brings;
// anything larger is always worth it.
constexpr int kWorthBlock8 = 4;      // an 8×8 of luma below this is left out
constexpr int kWorthMacroblock = 6;  // all luma
constexpr int kWorthChroma = 7;      // the AC of one chroma plane
[[nodiscard]] int worth(std::uint32_t nonzero, std::uint32_t large) noexcept {
  if (large != 0) return 9;
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

template <std::size_t kCount>
void clear_block(Blocks<kCount>& blocks, Occupied<kCount>& occupied, std::size_t block) noexcept {
  if (occupied.nonzero[block] == 0) return;
  for (auto& position : blocks.at) position[block] = 0;
  occupied.nonzero[block] = 0;
}
template <std::size_t kCount>
[[nodiscard]] bool any_of(const Occupied<kCount>& occupied) noexcept {
  std::uint32_t all = 0;
  for (const std::uint16_t nonzero : occupied.nonzero) all |= nonzero;
  return all != 0;
}

// 9.2.1: nC from the numbers left and above; -1 = that block is outside the picture.
[[nodiscard]] int mean_of(int left, int top) noexcept {
  if (left >= 0 && top >= 0) return (left + top + 1) >> 1;
  return std::max({left, top, 0});
}

}  // namespace

void SliceCoder::luma_inter(int col, int row, const SourceBlock& source) {
  const Plane& plane = (*setup_.picture)[0];
  std::uint8_t* pixels = plane.at(col * kTile, row * kTile);
  if (luma_levels(pixels, plane.stride, source))
    add_luma(residual_.luma, nullptr, quantiser_, pixels, plane.stride);
}

// The levels between source and `prediction`; false: none is worth its bits.
bool SliceCoder::luma_levels(const std::uint8_t* prediction, std::ptrdiff_t stride,
                             const SourceBlock& source) {
  LumaBlocks& blocks = residual_.luma;
  forward_luma(source.luma, source.luma_stride, prediction, stride, blocks);
  Occupied<16>& used = residual_.luma_used;
  quantise(blocks, quantiser_, Rounding::kInter, used);
  if (!any_of(used)) return false;
  int total = 0;
  for (std::size_t eighth = 0; eighth < 4; ++eighth) {
    int score = 0;
    for (std::size_t i = eighth * 4; i < eighth * 4 + 4; ++i)
      score += worth(used.nonzero[raster(i)], used.large[raster(i)]);
    if (score >= kWorthBlock8) {
      total += score;
      residual_.pattern |= 1U << eighth;
      continue;
    }
    for (std::size_t i = eighth * 4; i < eighth * 4 + 4; ++i) clear_block(blocks, used, raster(i));
  }
  if (total < kWorthMacroblock) residual_.pattern &= ~15U;
  return (residual_.pattern & 15U) != 0;
}

bool SliceCoder::code_skip(int col, int row, Vector vector) {
  const SourceBlock source = source_at(col, row);
  const Plane& reference = (*setup_.reference)[0];
  const std::uint8_t* luma = reference.at(col * kTile + vector.x, row * kTile + vector.y);
  // More than this a pixel is never left out.
  const int limit = 160 * lambda_;
  if (difference16(source.luma, source.luma_stride, luma, reference.stride, limit) > limit)
    return false;
  residual_.pattern = 0;
  if (luma_levels(luma, reference.stride, source)) return false;
  predict_inter(col, row, 1, vector);
  chroma(col, row, source, Rounding::kInter);
  if (residual_.pattern != 0) return false;
  map_->code(col, row, false, vector, quantiser_);
  ++skipped_;
  return true;
}

void SliceCoder::luma_intra(int col, int row, const SourceBlock& source) {
  const Plane& plane = (*setup_.picture)[0];
  std::uint8_t* pixels = plane.at(col * kTile, row * kTile);
  LumaBlocks& blocks = residual_.luma;
  forward_luma(source.luma, source.luma_stride, pixels, plane.stride, blocks);
  residual_.luma_dc = blocks.at[0];
  blocks.at[0].fill(0);
  quantise(blocks, quantiser_, Rounding::kIntra, residual_.luma_used);
  quantise_luma_dc(residual_.luma_dc, quantiser_);
  if (any_of(residual_.luma_used)) residual_.pattern |= 15U;
  Block4 dc = residual_.luma_dc;
  dequantise_luma_dc(dc, quantiser_);
  add_luma(blocks, dc.data(), quantiser_, pixels, plane.stride);
}

void SliceCoder::chroma(int col, int row, const SourceBlock& source, Rounding rounding) {
  const int quantiser = chroma_quantiser(quantiser_);
  const Planes& picture = *setup_.picture;
  const std::array<std::uint8_t*, 2> pixels{picture[1].at(col * 8, row * 8),
                                            picture[2].at(col * 8, row * 8)};
  const std::ptrdiff_t stride = picture[1].stride;
  ChromaBlocks& blocks = residual_.chroma;
  forward_chroma(source.chroma, source.chroma_stride, {pixels[0], pixels[1]}, stride, blocks);
  bool any_dc = false;
  for (std::size_t c = 0; c < 2; ++c) {
    ChromaDc& dc = residual_.chroma_dc[c];
    std::copy_n(blocks.at[0].begin() + static_cast<std::ptrdiff_t>(c * 4), 4, dc.begin());
    any_dc |= quantise_chroma_dc(dc, quantiser, rounding);
  }
  blocks.at[0].fill(0);
  Occupied<8>& used = residual_.chroma_used;
  quantise(blocks, quantiser, rounding, used);
  for (std::size_t c = 0; c < 2; ++c) {
    int score = 0;
    for (std::size_t i = c * 4; i < c * 4 + 4; ++i) score += worth(used.nonzero[i], used.large[i]);
    if (score >= kWorthChroma) continue;
    for (std::size_t i = c * 4; i < c * 4 + 4; ++i) clear_block(blocks, used, i);
  }
  const bool any_ac = any_of(used);
  if (!any_dc && !any_ac) return;
  residual_.pattern |= any_ac ? 2U << 4 : 1U << 4;
  std::array<std::int16_t, 8> dc;
  for (std::size_t c = 0; c < 2; ++c) {
    ChromaDc scaled = residual_.chroma_dc[c];
    dequantise_chroma_dc(scaled, quantiser);
    std::copy(scaled.begin(), scaled.end(), dc.begin() + static_cast<std::ptrdiff_t>(c * 4));
  }
  add_chroma(blocks, dc.data(), quantiser, pixels, stride);
}

void SliceCoder::write_luma_block(State& state, const Around& around, std::size_t block,
                                  bool intra) {
  const int left = block % 4 > 0            ? state.luma[block - 1]
                   : around.left != nullptr ? around.left->luma[block + 3]
                                            : -1;
  const int top = block >= 4              ? state.luma[block - 4]
                  : around.top != nullptr ? around.top->luma[block + 12]
                                          : -1;
  state.luma[block] = static_cast<std::uint8_t>(
      write_residual(*out_, {&residual_.luma.at[0][block], 16, residual_.luma_used.nonzero[block]},
                     intra ? BlockKind::kAc : BlockKind::kWhole, mean_of(left, top)));
}

void SliceCoder::write_chroma_block(State& state, const Around& around, std::size_t plane,
                                    std::size_t block) {
  std::array<std::uint8_t, 4>& counts = state.chroma[plane];
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
  if (intra) {
    BlockLevels block{residual_.luma_dc.data(), 1, 0};
    for (std::uint32_t i = 0; i < 16; ++i)
      block.nonzero |= residual_.luma_dc[kZigzag[i]] != 0 ? 1U << i : 0U;
    const int left = around.left != nullptr ? around.left->luma[3] : -1;
    const int top = around.top != nullptr ? around.top->luma[12] : -1;
    write_residual(*out_, block, BlockKind::kWhole, mean_of(left, top));
  }
  for (std::size_t i = 0; i < 16; ++i) {
    if ((residual_.pattern >> i / 4 & 1U) != 0) write_luma_block(state, around, raster(i), intra);
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
