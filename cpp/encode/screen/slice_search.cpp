// The deciding half of SliceCoder: where each changed macroblock is predicted from.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

// Bits that a macroblock's difference must be worth before it is tried in sixteen blocks.
constexpr int kWorthIntra4 = 40;
constexpr int kWorthIntra4InMotion = 700;
constexpr int kHorizontalReach = 2000;  // A.3.1: 2048 in every level

[[nodiscard]] int bits_of_difference(int pixels) noexcept {
  return 2 * static_cast<int>(std::bit_width(static_cast<unsigned>(std::abs(pixels)) * 8U)) + 1;
}

}  // namespace

bool SliceCoder::allowed(int col, int row, Vector vector) const noexcept {
  if (std::abs(vector.x) > kHorizontalReach || std::abs(vector.y) > setup_.vertical_reach)
    return false;
  const int x = col * kTile + vector.x;
  const int y = row * kTile + vector.y;
  return x >= 0 && y >= 0 && x <= (map_->cols() - 1) * kTile && y <= (map_->rows() - 1) * kTile;
}

bool SliceCoder::exact_full_chroma(int col, int row, Vector vector) const noexcept {
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const Plane& now = (*setup_.source)[plane];
    const Plane& old = (*setup_.old_source)[plane];
    if (!equal_block<kTile>(now.at(col * kTile, row * kTile), now.stride,
                            old.at(col * kTile + vector.x, row * kTile + vector.y), old.stride)) {
      return false;
    }
  }
  return true;
}

bool SliceCoder::exact_chroma(int col, int row, Vector vector) const noexcept {
  if (((vector.x | vector.y) & 1) != 0) return false;
  const SourceBlock source = source_at(col, row);
  for (std::size_t plane = 0; plane < 2; ++plane) {
    const Plane& old = (*setup_.old_source)[plane + 1];
    if (!equal_block<8>(source.chroma[plane], source.chroma_stride,
                        old.at(col * 8 + vector.x / 2, row * 8 + vector.y / 2), old.stride)) {
      return false;
    }
  }
  return true;
}

std::optional<Vector> SliceCoder::find_exact(int col, int row,
                                             std::span<const Vector> candidates) const noexcept {
  const SourceBlock source = source_at(col, row);
  const Plane& old = (*setup_.old_source)[0];
  for (const Vector vector : candidates) {
    if (allowed(col, row, vector) &&
        equal_block<16>(source.luma, source.luma_stride,
                        old.at(col * kTile + vector.x, row * kTile + vector.y), old.stride) &&
        (!full_chroma() || exact_full_chroma(col, row, vector))) {
      return vector;
    }
  }
  return std::nullopt;
}

// How many macroblocks from `col` on, `end` at most, came along with the first. Long rows are quick
// to read, and what is read in vain is bounded: twice as many are tried after all of a try did.
int SliceCoder::moved_together(int col, int end, int row, Vector vector) noexcept {
  constexpr int kFewest = 8;  // two cache lines of each row
  constexpr int kMost = 128;
  int count = std::min(end - col, together_);
  while (count > 1 && !allowed(col + count - 1, row, vector)) --count;
  const int tried = count;
  for (std::size_t plane = 0; plane < luma_planes(); ++plane) {
    const Plane& now = (*setup_.source)[plane];
    const Plane& old = (*setup_.old_source)[plane];
    for (int y = row * kTile; y < (row + 1) * kTile; ++y) {
      const std::uint8_t* a = now.at(col * kTile, y);
      const std::uint8_t* b = old.at(col * kTile + vector.x, y + vector.y);
      if (std::memcmp(a, b, static_cast<std::size_t>(count * kTile)) == 0) continue;
      int equal = 0;
      while (std::memcmp(a + equal * kTile, b + equal * kTile, kTile) == 0) ++equal;
      count = equal;
    }
  }
  together_ = count == tried ? std::min(2 * together_, kMost) : kFewest;
  return count;
}

int SliceCoder::full_chroma_difference(int col, int row, Vector vector) const noexcept {
  int sum = 0;
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const Plane& source = (*setup_.source)[plane];
    const Plane& old = (*setup_.reference)[plane];
    sum += difference_of_rows<kTile>(source.at(col * kTile, row * kTile), source.stride,
                                     old.at(col * kTile + vector.x, row * kTile + vector.y),
                                     old.stride, kTile);
  }
  return sum;
}

