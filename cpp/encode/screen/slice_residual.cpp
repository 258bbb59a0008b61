// The residual half of SliceCoder: transform, quantisation, reconstruction, levels.
#include <algorithm>
#include <bit>
#include <cstring>

#include "encode/screen/difference.hpp"
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

}  // namespace

void SliceCoder::luma_inter(std::size_t plane, int col, int row, std::optional<unsigned> pattern) {
  const Plane& picture = (*setup_.picture)[plane];
  std::uint8_t* pixels = picture.at(col * kTile, row * kTile);
  const unsigned kept =
      pattern ? *pattern
              : luma_levels(plane, col, row, pixels, picture.stride, residual_.plane(plane));
  if (kept == 0) return;
  residual_.pattern |= kept;
  add_luma(residual_.plane(plane).blocks, nullptr, quantiser_of(plane), pixels, picture.stride);
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
  writer_->skip(col, 1);
  return true;
}

void SliceCoder::luma_intra(std::size_t plane, int col, int row) {
  const Plane& picture = (*setup_.picture)[plane];
  LumaLevels& levels = residual_.plane(plane);
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

}  // namespace kvm::screen
