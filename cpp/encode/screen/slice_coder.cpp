#include "encode/screen/slice_coder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "encode/screen/difference.hpp"
#include "encode/screen/patterns.hpp"

namespace kvm::screen {
namespace {

// Text that moves by an odd number of lines keeps its luma exactly, but its colour lands between
// two chroma rows and blurs a little. What so many bits would mend is left to refinement: nobody
// sees it while it moves, and coding it is half the work and half the bits of a scroll.
constexpr int kChromaBits = 200;

// A.3.1: 128 bits more than a macroblock's pixels have.
[[nodiscard]] constexpr std::size_t most_bits(Chroma chroma) noexcept {
  return 128 + 8 * kTile * kTile * (chroma == Chroma::k444 ? 6 : 3) / 2;
}

}  // namespace

void SliceCoder::begin(const SliceSetup& setup, SliceBits& out) {
  setup_ = setup;
  out_ = &out;
  skipped_ = 0;
  written_quantiser_ = setup.quantiser;
}

void SliceCoder::use_quantiser(int quantiser) noexcept {
  struct Lambdas {
    int plain;
    int squared;
  };
  static const auto kLambdas = [] {
    std::array<Lambdas, 52> all{};
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double steps = (static_cast<double>(i) - 12) / 6.0;
      all[i] = {std::max(1, static_cast<int>(std::lround(std::exp2(steps)))),
                std::max(1, static_cast<int>(std::lround(0.85 * std::exp2(2 * steps))))};
    }
    return all;
  }();
  const Lambdas& lambdas = kLambdas[static_cast<std::size_t>(quantiser)];
  quantiser_ = quantiser;
  lambda_ = lambdas.plain;
  squared_lambda_ = lambdas.squared;
}

SourceBlock SliceCoder::source_at(int col, int row) const noexcept {
  const Planes& source = *setup_.source;
  const int size = full_chroma() ? kTile : kTile / 2;
  return {.luma = source[0].at(col * kTile, row * kTile),
          .luma_stride = source[0].stride,
          .chroma = {source[1].at(col * size, row * size), source[2].at(col * size, row * size)},
          .chroma_stride = source[1].stride};
}

SliceCoder::Around SliceCoder::around(int col, int row) const noexcept {
  Around found;
  if (col > 0) found.left = &map_->at(col - 1, row);
  if (row == setup_.first_row) return found;
  found.top = &map_->at(col, row - 1);
  if (col + 1 < map_->cols()) {
    found.corner = &map_->at(col + 1, row - 1);
  } else if (col > 0) {
    found.corner = &map_->at(col - 1, row - 1);
    found.corner_is_left = true;
  }
  return found;
}

// The coarsest of what lies under a macroblock at `vector`.
int SliceCoder::inherited_quality(int col, int row, Vector vector) const noexcept {
  const int x = col * kTile + vector.x;
  const int y = row * kTile + vector.y;
  int coarsest = 0;
  for (int r = y / kTile; r <= (y + kTile - 1) / kTile; ++r) {
    for (int c = x / kTile; c <= (x + kTile - 1) / kTile; ++c) {
      coarsest = std::max(coarsest, map_->old_quality(c, r));
    }
  }
  return coarsest;
}

void SliceCoder::refine(int col, int row, int quantiser) {
  use_quantiser(quantiser);
  predict_inter(col, row, 1, {});
  code_inter(col, row, {}, around(col, row));
}

void SliceCoder::skip(int col, int end, int row) {
  if (col >= end) return;
  // Once one macroblock rests, all that follow it are predicted to rest (8.4.1.1).
  const Around near = around(col, row);
  if (skip_vector(near) != Vector{}) {
    out_->reserve(kMacroblockBytes);
    const Vector predicted = predicted_vector(near);
    write_skip_run();
    out_->ue(0);
    out_->se(-4 * predicted.x);
    out_->se(-4 * predicted.y);
    out_->ue(0);  // nothing coded
    ++col;
  }
  skipped_ += static_cast<std::uint32_t>(end - col);
}

void SliceCoder::end() {
  out_->reserve(kMacroblockBytes);
  if (skipped_ > 0) write_skip_run();
}

SliceCoder::Begun SliceCoder::begin_macroblock() {
  out_->reserve(kMacroblockBytes);
  return {out_->mark(), skipped_, written_quantiser_};
}

// Noise at a fine quantiser may take more bits than its pixels do, and more than a decoder must
// bear: then it is sent as it is (I_PCM, 7.3.5).
void SliceCoder::end_macroblock(int col, int row, const Begun& begun) {
  if (out_->bits_since(begun.mark) <= most_bits(setup_.chroma)) return;
  out_->take_back(begun.mark);
  skipped_ = begun.skipped;
  written_quantiser_ = begun.written_quantiser;
  write_skip_run();
  constexpr std::uint32_t kPcm = 25;  // table 7-11
  out_->ue(setup_.intra ? kPcm : kPcm + 5);
  out_->align();
  for (std::size_t plane = 0; plane < 3; ++plane) {
    const int size = setup_.picture->tile(plane);
    const Plane& source = (*setup_.source)[plane];
    const Plane& picture = (*setup_.picture)[plane];
    for (int y = row * size; y < (row + 1) * size; ++y) {
      const std::uint8_t* line = source.at(col * size, y);
      std::memcpy(picture.at(col * size, y), line, static_cast<std::size_t>(size));
      for (int x = 0; x < size; ++x) out_->put(line[x], 8);
    }
  }
  constexpr int kExact = 0;
  State& state = map_->code(col, row, true, {}, kExact);
  state.quantiser = State::kPcm;
  // 9.2.1: its neighbours count 16 levels in each of its blocks.
  state.luma.fill(16);
  for (auto& counts : state.chroma) counts.fill(16);
}

