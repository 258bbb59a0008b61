// The deciding half of SliceCoder: where each changed macroblock is predicted from.
#include <algorithm>
#include <bit>
#include <limits>

#include "encode/screen/difference.hpp"
#include "encode/screen/noise.hpp"
#include "encode/screen/slice_coder.hpp"

namespace kvm::screen {
namespace {

// Bits that a macroblock's difference must be worth before it is tried in sixteen blocks.
constexpr int kWorthIntra4 = 40;
constexpr int kWorthIntra4InMotion = 700;
// Steps that a film and noise are coded coarser than what is drawn: nobody looks at them so
// closely, and they cost most.
constexpr int kCoarser = 2;

}  // namespace

int SliceCoder::full_chroma_difference(int col, int row, Vector vector) const noexcept {
  int sum = 0;
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const Plane& source = (*setup_.source)[plane];
    const Plane& old = (*setup_.reference)[plane];
    sum += difference16(source.at(col * kTile, row * kTile), source.stride,
                        old.at(col * kTile + vector.x, row * kTile + vector.y), old.stride);
  }
  return sum;
}

SliceCoder::Inter SliceCoder::search(int col, int row, std::span<const Vector> candidates,
                                     Vector predicted) const noexcept {
  const SourceBlock source = source_at(col, row);
  const Plane& luma = (*setup_.reference)[0];
  const Reach reach = reach_of(col, row);
  const std::uint8_t* here = luma.at(col * kTile, row * kTile);
  const auto at = [&](Vector vector) { return here + vector.y * luma.stride + vector.x; };
  Inter best{.motion = {}, .cost = std::numeric_limits<int>::max()};
  // `cost`: of luma, if it is below the best one.
  const auto take = [&](Vector vector, int cost) {
    if (cost >= best.cost) return;
    if (full_chroma()) {
      cost += full_chroma_difference(col, row, vector);
      if (cost >= best.cost) return;
    }
    best = {.motion = Motion::of_whole(vector), .cost = cost};
  };
  const auto consider = [&](Vector vector) {
    if (!reach.holds(vector)) return;
    const int bits = lambda_ * vector_bits(vector, predicted);
    take(vector, bits + difference16(source.luma, source.luma_stride, at(vector), luma.stride,
                                     best.cost - bits));
  };
  for (const Vector vector : candidates) consider(vector);
  constexpr int kDiamondSteps = 12;
  constexpr std::array<Vector, 4> kAround{{{0, -1}, {0, 1}, {-1, 0}, {1, 0}}};
  Vector came;  // the last step: what lies behind it was looked at
  for (int step = 0; step < kDiamondSteps; ++step) {
    const Vector from = best.motion.first();
    const bool inside =
        reach.holds({from.x - 1, from.y - 1}) && reach.holds({from.x + 1, from.y + 1});
    std::array<int, 4> differences{};
    if (inside)
      differences_around16(source.luma, source.luma_stride, at(from), luma.stride, differences);
    for (std::size_t i = 0; i < kAround.size(); ++i) {
      const Vector offset = kAround[i];
      if (offset == Vector{-came.x, -came.y}) continue;
      const Vector vector{from.x + offset.x, from.y + offset.y};
      if (inside) {
        if (differences[i] < best.cost)
          take(vector, differences[i] + lambda_ * vector_bits(vector, predicted));
      } else {
        consider(vector);
      }
    }
    if (best.motion.first() == from) break;
    came = {best.motion.first().x - from.x, best.motion.first().y - from.y};
  }
  return best;
}

