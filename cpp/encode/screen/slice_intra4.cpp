// The Intra_4x4 macroblocks of SliceCoder (ITU-T H.264, 7.3.5.1 and 8.3.1).
#include <algorithm>

#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

// Type, chroma's mode and pattern.
constexpr int kHeadBits = 8;

// Table 9-4, Intra_4x4: the code for each pattern.
constexpr std::array<std::uint8_t, 48> kPatternCode = [] {
  constexpr std::array<std::uint8_t, 48> kPatterns{47, 31, 15, 0,  23, 27, 29, 30, 7,  11, 13, 14,
                                                   39, 43, 45, 46, 16, 3,  5,  10, 12, 19, 21, 26,
                                                   28, 35, 37, 42, 44, 1,  2,  4,  8,  17, 18, 20,
                                                   24, 6,  9,  22, 25, 32, 33, 34, 36, 40, 38, 41};
  std::array<std::uint8_t, 48> codes{};
  for (std::size_t i = 0; i < kPatterns.size(); ++i)
    codes[kPatterns[i]] = static_cast<std::uint8_t>(i);
  return codes;
}();

// Whether the four pixels above to the right of a block inside the macroblock come before it.
[[nodiscard]] bool has_right(std::size_t block) noexcept {
  constexpr unsigned kNotYet = 1U << 3 | 1U << 5 | 1U << 7 | 1U << 11 | 1U << 13 | 1U << 15;
  return (kNotYet >> block & 1U) == 0;
}

}  // namespace

bool SliceCoder::code_intra4(int col, int row, IntraMode chroma_mode, int limit,
                             const Around& around) {
  const SourceBlock source = source_at(col, row);
  const Plane& luma = (*setup_.picture)[0];
  const bool left = around.left != nullptr;
  const bool top = around.top != nullptr;
  const bool corner_is_right = top && col + 1 < map_->cols();
  std::array<std::uint8_t, 16> modes;
  std::array<std::uint8_t, 16> predicted_modes;  // both in raster order
  int cost = lambda_ * kHeadBits;
  residual_.pattern = 0;
  for (std::size_t i = 0; i < 16; ++i) {  // in coding order
    const std::size_t block = raster(i);
    const bool first_col = block_col(i) == 0;
    const bool first_row = block_row(i) == 0;
    // 8.3.1.1
    std::uint8_t predicted = kIntra4Dc;
    if ((!first_col || left) && (!first_row || top)) {
      const std::uint8_t a = first_col ? around.left->modes[block + 3] : modes[block - 1];
      const std::uint8_t b = first_row ? around.top->modes[block + 12] : modes[block - 4];
      predicted = std::min(a, b);
    }
    const int x = static_cast<int>(block_col(i)) * 4;
    const int y = static_cast<int>(block_row(i)) * 4;
    Around4 near{.left = !first_col || left, .top = !first_row || top};
    if (first_row) {
      near.right = block_col(i) < 3 ? top : corner_is_right;
    } else {
      near.right = has_right(i);
    }
    const Block4Task task{.source = source.luma + y * source.luma_stride + x,
                          .source_stride = source.luma_stride,
                          .pixels = luma.at(col * kTile + x, row * kTile + y),
                          .stride = luma.stride,
                          .around = near,
                          .predicted_mode = predicted,
                          .lambda = lambda_,
                          .quantiser = quantiser_};
    Block4 levels;
    const Coded4 coded = screen::code_intra4(task, levels);
    cost += coded.cost;
    if (cost >= limit) return false;
    modes[block] = coded.mode;
    predicted_modes[block] = predicted;
    residual_.luma_used.nonzero[block] = coded.nonzero;
    if (coded.nonzero == 0) continue;
    residual_.pattern |= 1U << i / 4;
    for (std::size_t at = 0; at < 16; ++at) residual_.luma.at[at][block] = levels[at];
  }
  predict_chroma_intra(col, row, chroma_mode, around);
  chroma(col, row, source, Rounding::kIntra);

  State& state = map_->code(col, row, true, {}, quantiser_);
  state.modes = modes;
  const Begun begun = begin_macroblock();
  write_skip_run();
  out_->ue(setup_.intra ? 0 : 5);  // I_NxN
  for (std::size_t i = 0; i < 16; ++i) {
    const std::uint8_t mode = modes[raster(i)];
    const std::uint8_t predicted = predicted_modes[raster(i)];
    if (mode == predicted) {
      out_->put(1, 1);  // prev_intra4x4_pred_mode_flag
    } else {
      out_->put(mode < predicted ? mode : mode - 1U, 4);  // 0, rem_intra4x4_pred_mode
    }
  }
  out_->ue(chroma_mode_number(chroma_mode));
  out_->ue(kPatternCode[residual_.pattern]);
  if (residual_.pattern != 0) {
    write_quantiser();
    write_residual_blocks(state, around, false);
    end_macroblock(col, row, begun);
  }
  return true;
}

}  // namespace kvm::screen