void SliceCoder::write_skip_run() {
  if (setup_.intra) return;
  out_->ue(skipped_);
  skipped_ = 0;
}

void SliceCoder::write_quantiser(State& state) {
  // mb_qp_delta: -26 … 25, further ones go round (7.4.5).
  int delta = quantiser_ - written_quantiser_;
  if (delta < -26) delta += 52;
  if (delta > 25) delta -= 52;
  out_->se(delta);
  written_quantiser_ = quantiser_;
  state.quantiser = static_cast<std::int8_t>(quantiser_);
}

// Between what stands in the picture and the source.
int SliceCoder::chroma_difference(int col, int row, const SourceBlock& source) const noexcept {
  int sum = 0;
  for (std::size_t plane = 0; plane < 2; ++plane) {
    const Plane& picture = (*setup_.picture)[plane + 1];
    sum += difference8_rows(source.chroma[plane], source.chroma_stride,
                            picture.at(col * 8, row * 8), picture.stride, 8);
  }
  return sum;
}

void SliceCoder::write_vectors(const Motion& motion, const Around& around) {
  const std::array<Vector, 4> predicted = predicted_parts(around, motion);
  std::size_t i = 0;
  for (const Motion::Part& part : motion.parts()) {
    const Vector vector = motion.vector_of(part);
    out_->se(4 * (vector.x - predicted[i].x));
    out_->se(4 * (vector.y - predicted[i].y));
    ++i;
  }
}

// The prediction is in the picture already.
void SliceCoder::code_inter(int col, int row, const Inter& inter, const Around& around) {
  const Begun begun = begin_macroblock();
  const Motion& motion = inter.motion;
  const SourceBlock source = source_at(col, row);
  residual_.pattern = 0;
  if (!inter.exact_luma) luma_inter(0, col, row, inter.luma_pattern);
  const bool blurred = !inter.exact_chroma && inter.exact_luma && !full_chroma() &&
                       chroma_difference(col, row, source) < kChromaBits * lambda_;
  if (!inter.exact_chroma && !blurred) chroma(col, row, source, Rounding::kInter);

  int quality = quantiser_;
  if (inter.exact_luma) {
    int inherited = 0;
    for (const Motion::Part& part : motion.parts())
      inherited = std::max(inherited, inherited_quality(col, row, motion.vector_of(part)));
    quality = blurred ? std::max(quality, inherited) : inherited;
  }
  State& state = map_->code(col, row, false, motion, quality);
  if (residual_.pattern == 0 && motion.whole() && motion.first() == skip_vector(around)) {
    ++skipped_;
    return;
  }
  write_skip_run();
  out_->ue(static_cast<std::uint32_t>(motion.shape));
  if (motion.shape == Motion::Shape::kQuarters) out_->put(0b1111, 4);  // sub_mb_type: four times 0
  write_vectors(motion, around);
  out_->ue(inter_code(residual_.pattern, setup_.chroma));
  if (residual_.pattern == 0) return;
  write_quantiser(state);
  write_residual_blocks(state, around, false);
  end_macroblock(col, row, begun);
}

// Predicts and codes Cb and Cr; `mode` is luma's own in 4:4:4 (8.3.4.5), else theirs.
void SliceCoder::chroma_intra(int col, int row, IntraMode mode, const Around& around) {
  const int size = setup_.picture->tile(1);
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const Plane& picture = (*setup_.picture)[plane];
    std::uint8_t* at = picture.at(col * size, row * size);
    const auto predict = full_chroma() ? predict_luma : predict_chroma;
    predict(mode, around.available(), at, picture.stride, at, picture.stride);
  }
  chroma(col, row, source_at(col, row), Rounding::kIntra);
}

void SliceCoder::code_intra(int col, int row, const Intra& intra, const Around& around) {
  const Begun begun = begin_macroblock();
  const Plane& luma = (*setup_.picture)[0];
  std::uint8_t* pixels = luma.at(col * kTile, row * kTile);
  predict_luma(intra.mode, around.available(), pixels, luma.stride, pixels, luma.stride);
  const IntraMode chroma_mode = full_chroma() ? intra.mode : choose_chroma_intra(col, row, around);
  residual_.pattern = 0;
  luma_intra(0, col, row);
  chroma_intra(col, row, chroma_mode, around);

  State& state = map_->code(col, row, true, {}, quantiser_);
  write_skip_run();
  // Table 7-11: 1 + mode + 4 × chroma's pattern + 12 when there are luma AC levels.
  const std::uint32_t type = 1 + static_cast<std::uint32_t>(intra.mode) +
                             4 * (residual_.pattern >> 4) +
                             ((residual_.pattern & 15U) != 0 ? 12U : 0U);
  out_->ue(setup_.intra ? type : type + 5);
  if (!full_chroma()) out_->ue(chroma_mode_number(chroma_mode));
  write_quantiser(state);
  write_residual_blocks(state, around, true);
  end_macroblock(col, row, begun);
}

}  // namespace kvm::screen
