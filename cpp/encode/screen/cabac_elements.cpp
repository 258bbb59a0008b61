// What a macroblock says before its levels, in CABAC (ITU-T H.264, 9.3.2.5 and 9.3.3.1).
#include <algorithm>
#include <cstdlib>

#include "encode/screen/cabac_writer.hpp"

namespace kvm::screen {
namespace {

// ctxIdxOffset (table 9-34).
constexpr std::size_t kTypeI = 3;
constexpr std::size_t kTypeP = 14;
constexpr std::size_t kTypeIntraInP = 17;
constexpr std::size_t kSubType = 21;
constexpr std::size_t kDifferenceX = 40;
constexpr std::size_t kDifferenceY = 47;
constexpr std::size_t kQuantiserDelta = 60;
constexpr std::size_t kChromaMode = 64;
constexpr std::size_t kKnownMode = 68;
constexpr std::size_t kOtherMode = 69;
constexpr std::size_t kPatternLuma = 73;
constexpr std::size_t kPatternChroma = 77;
// Of a vector's difference: beyond what any sum of two is compared with.
constexpr int kFar = 100;

}  // namespace

// The first bins of tables 9-36 and 9-37: Intra_16x16 and I_PCM, or I_NxN.
void CabacWriter::write_intra_kind(Run& out, bool sixteen) {
  if (!setup_.intra) {
    out.encode(context(kTypeP), true);
    out.encode(context(kTypeIntraInP), sixteen);
    return;
  }
  const auto counts = [](const Coded& near) { return near.there && near.sixteen ? 1U : 0U; };
  out.encode(context(kTypeI + counts(left()) + counts(top())), sixteen);
}

// The rest of them.
void CabacWriter::write_intra16(Run& out, IntraMode mode, unsigned pattern) {
  struct Contexts {
    std::size_t luma, chroma, chroma_ac, mode_high, mode_low;
  };
  constexpr Contexts kOfI{kTypeI + 3, kTypeI + 4, kTypeI + 5, kTypeI + 6, kTypeI + 7};
  constexpr Contexts kOfP{kTypeIntraInP + 1, kTypeIntraInP + 2, kTypeIntraInP + 2,
                          kTypeIntraInP + 3, kTypeIntraInP + 3};
  const Contexts& at = setup_.intra ? kOfI : kOfP;
  out.terminate(false);  // not I_PCM
  out.encode(context(at.luma), (pattern & 15U) != 0);
  out.encode(context(at.chroma), pattern >> 4 != 0);
  if (pattern >> 4 != 0) out.encode(context(at.chroma_ac), pattern >> 4 == 2);
  const auto number = static_cast<unsigned>(mode);
  out.encode(context(at.mode_high), (number & 2U) != 0);
  out.encode(context(at.mode_low), (number & 1U) != 0);
}

void CabacWriter::write_modes(Run& out, const Macroblock& macroblock) {
  for (std::size_t i = 0; i < 16; ++i) {
    const std::uint8_t mode = macroblock.modes[raster(i)];
    const std::uint8_t predicted = macroblock.predicted_modes[raster(i)];
    out.encode(context(kKnownMode), mode == predicted);
    if (mode == predicted) continue;
    const unsigned other = mode < predicted ? mode : mode - 1U;
    for (unsigned bit = 0; bit < 3; ++bit)  // the low one first
      out.encode(context(kOtherMode), (other >> bit & 1U) != 0);
  }
}

void CabacWriter::write_chroma_mode(Run& out, Coded& coded, IntraMode mode) {
  constexpr std::uint32_t kMost = 3;
  const auto counts = [](const Coded& near) { return near.chroma_mode ? 1U : 0U; };
  const std::uint32_t number = chroma_mode_number(mode);
  out.encode(context(kChromaMode + counts(left()) + counts(top())), number != 0);
  for (std::uint32_t i = 1; i < kMost && i <= number; ++i)
    out.encode(context(kChromaMode + 3), number > i);
  coded.chroma_mode = number != 0;
}

void CabacWriter::write_motion(Run& out, Coded& coded, const Macroblock& macroblock) {
  using Shape = Motion::Shape;
  const Motion& motion = macroblock.motion;
  out.encode(context(kTypeP), false);
  // Table 9-37: 0 0 whole, 1 1 rows, 1 0 columns, 0 1 quarters.
  const bool halves = motion.shape == Shape::kRows || motion.shape == Shape::kColumns;
  out.encode(context(kTypeP + 1), halves);
  out.encode(context(kTypeP + (halves ? 3 : 2)),
             motion.shape == Shape::kRows || motion.shape == Shape::kQuarters);
  if (motion.shape == Shape::kQuarters) {
    for (int i = 0; i < 4; ++i) out.encode(context(kSubType), true);
  }
  const auto clipped = [](int difference) {
    return static_cast<std::uint8_t>(std::min(std::abs(difference), kFar));
  };
  std::size_t i = 0;
  for (const Motion::Part& part : motion.parts()) {
    const std::size_t quarter = part.quarter;
    const Coded::Difference a =
        quarter % 2 == 1 ? coded.differences[quarter - 1] : left().differences[quarter + 1];
    const Coded::Difference b =
        quarter >= 2 ? coded.differences[quarter - 2] : top().differences[quarter + 2];
    const Vector vector = motion.vector_of(part);
    const Vector predicted = macroblock.predicted[i++];
    const int x = 4 * (vector.x - predicted.x);
    const int y = 4 * (vector.y - predicted.y);
    write_difference(out, kDifferenceX, a.x + b.x, x);
    write_difference(out, kDifferenceY, a.y + b.y, y);
    const Coded::Difference own{clipped(x), clipped(y)};
    coded.differences[quarter] = own;
    if (part.pixels.width == kTile) coded.differences[quarter + 1] = own;
    if (part.pixels.height == kTile) coded.differences[quarter + 2] = own;
    if (motion.whole()) coded.differences[3] = own;
  }
}

// 9.3.2.3 (UEG3, signed, uCoff 9) and 9.3.3.1.1.7.
void CabacWriter::write_difference(Run& out, std::size_t first, int sum, int difference) {
  constexpr std::uint32_t kPrefix = 9;
  const auto size = static_cast<std::uint32_t>(std::abs(difference));
  out.encode(context(first + (sum < 3 ? 0 : sum > 32 ? 2 : 1)), size != 0);
  if (size == 0) return;
  for (std::uint32_t i = 1; i < kPrefix && i <= size; ++i)
    out.encode(context(first + std::min(2 + i, 6U)), size > i);
  if (size >= kPrefix) out.exp_golomb(size - kPrefix, 3);
  out.bypass(difference < 0 ? 1 : 0, 1);
}

void CabacWriter::write_pattern(Run& out, const Coded& coded) {
  // 9.3.3.1.1.4: counts where a neighbour has nothing coded.
  const auto empty = [](const Coded& near, unsigned quarter) {
    return near.there && (near.pattern >> quarter & 1U) == 0 ? 1U : 0U;
  };
  for (unsigned quarter = 0; quarter < 4; ++quarter) {
    const unsigned a = quarter % 2 == 1 ? empty(coded, quarter - 1) : empty(left(), quarter + 1);
    const unsigned b = quarter >= 2 ? empty(coded, quarter - 2) : empty(top(), quarter + 2);
    out.encode(context(kPatternLuma + a + 2 * b), (coded.pattern >> quarter & 1U) != 0);
  }
  if (full_chroma()) return;
  const unsigned chroma = coded.pattern >> 4;
  const auto counts = [&](const Coded& near, unsigned least) {
    return near.pattern >> 4 >= least ? 1U : 0U;
  };
  out.encode(context(kPatternChroma + counts(left(), 1) + 2 * counts(top(), 1)), chroma != 0);
  if (chroma == 0) return;
  out.encode(context(kPatternChroma + 4 + counts(left(), 2) + 2 * counts(top(), 2)), chroma == 2);
}

void CabacWriter::write_quantiser(Run& out, int quantiser) {
  const int delta = quantiser_delta(quantiser, before_.quantiser);
  // Table 9-3: 1, -1, 2, -2, …; unary.
  const int number = delta > 0 ? 2 * delta - 1 : -2 * delta;
  std::size_t at = kQuantiserDelta + (before_.stepped ? 1 : 0);
  for (int i = 0; i < number; ++i) {
    out.encode(context(at), true);
    at = kQuantiserDelta + (i == 0 ? 2 : 3);
  }
  out.encode(context(at), false);
  before_.quantiser = quantiser;
  before_.stepped = delta != 0;
}

}  // namespace kvm::screen