SliceCoder::Inter SliceCoder::search(int col, int row, std::span<const Vector> candidates,
                                     Vector predicted) const noexcept {
  const SourceBlock source = source_at(col, row);
  const Plane& luma = (*setup_.reference)[0];
  Inter best{.vector = {}, .cost = std::numeric_limits<int>::max()};
  const auto consider = [&](Vector vector) {
    if (!allowed(col, row, vector)) return false;
    const int bits =
        bits_of_difference(vector.x - predicted.x) + bits_of_difference(vector.y - predicted.y);
    int cost =
        lambda_ * bits + difference16(source.luma, source.luma_stride,
                                      luma.at(col * kTile + vector.x, row * kTile + vector.y),
                                      luma.stride, best.cost - lambda_ * bits);
    if (cost >= best.cost) return false;
    if (full_chroma()) {
      cost += full_chroma_difference(col, row, vector);
      if (cost >= best.cost) return false;
    }
    best = {.vector = vector, .cost = cost};
    return true;
  };
  for (const Vector vector : candidates) consider(vector);
  constexpr int kDiamondSteps = 12;
  Vector came;  // the last step: what lies behind it was looked at
  for (int step = 0; step < kDiamondSteps; ++step) {
    const Vector from = best.vector;
    for (const Vector offset : {Vector{0, -1}, Vector{0, 1}, Vector{-1, 0}, Vector{1, 0}}) {
      if (offset == Vector{-came.x, -came.y}) continue;
      consider({from.x + offset.x, from.y + offset.y});
    }
    if (best.vector == from) break;
    came = {best.vector.x - from.x, best.vector.y - from.y};
  }
  return best;
}

SliceCoder::Intra SliceCoder::choose_intra(int col, int row) const noexcept {
  const SourceBlock source = source_at(col, row);
  const Plane& luma = (*setup_.picture)[0];
  constexpr int kUnknown = std::numeric_limits<int>::max();
  std::array<int, kIntraModes> differences{kUnknown, kUnknown, kUnknown, kUnknown};
  intra_differences(around(col, row).available(), source.luma, source.luma_stride,
                    luma.at(col * kTile, row * kTile), luma.stride, differences);
  if (full_chroma()) {
    for (std::size_t plane = 1; plane < 3; ++plane) {
      const Plane& from = (*setup_.source)[plane];
      const Plane& to = (*setup_.picture)[plane];
      std::array<int, kIntraModes> more{};
      intra_differences(around(col, row).available(), from.at(col * kTile, row * kTile),
                        from.stride, to.at(col * kTile, row * kTile), to.stride, more);
      for (std::size_t mode = 0; mode < differences.size(); ++mode) {
        if (differences[mode] != kUnknown) differences[mode] += more[mode];
      }
    }
  }
  constexpr int kModeBits = 6;  // type, chroma's mode
  Intra best{.cost = kUnknown};
  for (const IntraMode mode : kIntraOrder) {
    const int difference = differences[static_cast<std::size_t>(mode)];
    if (difference < best.cost) best = {.mode = mode, .cost = difference};
  }
  best.cost += lambda_ * kModeBits;
  return best;
}

// 4:2:0: Cb and Cr have a mode together, whatever luma's is.
IntraMode SliceCoder::choose_chroma_intra(int col, int row, const Around& around) const noexcept {
  const SourceBlock source = source_at(col, row);
  IntraMode best = IntraMode::kDc;
  int least = std::numeric_limits<int>::max();
  for (const IntraMode mode : kIntraOrder) {
    if (!around.available().allow(mode)) continue;
    const auto bits = 2 * static_cast<int>(std::bit_width(chroma_mode_number(mode) + 1U)) - 1;
    int cost = lambda_ * bits;
    for (std::size_t plane = 0; plane < 2; ++plane) {
      const Plane& picture = (*setup_.picture)[plane + 1];
      std::array<std::uint8_t, 64> predicted;
      predict_chroma(mode, around.available(), picture.at(col * 8, row * 8), picture.stride,
                     predicted.data(), 8);
      cost +=
          difference_of_rows<8>(source.chroma[plane], source.chroma_stride, predicted.data(), 8, 8);
    }
    if (cost < least) {
      least = cost;
      best = mode;
    }
  }
  return best;
}

