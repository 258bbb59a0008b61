#include "encode/screen/slice_coder.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace kvm::screen {
namespace {

constexpr int kMaxCandidates = 16;
constexpr std::size_t kMacroblockBytes = 4096;  // more than any macroblock can take
constexpr int kHorizontalReach = 2000;          // A.3.1: 2048 in every level

[[nodiscard]] int median(int a, int b, int c) noexcept {
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

class Candidates {
 public:
  void add(Vector vector) noexcept {
    if (count_ == list_.size()) return;
    const auto end = list_.begin() + static_cast<std::ptrdiff_t>(count_);
    if (std::find(list_.begin(), end, vector) == end) list_[count_++] = vector;
  }
  [[nodiscard]] std::span<const Vector> list() const noexcept { return {list_.data(), count_}; }

 private:
  std::array<Vector, kMaxCandidates> list_;
  std::size_t count_ = 0;
};

[[nodiscard]] int bits_of_difference(int pixels) noexcept {
  return 2 * static_cast<int>(std::bit_width(static_cast<unsigned>(std::abs(pixels)) * 8U)) + 1;
}

}  // namespace

SliceCoder::SliceCoder(int cols, int rows) : cols_(cols), rows_(rows) {
  const auto count = static_cast<std::size_t>(cols) * static_cast<std::size_t>(rows);
  states_.resize(count);
  quality_.assign(count, 51);
  old_quality_.assign(count, 51);
}

void SliceCoder::begin(const SliceSetup& setup, SliceBits& out) {
  setup_ = setup;
  out_ = &out;
  ++picture_number_;
  skipped_ = 0;
  quantiser_ = written_quantiser_ = setup.quantiser;
  lambda_ = std::max(1, static_cast<int>(std::lround(std::exp2((setup.quantiser - 12) / 6.0))));
  old_quality_ = quality_;
}

const SliceCoder::State& SliceCoder::state_at(int col, int row) const noexcept {
  static const State skipped;
  const State& state = states_[index(col, row)];
  return state.picture == picture_number_ ? state : skipped;
}

SliceCoder::Around SliceCoder::around(int col, int row) const noexcept {
  Around found;
  if (col > 0) found.left = &state_at(col - 1, row);
  if (row == 0) return found;
  found.top = &state_at(col, row - 1);
  if (col + 1 < cols_) {
    found.corner = &state_at(col + 1, row - 1);
  } else if (col > 0) {
    found.corner = &state_at(col - 1, row - 1);
  }
  return found;
}

Vector SliceCoder::predicted_vector(const Around& around) noexcept {  // 8.4.1.3
  if (around.top == nullptr && around.corner == nullptr) {
    return around.left != nullptr ? around.left->vector : Vector{};
  }
  const auto usable = [](const State* state) { return state != nullptr && !state->intra; };
  const int count = (usable(around.left) ? 1 : 0) + (usable(around.top) ? 1 : 0) +
                    (usable(around.corner) ? 1 : 0);
  if (count == 1) {
    if (usable(around.left)) return around.left->vector;
    return usable(around.top) ? around.top->vector : around.corner->vector;
  }
  const auto vector = [&](const State* state) { return usable(state) ? state->vector : Vector{}; };
  const Vector a = vector(around.left);
  const Vector b = vector(around.top);
  const Vector c = vector(around.corner);
  return {median(a.x, b.x, c.x), median(a.y, b.y, c.y)};
}

Vector SliceCoder::skip_vector(const Around& around) noexcept {  // 8.4.1.1
  if (around.left == nullptr || around.top == nullptr) return {};
  const auto rests = [](const State* state) { return !state->intra && state->vector == Vector{}; };
  if (rests(around.left) || rests(around.top)) return {};
  return predicted_vector(around);
}

bool SliceCoder::allowed(int col, int row, Vector vector) const noexcept {
  if (std::abs(vector.x) > kHorizontalReach || std::abs(vector.y) > setup_.vertical_reach)
    return false;
  const int x = col * kTile + vector.x;
  const int y = row * kTile + vector.y;
  return x >= 0 && y >= 0 && x <= (cols_ - 1) * kTile && y <= (rows_ - 1) * kTile;
}

bool SliceCoder::find_exact(int col, int row, const SourceBlock& source,
                            std::span<const Vector> candidates, Inter& found) const noexcept {
  const Planes& old = *setup_.old_source;
  for (const Vector vector : candidates) {
    if (!allowed(col, row, vector)) continue;
    const Plane& luma = old[0];
    if (!equal16(source.luma, source.luma_stride,
                 luma.at(col * kTile + vector.x, row * kTile + vector.y), luma.stride)) {
      continue;
    }
    found.vector = vector;
    found.exact_luma = true;
    found.exact_chroma = ((vector.x | vector.y) & 1) == 0;
    for (std::size_t plane = 0; found.exact_chroma && plane < 2; ++plane) {
      const Plane& chroma = old[plane + 1];
      found.exact_chroma =
          equal8(source.chroma[plane], source.chroma_stride,
                 chroma.at(col * 8 + vector.x / 2, row * 8 + vector.y / 2), chroma.stride);
    }
    return true;
  }
  return false;
}

SliceCoder::Inter SliceCoder::search(int col, int row, const SourceBlock& source,
                                     std::span<const Vector> candidates,
                                     Vector predicted) const noexcept {
  const Plane& luma = (*setup_.reference)[0];
  const auto cost_of = [&](Vector vector) {
    const int bits =
        bits_of_difference(vector.x - predicted.x) + bits_of_difference(vector.y - predicted.y);
    return lambda_ * bits + difference16(source.luma, source.luma_stride,
                                         luma.at(col * kTile + vector.x, row * kTile + vector.y),
                                         luma.stride);
  };
  Inter best{.vector = {}, .cost = cost_of({})};
  const auto consider = [&](Vector vector) {
    if (!allowed(col, row, vector)) return false;
    const int cost = cost_of(vector);
    if (cost >= best.cost) return false;
    best = {.vector = vector, .cost = cost};
    return true;
  };
  for (const Vector vector : candidates) consider(vector);
  constexpr int kDiamondSteps = 12;
  for (int step = 0; step < kDiamondSteps; ++step) {
    const Vector from = best.vector;
    bool better = false;
    for (const Vector offset : {Vector{0, -1}, Vector{0, 1}, Vector{-1, 0}, Vector{1, 0}}) {
      better |= consider({from.x + offset.x, from.y + offset.y});
    }
    if (!better) break;
  }
  return best;
}

SliceCoder::Intra SliceCoder::choose_intra(int col, int row, const SourceBlock& source,
                                           Neighbours neighbours) const noexcept {
  const Plane& luma = (*setup_.picture)[0];
  const std::uint8_t* pixels = luma.at(col * kTile, row * kTile);
  std::array<std::uint8_t, 256> prediction;
  constexpr int kModeBits = 6;  // type, chroma's mode
  Intra best{.cost = 1 << 30};
  for (const IntraMode mode : {IntraMode::kDc, IntraMode::kVertical, IntraMode::kHorizontal}) {
    if (mode == IntraMode::kVertical && !neighbours.top) continue;
    if (mode == IntraMode::kHorizontal && !neighbours.left) continue;
    predict_luma(mode, neighbours, pixels, luma.stride, prediction.data(), 16);
    const int cost =
        lambda_ * kModeBits + difference16(source.luma, source.luma_stride, prediction.data(), 16);
    if (cost < best.cost) best = {.mode = mode, .cost = cost};
  }
  return best;
}

// The coarsest of what lies under a macroblock at `vector`.
int SliceCoder::inherited_quality(int col, int row, Vector vector) const noexcept {
  const int x = col * kTile + vector.x;
  const int y = row * kTile + vector.y;
  int coarsest = 0;
  for (int r = y / kTile; r <= (y + kTile - 1) / kTile; ++r) {
    for (int c = x / kTile; c <= (x + kTile - 1) / kTile; ++c) {
      coarsest = std::max<int>(coarsest, old_quality_[index(c, r)]);
    }
  }
  return coarsest;
}

void SliceCoder::code(int col, int row, const SourceBlock& source) {
  out_->reserve(kMacroblockBytes);
  const Around near = around(col, row);
  if (setup_.intra) {
    code_intra(col, row, source, choose_intra(col, row, source, near.available()), near);
    return;
  }
  const Vector predicted = predicted_vector(near);
  Candidates candidates;
  candidates.add(skip_vector(near));
  candidates.add(predicted);
  for (const State* state : {near.left, near.top, near.corner}) {
    if (state != nullptr && !state->intra) candidates.add(state->vector);
  }
  for (const Vector vector : setup_.displacements) candidates.add(vector);
  candidates.add({});

  Inter inter;
  if (find_exact(col, row, source, candidates.list(), inter)) {
    code_inter(col, row, source, inter, near);
    return;
  }
  inter = search(col, row, source, candidates.list(), predicted);
  const Intra intra = choose_intra(col, row, source, near.available());
  if (intra.cost < inter.cost) {
    code_intra(col, row, source, intra, near);
  } else {
    code_inter(col, row, source, inter, near);
  }
}

void SliceCoder::refine(int col, int row, const SourceBlock& source, int quantiser) {
  out_->reserve(kMacroblockBytes);
  quantiser_ = quantiser;
  code_inter(col, row, source, {}, around(col, row));
  quantiser_ = setup_.quantiser;
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

void SliceCoder::write_skip_run() {
  if (setup_.intra) return;
  out_->ue(skipped_);
  skipped_ = 0;
}

void SliceCoder::write_quantiser() {
  out_->se(quantiser_ - written_quantiser_);  // mb_qp_delta
  written_quantiser_ = quantiser_;
}

void SliceCoder::code_inter(int col, int row, const SourceBlock& source, const Inter& inter,
                            const Around& around) {
  const Vector vector = inter.vector;
  const Planes& reference = *setup_.reference;
  Planes& picture = *setup_.picture;
  const Plane& luma = picture[0];
  copy_block<16>(reference[0].at(col * kTile + vector.x, row * kTile + vector.y),
                 reference[0].stride, luma.at(col * kTile, row * kTile), luma.stride);
  for (std::size_t plane = 1; plane < 3; ++plane) {
    compensate_chroma(reference[plane], col * 8, row * 8, vector,
                      picture[plane].at(col * 8, row * 8), picture[plane].stride);
  }
  residual_.pattern = 0;
  if (!inter.exact_luma) luma_inter(col, row, source);
  if (!inter.exact_chroma) chroma(col, row, source, Rounding::kInter);

  State& state = states_[index(col, row)];
  const Vector skips = skip_vector(around);
  const Vector predicted = predicted_vector(around);
  state = {.picture = picture_number_, .intra = false, .vector = vector};
  quality_[index(col, row)] = static_cast<std::uint8_t>(
      inter.exact_luma ? inherited_quality(col, row, vector) : quantiser_);
  if (residual_.pattern == 0 && vector == skips) {
    ++skipped_;
    return;
  }
  // Table 9-4, inter: the code for each pattern.
  static constexpr std::array<std::uint8_t, 48> kPatternCode = [] {
    constexpr std::array<std::uint8_t, 48> kPatterns{
        0,  16, 1,  2,  4,  8,  32, 3,  5,  10, 12, 15, 47, 7,  11, 13,
        14, 6,  9,  31, 35, 37, 42, 44, 33, 34, 36, 40, 39, 43, 45, 46,
        17, 18, 20, 24, 19, 21, 26, 28, 23, 27, 29, 30, 22, 25, 38, 41};
    std::array<std::uint8_t, 48> codes{};
    for (std::size_t i = 0; i < kPatterns.size(); ++i)
      codes[kPatterns[i]] = static_cast<std::uint8_t>(i);
    return codes;
  }();
  write_skip_run();
  out_->ue(0);  // P_L0_16x16
  out_->se(4 * (vector.x - predicted.x));
  out_->se(4 * (vector.y - predicted.y));
  out_->ue(kPatternCode[residual_.pattern]);
  if (residual_.pattern != 0) {
    write_quantiser();
    write_residual_blocks(state, around, false);
  }
}

void SliceCoder::code_intra(int col, int row, const SourceBlock& source, const Intra& intra,
                            const Around& around) {
  Planes& picture = *setup_.picture;
  const Plane& luma = picture[0];
  std::uint8_t* pixels = luma.at(col * kTile, row * kTile);
  predict_luma(intra.mode, around.available(), pixels, luma.stride, pixels, luma.stride);
  for (std::size_t plane = 1; plane < 3; ++plane) {
    std::uint8_t* at = picture[plane].at(col * 8, row * 8);
    predict_chroma(intra.mode, around.available(), at, picture[plane].stride, at,
                   picture[plane].stride);
  }
  residual_.pattern = 0;
  luma_intra(col, row, source);
  chroma(col, row, source, Rounding::kIntra);

  State& state = states_[index(col, row)];
  state = {.picture = picture_number_, .intra = true, .vector = {}};
  quality_[index(col, row)] = static_cast<std::uint8_t>(quantiser_);
  write_skip_run();
  // Table 7-11: 1 + mode + 4 × chroma's pattern + 12 when there are luma AC levels.
  const std::uint32_t type = 1 + static_cast<std::uint32_t>(intra.mode) +
                             4 * (residual_.pattern >> 4) +
                             ((residual_.pattern & 15U) != 0 ? 12U : 0U);
  out_->ue(setup_.intra ? type : type + 5);
  out_->ue(chroma_mode_number(intra.mode));
  write_quantiser();
  write_residual_blocks(state, around, true);
}

}  // namespace kvm::screen