SliceCoder::Intra SliceCoder::choose_intra(int col, int row) const noexcept {
  const SourceBlock source = source_at(col, row);
  const Plane& luma = (*setup_.picture)[0];
  constexpr int kUnknown = std::numeric_limits<int>::max();
  std::array<int, kIntraModes> differences{kUnknown, kUnknown, kUnknown, kUnknown};
  const Neighbours neighbours = around(col, row).available();
  intra_differences(
      neighbours,
      IntraBlocks<1>{
          {source.luma}, source.luma_stride, {luma.at(col * kTile, row * kTile)}, luma.stride},
      differences);
  if (full_chroma()) {
    for (std::size_t plane = 1; plane < 3; ++plane) {
      const Plane& from = (*setup_.source)[plane];
      const Plane& to = (*setup_.picture)[plane];
      std::array<int, kIntraModes> more{};
      intra_differences(neighbours,
                        IntraBlocks<1>{{from.at(col * kTile, row * kTile)},
                                       from.stride,
                                       {to.at(col * kTile, row * kTile)},
                                       to.stride},
                        more);
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
  const Planes& picture = *setup_.picture;
  std::array<int, kIntraModes> differences{};
  intra_differences(
      around.available(),
      IntraBlocks<2>{source.chroma,
                     source.chroma_stride,
                     {picture[1].at(col * 8, row * 8), picture[2].at(col * 8, row * 8)},
                     picture[1].stride},
      differences);
  IntraMode best = IntraMode::kDc;
  int least = std::numeric_limits<int>::max();
  for (const IntraMode mode : kIntraOrder) {
    if (!around.available().allow(mode)) continue;
    const auto bits = 2 * static_cast<int>(std::bit_width(chroma_mode_number(mode) + 1U)) - 1;
    const int cost = lambda_ * bits + differences[static_cast<std::size_t>(mode)];
    if (cost < least) {
      least = cost;
      best = mode;
    }
  }
  return best;
}

bool SliceCoder::go_easy_on_noise(int col, int row) noexcept {
  const Plane& source = (*setup_.source)[0];
  if (in_large_film(col, row) || !is_noise(source.at(col * kTile, row * kTile), source.stride))
    return false;
  use_quantiser(std::min(setup_.quantiser + kCoarser, 51));
  return true;
}

void SliceCoder::code(int col, int end, int row) {
  const auto begin = [&] {
    use_quantiser(in_large_film(col, row) ? std::min(setup_.quantiser + kCoarser, 51)
                                          : setup_.quantiser);
  };
  if (setup_.intra) {
    for (; col < end; ++col) {
      begin();
      const Around near = around(col, row);
      const Intra intra = choose_intra(col, row);
      if (intra.cost >= kWorthIntra4 * lambda_) go_easy_on_noise(col, row);
      if (intra.cost < kWorthIntra4 * lambda_ || in_large_film(col, row) ||
          !code_intra4(col, row, Rival(intra), near)) {
        code_intra(col, row, intra, near);
      }
    }
    return;
  }
  while (col < end) {
    begin();
    col += code_changed(col, end, row);
  }
}

// Returns how many macroblocks it coded.
int SliceCoder::code_changed(int col, int end, int row) {
  const Around near = around(col, row);
  const Vector predicted = predicted_vector(near);
  Candidates candidates;
  candidates.add(skip_vector(near));
  candidates.add(predicted);
  const auto moves = [](const State* state) { return state != nullptr && !state->intra; };
  if (moves(near.left)) candidates.add(near.left_vector());
  if (moves(near.top)) candidates.add(near.top_vector());
  if (moves(near.corner)) candidates.add(near.corner_vector());
  // A film is never found exactly anywhere. Now and then it is looked at all the same: it may have
  // become a desktop.
  const bool film = map_->is_film(col, row) &&
                    (map_->picture_number() + static_cast<unsigned>(col + row)) % 16 != 0;
  if (!film) {
    for (const Vector vector : setup_.displacements) candidates.add(vector);
  }
  candidates.add({});
  if (film) return code_fresh(col, row, near, candidates, predicted, std::nullopt);
  if (const std::optional<Vector> vector = find_exact(col, row, candidates.list())) {
    const int count = moved_together(col, end, row, *vector);
    predict_inter(col, row, count, *vector);
    for (int i = col; i < col + count; ++i) {
      map_->changed(i, row, false);
      code_inter(i, row,
                 {.motion = Motion::of_whole(*vector),
                  .exact_luma = true,
                  .exact_chroma = full_chroma() || exact_chroma(i, row, *vector)},
                 around(i, row));
    }
    return count;
  }
  std::optional<Inter> in_parts;
  if (!setup_.film) in_parts = find_parts(col, row, near, candidates.list());
  if (in_parts && in_parts->exact_luma) {
    map_->changed(col, row, false);
    predict_inter(col, row, in_parts->motion);
    code_inter(col, row, *in_parts, near);
    return 1;
  }
  return code_fresh(col, row, near, candidates, predicted, in_parts);
}

// What is found exactly nowhere.
int SliceCoder::code_fresh(int col, int row, const Around& near, Candidates& candidates,
                           Vector predicted, const std::optional<Inter>& in_parts) {
  map_->changed(col, row, true);
  const Vector skips = skip_vector(near);
  std::optional<unsigned> skip_pattern;
  if (reach_of(col, row).holds(skips) && code_skip(col, row, skips, skip_pattern)) return 1;
  // What moves goes on moving.
  candidates.add(map_->last_vector(col, row));
  if (col + 1 < map_->cols()) candidates.add(map_->last_vector(col + 1, row));
  Inter inter = search(col, row, candidates.list(), predicted);
  Rival as_inter(inter);
  if (in_parts) {
    Rival divided(*in_parts);
    as_inter.cost = luma_cost(col, row, as_inter, near);
    divided.cost = luma_cost(col, row, divided, near);
    if (*divided.cost < *as_inter.cost) {
      inter = *in_parts;
      as_inter = divided;
    }
  }
  // Below so many bits' worth intra has nothing to win, or in a film not enough.
  const int good = setup_.film ? 40 : 20;
  if (inter.cost >= good * lambda_) {
    if (go_easy_on_noise(col, row)) {  // what was tried with the finer quantiser says nothing
      skip_pattern.reset();
      as_inter.cost.reset();
    }
    const Intra intra = choose_intra(col, row);
    Rival as_intra(intra);
    // The differences are not comparable: those of an intra prediction are smooth, and take few
    // bits.
    bool take_intra = intra.cost < inter.cost;
    // A film asks so often that only the likeliest cases are worth their time.
    const bool unclear = setup_.film ? !take_intra && 2 * intra.cost < 3 * inter.cost
                                     : intra.cost < 2 * inter.cost && inter.cost < 2 * intra.cost;
    if (unclear) {
      as_inter.cost = luma_cost(col, row, as_inter, near);
      as_intra.cost = luma_cost(col, row, as_intra, near);
      take_intra = *as_intra.cost < *as_inter.cost;
    }
    if (std::min(intra.cost, inter.cost) >= kWorthIntra4InMotion * lambda_ &&
        !in_large_film(col, row)) {
      if (code_intra4(col, row, take_intra ? as_intra : as_inter, near)) return 1;
      skip_pattern.reset();  // its levels were written over
    }
    if (take_intra) {
      code_intra(col, row, intra, near);
      return 1;
    }
  }
  if (inter.motion.whole() && inter.motion.first() == skips) inter.luma_pattern = skip_pattern;
  predict_inter(col, row, inter.motion);
  code_inter(col, row, inter, near);
  return 1;
}

}  // namespace kvm::screen
