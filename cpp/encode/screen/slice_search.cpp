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

[[nodiscard]] int bits_of_vector(Vector vector, Vector predicted) noexcept {
  return bits_of_difference(vector.x - predicted.x) + bits_of_difference(vector.y - predicted.y);
}

// Which 8×8 quarters of two 16×16 blocks are the same: bit i = quarter i, raster order.
[[nodiscard]] unsigned equal_quarters(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                      const std::uint8_t* b, std::ptrdiff_t b_stride) noexcept {
  unsigned same = 0;
  for (unsigned band = 0; band < 2; ++band) {
    std::array<std::uint64_t, 2> differs{};
    const std::uint8_t* end = a + 8 * a_stride;
    for (; a != end && (differs[0] == 0 || differs[1] == 0); a += a_stride, b += b_stride) {
      std::array<std::uint64_t, 2> first;
      std::array<std::uint64_t, 2> second;
      std::memcpy(first.data(), a, kTile);
      std::memcpy(second.data(), b, kTile);
      differs[0] |= first[0] ^ second[0];
      differs[1] |= first[1] ^ second[1];
    }
    b += (end - a) / a_stride * b_stride;
    a = end;
    same |= ((differs[0] == 0 ? 1U : 0U) | (differs[1] == 0 ? 2U : 0U)) << 2 * band;
  }
  return same;
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

// Where the edge of something that moves crosses a macroblock, half of it may still be found
// exactly: both halves, or one of them and what is nearest for the other.
std::optional<SliceCoder::Inter> SliceCoder::find_halves(
    int col, int row, const Around& near, std::span<const Vector> candidates) const noexcept {
  using Shape = Motion::Shape;
  const SourceBlock source = source_at(col, row);
  const auto old_at = [&](Vector vector) {
    return (*setup_.old_source)[0].at(col * kTile + vector.x, row * kTile + vector.y);
  };
  // Upper, lower, left, right.
  std::array<std::optional<Vector>, 4> exact;
  for (const Vector vector : candidates) {
    if (!allowed(col, row, vector)) continue;
    const unsigned same = equal_quarters(source.luma, source.luma_stride, old_at(vector),
                                         (*setup_.old_source)[0].stride);
    constexpr std::array<unsigned, 4> kQuartersOf{0b0011, 0b1100, 0b0101, 0b1010};
    for (std::size_t i = 0; i < exact.size(); ++i) {
      if (!exact[i] && (same & kQuartersOf[i]) == kQuartersOf[i]) exact[i] = vector;
    }
  }
  for (const Shape shape : {Shape::kRows, Shape::kColumns}) {
    const std::size_t i = shape == Shape::kRows ? 0 : 2;
    if (exact[i] && exact[i + 1]) {
      return Inter{.motion = {shape, *exact[i], *exact[i + 1]}, .exact_luma = !full_chroma()};
    }
  }
  std::optional<Inter> best;
  const Plane& reference = (*setup_.reference)[0];
  for (std::size_t i = 0; i < exact.size(); ++i) {
    if (!exact[i]) continue;
    const Shape shape = i < 2 ? Shape::kRows : Shape::kColumns;
    const Half rest = halves_of(shape)[1 - i % 2];
    for (const Vector vector : candidates) {
      if (vector == *exact[i] || !allowed(col, row, vector)) continue;
      const std::uint8_t* wanted = source.luma + rest.y * source.luma_stride + rest.x;
      const std::uint8_t* there =
          reference.at(col * kTile + rest.x + vector.x, row * kTile + rest.y + vector.y);
      const int difference = shape == Shape::kRows
                                 ? difference_of_rows<16>(wanted, source.luma_stride, there,
                                                          reference.stride, rest.height)
                                 : difference_of_rows<8>(wanted, source.luma_stride, there,
                                                         reference.stride, rest.height);
      if (best && difference >= best->cost) continue;
      Motion motion{shape, *exact[i], vector};
      if (i % 2 == 1) std::swap(motion.first, motion.second);
      best = Inter{.motion = motion, .cost = difference};
    }
  }
  if (best) {
    const std::array<Vector, 2> predicted = predicted_halves(near, best->motion);
    best->cost += lambda_ * (bits_of_vector(best->motion.first, predicted[0]) +
                             bits_of_vector(best->motion.second, predicted[1]));
  }
  return best;
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
  Inter best{.motion = {}, .cost = std::numeric_limits<int>::max()};
  const auto consider = [&](Vector vector) {
    if (!allowed(col, row, vector)) return false;
    const int bits = bits_of_vector(vector, predicted);
    int cost =
        lambda_ * bits + difference16(source.luma, source.luma_stride,
                                      luma.at(col * kTile + vector.x, row * kTile + vector.y),
                                      luma.stride, best.cost - lambda_ * bits);
    if (cost >= best.cost) return false;
    if (full_chroma()) {
      cost += full_chroma_difference(col, row, vector);
      if (cost >= best.cost) return false;
    }
    best = {.motion = Motion::of_whole(vector), .cost = cost};
    return true;
  };
  for (const Vector vector : candidates) consider(vector);
  constexpr int kDiamondSteps = 12;
  Vector came;  // the last step: what lies behind it was looked at
  for (int step = 0; step < kDiamondSteps; ++step) {
    const Vector from = best.motion.first;
    for (const Vector offset : {Vector{0, -1}, Vector{0, 1}, Vector{-1, 0}, Vector{1, 0}}) {
      if (offset == Vector{-came.x, -came.y}) continue;
      consider({from.x + offset.x, from.y + offset.y});
    }
    if (best.motion.first == from) break;
    came = {best.motion.first.x - from.x, best.motion.first.y - from.y};
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
          !code_intra4(col, row,
                       {.difference = intra.cost, .intra = &intra, .motion = {}, .cost = {}},
                       near)) {
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
  std::optional<Inter> halves;
  if (!setup_.film) halves = find_halves(col, row, near, candidates.list());
  if (halves && halves->exact_luma) {
    map_->changed(col, row, false);
    predict_inter(col, row, halves->motion);
    code_inter(col, row, *halves, near);
    return 1;
  }
  return code_fresh(col, row, near, candidates, predicted, halves);
}

// What is found exactly nowhere.
int SliceCoder::code_fresh(int col, int row, const Around& near, Candidates& candidates,
                           Vector predicted, const std::optional<Inter>& halves) {
  map_->changed(col, row, true);
  const Vector skips = skip_vector(near);
  if (allowed(col, row, skips) && code_skip(col, row, skips)) return 1;
  // What moves goes on moving.
  candidates.add(map_->last_vector(col, row));
  if (col + 1 < map_->cols()) candidates.add(map_->last_vector(col + 1, row));
  Inter inter = search(col, row, candidates.list(), predicted);
  Rival as_inter{.difference = inter.cost, .intra = nullptr, .motion = inter.motion, .cost = {}};
  if (halves) {
    Rival as_halves{
        .difference = halves->cost, .intra = nullptr, .motion = halves->motion, .cost = {}};
    as_inter.cost = luma_cost(col, row, as_inter, near);
    as_halves.cost = luma_cost(col, row, as_halves, near);
    if (*as_halves.cost < *as_inter.cost) {
      inter = *halves;
      as_inter = as_halves;
    }
  }
  // Below so many bits' worth intra has nothing to win, or in a film not enough.
  const int good = setup_.film ? 40 : 20;
  if (inter.cost >= good * lambda_) {
    const Intra intra = choose_intra(col, row);
    Rival as_intra{.difference = intra.cost, .intra = &intra, .motion = {}, .cost = {}};
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
    if (std::min(intra.cost, inter.cost) >= kWorthIntra4InMotion * lambda_ && !is_film(col, row) &&
        code_intra4(col, row, take_intra ? as_intra : as_inter, near)) {
      return 1;
    }
    if (take_intra) {
      code_intra(col, row, intra, near);
      return 1;
    }
  }
  predict_inter(col, row, inter.motion);
  code_inter(col, row, inter, near);
  return 1;
}

}  // namespace kvm::screen
