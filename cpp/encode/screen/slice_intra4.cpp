// The Intra_4x4 macroblocks of SliceCoder (ITU-T H.264, 7.3.5.1 and 8.3.1).
#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "encode/screen/difference.hpp"
#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

// Type, chroma's mode and pattern.
constexpr int kHeadBits = 8;
constexpr int kVectorBits = 10;  // of each beyond the first
// A level other than 0 in CAVLC, with its share of the block's token and of its run; one beyond ±1.
constexpr int kLevelBits = 4;
constexpr int kLargeLevelBits = 3;

// Whether the four pixels above to the right of a block inside the macroblock come before it.
[[nodiscard]] bool has_right(std::size_t block) noexcept {
  constexpr unsigned kNotYet = 1U << 3 | 1U << 5 | 1U << 7 | 1U << 11 | 1U << 13 | 1U << 15;
  return (kNotYet >> block & 1U) == 0;
}

// What the levels of a macroblock's luma take in CAVLC, about.
[[nodiscard]] int level_bits(const Occupied<16>& used) noexcept {
  // Of all words at once: one at a time is a call where a machine may lack the instruction.
  const auto count = [](const std::array<std::uint16_t, 16>& marks) {
    std::array<std::uint64_t, 4> words;
    std::memcpy(words.data(), marks.data(), sizeof words);
    std::uint64_t bytes = 0;
    for (std::uint64_t word : words) {
      word -= word >> 1 & 0x5555555555555555;
      word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
      bytes += (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0F;
    }
    const std::uint64_t pairs = (bytes & 0x00FF00FF00FF00FF) + (bytes >> 8 & 0x00FF00FF00FF00FF);
    return static_cast<int>(pairs * 0x0001000100010001 >> 48);
  };
  return kLevelBits * count(used.nonzero) + kLargeLevelBits * count(used.large);
}

}  // namespace

int SliceCoder::luma_cost(int col, int row, const Rival& rival, const Around& around) {
  if (rival.cost) return *rival.cost;
  constexpr std::ptrdiff_t kStride = kTile;
  alignas(64) std::array<std::uint8_t, kTile * kTile> shown;
  const Plane& picture = (*setup_.picture)[0];
  int bits = kHeadBits;
  if (rival.intra != nullptr) {
    predict_luma(rival.intra->mode, around.available(), picture.at(col * kTile, row * kTile),
                 picture.stride, shown.data(), kStride);
    luma_intra(0, col, row, shown.data(), kStride, trial_);
    for (const std::int16_t level : trial_.dc) bits += level != 0 ? kLevelBits : 0;
  } else {
    const Plane& reference = (*setup_.reference)[0];
    bits += kVectorBits * static_cast<int>(rival.motion.parts().size() - 1);
    for (const Motion::Part& part : rival.motion.parts()) {
      const auto& [x, y, width, height] = part.pixels;
      const Vector vector = rival.motion.vector_of(part);
      copy_pixels(reference.at(col * kTile + x + vector.x, row * kTile + y + vector.y),
                  reference.stride, shown.data() + y * kStride + x, kStride, width, height);
    }
    if (luma_levels(0, col, row, shown.data(), kStride, trial_) != 0)
      add_luma(trial_.blocks, nullptr, quantiser_, shown.data(), kStride);
  }
  const Plane& source = (*setup_.source)[0];
  return squared_difference16(source.at(col * kTile, row * kTile), source.stride, shown.data(),
                              kStride) +
         squared_lambda_ * (bits + level_bits(trial_.used));
}

bool SliceCoder::code_intra4(int col, int row, const Rival& rival, const Around& around) {
  const int limit = rival.difference;
  const bool left = around.left != nullptr;
  const bool top = around.top != nullptr;
  const bool corner_is_right = top && col + 1 < map_->cols();
  const auto task_of = [&](std::size_t plane, std::size_t i) {
    const bool first_col = block_col(i) == 0;
    const bool first_row = block_row(i) == 0;
    Around4 near{.left = !first_col || left, .top = !first_row || top};
    if (first_row) {
      near.right = block_col(i) < 3 ? top : corner_is_right;
    } else {
      near.right = has_right(i);
    }
    const Plane& source = (*setup_.source)[plane];
    const Plane& picture = (*setup_.picture)[plane];
    const int x = col * kTile + static_cast<int>(block_col(i)) * 4;
    const int y = row * kTile + static_cast<int>(block_row(i)) * 4;
    return Block4Task{.source = source.at(x, y),
                      .source_stride = source.stride,
                      .pixels = picture.at(x, y),
                      .stride = picture.stride,
                      .around = near,
                      .lambda = lambda_,
                      .quantiser = quantiser_of(plane)};
  };
  Block4 block_levels;
  const auto keep = [&](std::size_t plane, std::size_t i, std::uint16_t nonzero) {
    LumaLevels& levels = residual_.plane(plane);
    const std::size_t block = raster(i);
    levels.used.nonzero[block] = nonzero;
    levels.used.large[block] = 0;
    if (nonzero == 0) return;
    residual_.pattern |= 1U << i / 4;
    for (std::size_t at = 0; at < 16; ++at) levels.blocks.at[at][block] = block_levels[at];
    for (unsigned rest = nonzero; rest != 0; rest &= rest - 1) {
      if (std::abs(block_levels[kZigzag[static_cast<std::size_t>(std::countr_zero(rest))]]) > 1)
        levels.used.large[block] |= static_cast<std::uint16_t>(rest & -rest);
    }
  };
  Macroblock::Modes modes;
  Macroblock::Modes predicted_modes;
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
    Block4Task task = task_of(0, i);
    task.predicted_mode = predicted;
    const Coded4 coded = screen::code_intra4(task, block_levels);
    cost += coded.cost;
    if (cost >= limit) return false;
    modes[block] = coded.mode;
    predicted_modes[block] = predicted;
    keep(0, i, coded.nonzero);
  }
  // Sixteen predictions come nearer to smooth content, too, but leave differences there that take
  // more bits: on a film of soft shapes 0.4 dB for the same bits.
  const Plane& source = (*setup_.source)[0];
  const Plane& picture = (*setup_.picture)[0];
  int bits = kHeadBits + level_bits(residual_.luma.used);
  for (std::size_t i = 0; i < 16; ++i)
    bits += modes[i] == predicted_modes[i] ? kKnownModeBits : kOtherModeBits;
  if (squared_difference16(source.at(col * kTile, row * kTile), source.stride,
                           picture.at(col * kTile, row * kTile), picture.stride) +
          squared_lambda_ * bits >=
      luma_cost(col, row, rival, around)) {
    return false;
  }
  IntraMode chroma_mode = IntraMode::kDc;
  if (full_chroma()) {
    for (std::size_t plane = 1; plane < 3; ++plane) {
      for (std::size_t i = 0; i < 16; ++i) {
        const Coded4 coded = code_intra4_as(modes[raster(i)], task_of(plane, i), block_levels);
        cost += coded.cost;
        if (cost >= limit) return false;
        keep(plane, i, coded.nonzero);
      }
    }
  } else {
    chroma_mode = choose_chroma_intra(col, row, around);
    chroma_intra(col, row, chroma_mode, around);
  }

  State& state = map_->code(col, row, true, {}, quantiser_);
  state.modes = modes;
  const Macroblock macroblock{.kind = Macroblock::Kind::kIntra4,
                              .quantiser = quantiser_,
                              .modes = modes,
                              .predicted_modes = predicted_modes,
                              .chroma_mode = chroma_mode};
  write(col, row, macroblock, around, state);
  return true;
}

}  // namespace kvm::screen
