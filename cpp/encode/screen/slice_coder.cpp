#include "encode/screen/slice_coder.hpp"

#include <algorithm>
#include <cmath>

#include "encode/screen/difference.hpp"

namespace kvm::screen {
namespace {

// Text that moves by an odd number of lines keeps its luma exactly, but its colour lands between
// two chroma rows and blurs a little. What so many bits would mend is left to refinement: nobody
// sees it while it moves, and coding it is half the work and half the bits of a scroll.
constexpr int kChromaBits = 200;

}  // namespace

SliceCoder::SliceCoder(MacroblockMap& map, Entropy entropy)
    : map_(&map), writer_(entropy == Entropy::kCabac ? make_cabac_writer() : make_cavlc_writer()) {}

void SliceCoder::begin(const SliceSetup& setup, SliceBits& out) {
  setup_ = setup;
  writer_->begin({.intra = setup.intra,
                  .quantiser = setup.quantiser,
                  .chroma = setup.chroma,
                  .cols = map_->cols()},
                 out);
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

Around SliceCoder::around(int col, int row) const noexcept {
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
    residual_.pattern = 0;
    Macroblock macroblock;
    macroblock.predicted[0] = predicted_vector(near);
    (void)writer_->write(col, macroblock, residual_, near, nullptr);
    ++col;
  }
  if (col < end) writer_->skip(col, end - col);
}

void SliceCoder::write(int col, int row, const Macroblock& macroblock, const Around& around,
                       State& state) {
  if (macroblock.has_residual(residual_)) state.quantiser = static_cast<std::int8_t>(quantiser_);
  if (!writer_->write(col, macroblock, residual_, around, &state)) send_pixels(col, row);
}

void SliceCoder::send_pixels(int col, int row) {
  writer_->write_pixels(col, row, *setup_.source);
  for (std::size_t plane = 0; plane < 3; ++plane) {
    const int size = setup_.picture->tile(plane);
    const Plane& source = (*setup_.source)[plane];
    const Plane& picture = (*setup_.picture)[plane];
    copy_pixels(source.at(col * size, row * size), source.stride,
                picture.at(col * size, row * size), picture.stride, size, size);
  }
  constexpr int kExact = 0;
  State& state = map_->code(col, row, true, {}, kExact);
  state.quantiser = State::kPcm;
  // 9.2.1: its neighbours count 16 levels in each of its blocks.
  state.luma.fill(16);
  for (auto& counts : state.chroma) counts.fill(16);
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

// The prediction is in the picture already.
void SliceCoder::code_inter(int col, int row, const Inter& inter, const Around& around) {
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
    writer_->skip(col, 1);
    return;
  }
  const Macroblock macroblock{
      .quantiser = quantiser_, .motion = motion, .predicted = predicted_parts(around, motion)};
  write(col, row, macroblock, around, state);
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
  const Plane& luma = (*setup_.picture)[0];
  std::uint8_t* pixels = luma.at(col * kTile, row * kTile);
  predict_luma(intra.mode, around.available(), pixels, luma.stride, pixels, luma.stride);
  const IntraMode chroma_mode = full_chroma() ? intra.mode : choose_chroma_intra(col, row, around);
  residual_.pattern = 0;
  luma_intra(0, col, row);
  chroma_intra(col, row, chroma_mode, around);

  State& state = map_->code(col, row, true, {}, quantiser_);
  const Macroblock macroblock{.kind = Macroblock::Kind::kIntra16,
                              .quantiser = quantiser_,
                              .mode = intra.mode,
                              .chroma_mode = chroma_mode};
  write(col, row, macroblock, around, state);
}

}  // namespace kvm::screen