void SliceCoder::code(int col, int end, int row) {
  // What moves is not looked at so closely, and costs most.
  constexpr int kFilmCoarser = 2;
  const auto begin = [&] {
    use_quantiser(is_film(col, row) ? std::min(setup_.quantiser + kFilmCoarser, 51)
                                    : setup_.quantiser);
  };
  if (setup_.intra) {
    for (; col < end; ++col) {
      begin();
      const Around near = around(col, row);
      const Intra intra = choose_intra(col, row);
      if (intra.cost < kWorthIntra4 * lambda_ || is_film(col, row) ||
          !code_intra4(col, row, {.difference = intra.cost, .intra = &intra, .vector = {}}, near)) {
        code_intra(col, row, intra, near);
      }
    }
    return;
  }
  while (col < end) {
    begin();
    col += code_changed(col, end, row);
  }
  use_quantiser(setup_.quantiser);
}

// Returns how many macroblocks it coded.
int SliceCoder::code_changed(int col, int end, int row) {
  const Around near = around(col, row);
  const Vector predicted = predicted_vector(near);
  Candidates candidates;
  candidates.add(skip_vector(near));
  candidates.add(predicted);
  for (const State* state : {near.left, near.top, near.corner}) {
    if (state != nullptr && !state->intra) candidates.add(state->vector);
  }
  // A film is never found exactly anywhere. Now and then it is looked at all the same: it may have
  // become a desktop.
  const bool film = map_->is_film(col, row) &&
                    (map_->picture_number() + static_cast<unsigned>(col + row)) % 16 != 0;
  if (!film) {
    for (const Vector vector : setup_.displacements) candidates.add(vector);
  }
  candidates.add({});
  if (film) return code_fresh(col, row, near, candidates, predicted);
  if (const std::optional<Vector> vector = find_exact(col, row, candidates.list())) {
    const int count = moved_together(col, end, row, *vector);
    predict_inter(col, row, count, *vector);
    for (int i = col; i < col + count; ++i) {
      map_->changed(i, row, false);
      code_inter(i, row,
                 {.vector = *vector,
                  .exact_luma = true,
                  .exact_chroma = full_chroma() || exact_chroma(i, row, *vector)},
                 around(i, row));
    }
    return count;
  }
  return code_fresh(col, row, near, candidates, predicted);
}

// What is found exactly nowhere.
int SliceCoder::code_fresh(int col, int row, const Around& near, Candidates& candidates,
                           Vector predicted) {
  map_->changed(col, row, true);
  const Vector skips = skip_vector(near);
  if (allowed(col, row, skips) && code_skip(col, row, skips)) return 1;
  // What moves goes on moving.
  candidates.add(map_->last_vector(col, row));
  if (col + 1 < map_->cols()) candidates.add(map_->last_vector(col + 1, row));
  const Inter inter = search(col, row, candidates.list(), predicted);
  // Below so many bits' worth intra has nothing to win.
  constexpr int kGoodPrediction = 20;
  if (inter.cost >= kGoodPrediction * lambda_) {
    const Intra intra = choose_intra(col, row);
    const Rival as_inter{.difference = inter.cost, .intra = nullptr, .vector = inter.vector};
    const Rival as_intra{.difference = intra.cost, .intra = &intra, .vector = {}};
    // The differences are not comparable: those of an intra prediction are smooth, and take few
    // bits.
    const bool near_each_other = intra.cost < 2 * inter.cost && inter.cost < 2 * intra.cost;
    const bool take_intra =
        near_each_other ? luma_cost(col, row, as_intra, near) < luma_cost(col, row, as_inter, near)
                        : intra.cost < inter.cost;
    if (std::min(intra.cost, inter.cost) >= kWorthIntra4InMotion * lambda_ && !is_film(col, row) &&
        code_intra4(col, row, take_intra ? as_intra : as_inter, near)) {
      return 1;
    }
    if (take_intra) {
      code_intra(col, row, intra, near);
      return 1;
    }
  }
  predict_inter(col, row, 1, inter.vector);
  code_inter(col, row, inter, near);
  return 1;
}

}  // namespace kvm::screen
