// The residual half of SliceCoder: transform, quantisation, reconstruction, levels.
#include <algorithm>

#include "encode/screen/residual.hpp"
#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

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

// The levels of a block from position `first` of the scan on.
template <std::size_t kCount>
[[nodiscard]] Levels scanned(const Blocks<kCount>& blocks, std::size_t block, int first) noexcept {
  Levels levels;
  for (int i = first; i < 16; ++i) {
    levels.add(blocks.at[kZigzag[static_cast<std::size_t>(i)]][block], i - first);
  }
  return levels;
}

// How much the levels of a block are worth. A lone ±1 far out costs more bits than it brings;
// anything larger is always worth it.
constexpr int kWorthBlock8 = 4;      // an 8×8 of luma below this is left out
constexpr int kWorthMacroblock = 6;  // all luma
constexpr int kWorthChroma = 7;      // the AC of one chroma plane
[[nodiscard]] int worth(const Levels& levels) noexcept {
  static constexpr std::array<std::uint8_t, 16> kByRun{3, 2, 2, 1, 1, 1, 0, 0,
                                                       0, 0, 0, 0, 0, 0, 0, 0};
  int score = 0;
  int next = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(levels.total); ++i) {
    if (levels.value[i] > 1 || levels.value[i] < -1) return 9;
    score += kByRun[static_cast<std::size_t>(levels.place[i] - next)];
    next = levels.place[i] + 1;
  }
  return score;
}

template <std::size_t kCount>
void clear_block(Blocks<kCount>& blocks, std::size_t block) noexcept {
  for (auto& position : blocks.at) position[block] = 0;
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
  LumaBlocks& blocks = residual_.luma;
  forward_luma(source.luma, source.luma_stride, pixels, plane.stride, blocks);
  std::uint32_t& used = residual_.luma_blocks;
  used = quantise(blocks, quantiser_, Rounding::kInter);
  if (used == 0) return;
  int total = 0;
  for (std::size_t eighth = 0; eighth < 4; ++eighth) {
    int score = 0;
    for (std::size_t i = eighth * 4; i < eighth * 4 + 4; ++i) {
      if ((used >> raster(i) & 1U) == 0) continue;
      residual_.luma_levels[raster(i)] = scanned(blocks, raster(i), 0);
      score += worth(residual_.luma_levels[raster(i)]);
    }
    if (score >= kWorthBlock8) {
      total += score;
      residual_.pattern |= 1U << eighth;
      continue;
    }
    for (std::size_t i = eighth * 4; i < eighth * 4 + 4; ++i) {
      if ((used >> raster(i) & 1U) != 0) clear_block(blocks, raster(i));
      used &= ~(1U << raster(i));
    }
  }
  if (total < kWorthMacroblock) {
    residual_.pattern &= ~15U;
    return;
  }
  add_luma(blocks, nullptr, quantiser_, pixels, plane.stride);
}

void SliceCoder::luma_intra(int col, int row, const SourceBlock& source) {
  const Plane& plane = (*setup_.picture)[0];
  std::uint8_t* pixels = plane.at(col * kTile, row * kTile);
  LumaBlocks& blocks = residual_.luma;
  forward_luma(source.luma, source.luma_stride, pixels, plane.stride, blocks);
  residual_.luma_dc = blocks.at[0];
  blocks.at[0].fill(0);
  residual_.luma_blocks = quantise(blocks, quantiser_, Rounding::kIntra);
  quantise_luma_dc(residual_.luma_dc, quantiser_);
  if (residual_.luma_blocks != 0) residual_.pattern |= 15U;
  for (std::size_t i = 0; i < 16; ++i) {
    if ((residual_.luma_blocks >> i & 1U) != 0) residual_.luma_levels[i] = scanned(blocks, i, 1);
  }
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
  std::uint32_t& used = residual_.chroma_blocks;
  used = quantise(blocks, quantiser, rounding);
  for (std::size_t c = 0; c < 2; ++c) {
    int score = 0;
    for (std::size_t i = c * 4; i < c * 4 + 4; ++i) {
      if ((used >> i & 1U) == 0) continue;
      residual_.chroma_levels[i] = scanned(blocks, i, 1);
      score += worth(residual_.chroma_levels[i]);
    }
    if (score >= kWorthChroma) continue;
    for (std::size_t i = c * 4; i < c * 4 + 4; ++i) {
      if ((used >> i & 1U) != 0) clear_block(blocks, i);
      used &= ~(1U << i);
    }
  }
  if (!any_dc && used == 0) return;
  residual_.pattern |= used != 0 ? 2U << 4 : 1U << 4;
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
  static constexpr Levels kNone{};
  const bool used = (residual_.luma_blocks >> block & 1U) != 0;
  const Levels& levels = used ? residual_.luma_levels[block] : kNone;
  write_residual(*out_, levels, intra ? 15 : 16, mean_of(left, top));
  state.luma[block] = static_cast<std::uint8_t>(levels.total);
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
  static constexpr Levels kNone{};
  const bool used = (residual_.chroma_blocks >> (plane * 4 + block) & 1U) != 0;
  const Levels& levels = used ? residual_.chroma_levels[plane * 4 + block] : kNone;
  write_residual(*out_, levels, 15, mean_of(left, top));
  counts[block] = static_cast<std::uint8_t>(levels.total);
}

void SliceCoder::write_residual_blocks(State& state, const Around& around, bool intra) {
  if (intra) {
    Levels levels;
    for (int i = 0; i < 16; ++i)
      levels.add(residual_.luma_dc[kZigzag[static_cast<std::size_t>(i)]], i);
    const int left = around.left != nullptr ? around.left->luma[3] : -1;
    const int top = around.top != nullptr ? around.top->luma[12] : -1;
    write_residual(*out_, levels, 16, mean_of(left, top));
  }
  for (std::size_t i = 0; i < 16; ++i) {
    if ((residual_.pattern >> i / 4 & 1U) != 0) write_luma_block(state, around, raster(i), intra);
  }
  if (residual_.pattern >> 4 == 0) return;
  for (const ChromaDc& dc : residual_.chroma_dc) {
    Levels levels;
    for (int i = 0; i < 4; ++i) levels.add(dc[static_cast<std::size_t>(i)], i);
    write_residual(*out_, levels, 4, -1);
  }
  if (residual_.pattern >> 4 != 2) return;
  for (std::size_t plane = 0; plane < 2; ++plane) {
    for (std::size_t block = 0; block < 4; ++block) write_chroma_block(state, around, plane, block);
  }
}

}  // namespace kvm::screen
