#include "encode/screen/intra4.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/intra4.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>

#include "encode/screen/apart-inl.hpp"
#include "encode/screen/intra4_edge.hpp"
#include "encode/screen/scales.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE int pixel4(const EdgeLine& edge, const Around4& around, unsigned mode, int i) {
  const Tap tap = tap_of(mode, i % 4, i / 4);
  const std::uint8_t* at = edge.line() + tap.place;
  return mode == kIntra4Dc    ? mean_of_edge(edge, around)
         : tap.line == kAsIs  ? at[0]
         : tap.line == kMean2 ? (at[0] + at[1] + 1) >> 1
                              : (at[-1] + 2 * at[0] + at[1] + 2) >> 2;
}

HWY_INLINE int predict4_as(const Block4Task& task, unsigned mode, std::uint8_t* out) {
  const EdgeLine edge = edge_of(task);
  int cost = 0;
  for (int i = 0; i < 16; ++i) {
    const int value = pixel4(edge, task.around, mode, i);
    out[i] = static_cast<std::uint8_t>(value);
    cost += std::abs(value - task.source[i / 4 * task.source_stride + i % 4]);
  }
  return cost;
}

// The best prediction, row by row.
HWY_INLINE Coded4 predict4(const Block4Task& task, std::uint8_t* out) {
  const EdgeLine edge = edge_of(task);
  const unsigned allowed = allowed_modes(task.around);
  Coded4 best{.cost = 1 << 30};
  for (unsigned mode = 0; mode < kIntra4Modes; ++mode) {
    if ((allowed >> mode & 1U) == 0) continue;
    std::uint8_t prediction[16];
    int cost = task.lambda * (mode == task.predicted_mode ? kKnownModeBits : kOtherModeBits);
    for (int i = 0; i < 16; ++i) {
      const int value = pixel4(edge, task.around, mode, i);
      prediction[i] = static_cast<std::uint8_t>(value);
      cost += std::abs(value - task.source[i / 4 * task.source_stride + i % 4]);
    }
    if (cost >= best.cost) continue;
    best = {.mode = static_cast<std::uint8_t>(mode), .cost = cost};
    std::memcpy(out, prediction, 16);
  }
  return best;
}

// Transform, levels and what a decoder makes of them.
HWY_INLINE std::uint16_t code4(const Block4Task& task, const std::uint8_t* prediction,
                               std::int16_t* levels) {
  const QuantiserStep& forward = quantiser_step(task.quantiser, Rounding::kIntra);
  const Step step = step_of(task.quantiser);
  int d[16];
  for (int i = 0; i < 16; ++i)
    d[i] = task.source[i / 4 * task.source_stride + i % 4] - prediction[i];
  const auto pass = [&](int first, int by) {
    const int a = d[first] + d[first + 3 * by];
    const int b = d[first + by] + d[first + 2 * by];
    const int c = d[first + by] - d[first + 2 * by];
    const int e = d[first] - d[first + 3 * by];
    d[first] = a + b;
    d[first + by] = 2 * e + c;
    d[first + 2 * by] = a - b;
    d[first + 3 * by] = e - 2 * c;
  };
  for (int y = 0; y < 4; ++y) pass(4 * y, 1);
  for (int x = 0; x < 4; ++x) pass(x, 4);
  unsigned nonzero = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    const std::size_t kind = kPositionKind[i];
    const int magnitude =
        std::min((std::abs(d[i]) + forward.bias[kind]) * forward.scale[kind] >> 16, kLargestLevel);
    const int level = d[i] < 0 ? -magnitude : magnitude;
    levels[i] = static_cast<std::int16_t>(level);
    if (level != 0) nonzero |= 1U << kPlaceOf[i];
    d[i] = level * (kInverseClasses[step.rest][kind] << step.octave);
  }
  const auto back = [&](int first, int by) {
    const int e = d[first] + d[first + 2 * by];
    const int f = d[first] - d[first + 2 * by];
    const int g = (d[first + by] >> 1) - d[first + 3 * by];
    const int h = d[first + by] + (d[first + 3 * by] >> 1);
    d[first] = e + h;
    d[first + by] = f + g;
    d[first + 2 * by] = f - g;
    d[first + 3 * by] = e - h;
  };
  for (int y = 0; y < 4; ++y) back(4 * y, 1);
  for (int x = 0; x < 4; ++x) back(x, 4);
  for (int i = 0; i < 16; ++i) {
    task.pixels[i / 4 * task.stride + i % 4] =
        static_cast<std::uint8_t>(std::clamp(prediction[i] + ((d[i] + 32) >> 6), 0, 255));
  }
  return static_cast<std::uint16_t>(nonzero);
}

using Prediction = std::uint8_t[16];

#else

namespace hn = hwy::HWY_NAMESPACE;
using Pixels16 = Bytes16;
using Pixels8 = hn::FixedTag<std::uint8_t, 8>;
using Pixels4 = hn::FixedTag<std::uint8_t, 4>;
using Sums2 = Sums8;
using Short8 = hn::FixedTag<std::int16_t, 8>;
using Line16 = hn::Vec<Pixels16>;
using Rows2 = hn::Vec<Short8>;  // of a block
using Prediction = Line16;

HWY_INLINE int difference(Line16 a, Line16 b) {
  return total(apart(a, b));
}

// The three lines that predictions are made of.
struct Lines {
  Line16 here;
  Line16 mean2;
  Line16 mean3;
};
HWY_INLINE Lines lines_of(const EdgeWords& edge) {
  const Pixels16 d;
  // Put together in registers: what was stored in bytes a moment ago is slow to load as a whole.
  const auto whole = [&](const std::array<std::uint64_t, 2>& words) {
    const Sums2 halves;
    return hn::BitCast(
        d, hn::InterleaveLower(halves, hn::Set(halves, words[0]), hn::Set(halves, words[1])));
  };
  const Line16 here = whole(edge.here);
  const Line16 before = whole(edge.before());
  const Line16 after = whole(edge.after());
  // (a + 2 b + c + 2) >> 2 by two means, the inner one rounded down.
  const Line16 outer =
      hn::Sub(hn::AverageRound(before, after), hn::And(hn::Xor(before, after), hn::Set(d, 1)));
  return {here, hn::AverageRound(here, after), hn::AverageRound(here, outer)};
}

// Four rows of four pixels.
HWY_INLINE Line16 block_at(const std::uint8_t* pixels, std::ptrdiff_t stride) {
  const auto row = [&](std::ptrdiff_t y) { return hn::LoadU(Pixels4(), pixels + y * stride); };
  return hn::Combine(Pixels16(), hn::Combine(Pixels8(), row(3), row(2)),
                     hn::Combine(Pixels8(), row(1), row(0)));
}
HWY_INLINE Line16 source_of(const Block4Task& task) {
  return block_at(task.source, task.source_stride);
}

HWY_INLINE int predict4_as(const Block4Task& task, unsigned mode, Line16& prediction) {
  const Pixels16 d;
  const EdgeWords edge = edge_words_of(task);
  prediction = hn::Set(d, edge.mean(task.around));
  if (mode != kIntra4Dc) {
    const Lines lines = lines_of(edge);
    const auto part = [&](Line16 from, Line line) {
      return hn::TableLookupBytesOr0(from, hn::LoadU(d, kTaps[mode][line].data()));
    };
    prediction =
        hn::Or3(part(lines.here, kAsIs), part(lines.mean2, kMean2), part(lines.mean3, kMean3));
  }
  return difference(prediction, source_of(task));
}

HWY_INLINE Coded4 predict4(const Block4Task& task, Line16& prediction) {
  const Pixels16 d;
  const EdgeWords edge = edge_words_of(task);
  const Lines lines = lines_of(edge);
  const Line16 source = source_of(task);
  prediction = hn::Set(d, edge.mean(task.around));
  const auto bits = [&](unsigned mode) {
    return task.lambda * (mode == task.predicted_mode ? kKnownModeBits : kOtherModeBits);
  };
  Coded4 best{.mode = kIntra4Dc, .cost = difference(prediction, source) + bits(kIntra4Dc)};
  const auto consider = [&](unsigned mode, Line16 candidate) {
    const int cost = difference(candidate, source) + bits(mode);
    if (cost > best.cost || (cost == best.cost && mode > best.mode)) return;
    best = {.mode = static_cast<std::uint8_t>(mode), .cost = cost};
    prediction = candidate;
  };
  const auto taps = [&](unsigned mode, Line line) {
    return hn::LoadU(d, kTaps[mode][line].data());
  };
  const auto as_is = [&](unsigned mode) {
    consider(mode, hn::TableLookupBytes(lines.here, taps(mode, kAsIs)));
  };
  const auto of_three = [&](unsigned mode) {
    consider(mode, hn::TableLookupBytes(lines.mean3, taps(mode, kMean3)));
  };
  const auto of_both = [&](unsigned mode) {
    consider(mode, hn::Or(hn::TableLookupBytesOr0(lines.mean2, taps(mode, kMean2)),
                          hn::TableLookupBytesOr0(lines.mean3, taps(mode, kMean3))));
  };
  if (task.around.top) {
    as_is(0);
    of_three(3);
    of_both(7);
  }
  if (task.around.left) {
    as_is(1);
    of_both(8);
  }
  if (task.around.top && task.around.left) {
    of_three(4);
    of_both(5);
    of_both(6);
  }
  return best;
}

// Of two rows each.
HWY_INLINE void transpose(Rows2& upper, Rows2& lower) {
  const Short8 d;
  const Rows2 even = hn::InterleaveLower(d, upper, lower);
  const Rows2 odd = hn::InterleaveUpper(d, upper, lower);
  upper = hn::InterleaveLower(d, even, odd);
  lower = hn::InterleaveUpper(d, even, odd);
}
HWY_INLINE Rows2 swapped(Rows2 rows) {
  return hn::BitCast(Short8(), hn::Shuffle01(hn::BitCast(Sums2(), rows)));
}
// The first row of each.
HWY_INLINE Rows2 firsts(Rows2 a, Rows2 b) {
  return hn::ConcatLowerLower(Short8(), b, a);
}
HWY_INLINE Rows2 halved_second(Rows2 rows) {
  return hn::ConcatUpperLower(Short8(), hn::ShiftRight<1>(rows), rows);
}

// The columns of a block by 8.5.8 the other way round, and by 8.5.12.
HWY_INLINE void forward(Rows2& upper, Rows2& lower) {
  const Rows2 mirrored = swapped(lower);
  const Rows2 sums = hn::Add(upper, mirrored);
  const Rows2 differences = hn::Sub(upper, mirrored);
  const Rows2 sums2 = swapped(sums);
  const Rows2 differences2 = swapped(differences);
  upper = firsts(hn::Add(sums, sums2), hn::Add(hn::Add(differences, differences), differences2));
  lower = firsts(hn::Sub(sums, sums2), hn::Sub(differences, hn::Add(differences2, differences2)));
}
HWY_INLINE void inverse(Rows2& upper, Rows2& lower) {
  const Rows2 outer = hn::Add(upper, halved_second(lower));
  const Rows2 inner = hn::Sub(halved_second(upper), lower);
  const Rows2 outer2 = swapped(outer);
  const Rows2 inner2 = swapped(inner);
  upper = firsts(hn::Add(outer, outer2), hn::Add(inner, inner2));
  lower = firsts(hn::Sub(inner, inner2), hn::Sub(outer, outer2));
}

// Of each position of two rows, for all quantisers.
template <typename Lane>
using ForRows = std::array<std::array<Lane, 8>, 52>;
template <typename Lane, typename Fn>
constexpr ForRows<Lane> for_rows(Fn&& of) {
  ForRows<Lane> all{};
  for (std::size_t quantiser = 0; quantiser < all.size(); ++quantiser) {
    for (std::size_t i = 0; i < 8; ++i)
      all[quantiser][i] = static_cast<Lane>(of(quantiser, kPositionKind[i]));
  }
  return all;
}
alignas(16) constexpr auto kBias = for_rows<std::uint16_t>([](std::size_t q, std::size_t kind) {
  return kQuantiserSteps[0][q].bias[kind];
});
alignas(16) constexpr auto kScale = for_rows<std::uint16_t>([](std::size_t q, std::size_t kind) {
  return kQuantiserSteps[0][q].scale[kind];
});
alignas(16) constexpr auto kBack = for_rows<std::int16_t>([](std::size_t q, std::size_t kind) {
  return kInverseClasses[q % 6][kind] << q / 6;
});

HWY_INLINE std::uint16_t code4(const Block4Task& task, Line16 prediction, std::int16_t* levels) {
  const Short8 d;
  const hn::RebindToUnsigned<Short8> natural;
  const auto quantiser = static_cast<std::size_t>(task.quantiser);
  const auto wide = [&](auto half) { return hn::PromoteTo(d, half); };
  const Line16 source = source_of(task);
  const Rows2 predicted_upper = wide(hn::LowerHalf(prediction));
  const Rows2 predicted_lower = wide(hn::UpperHalf(Pixels8(), prediction));
  Rows2 upper = hn::Sub(wide(hn::LowerHalf(source)), predicted_upper);
  Rows2 lower = hn::Sub(wide(hn::UpperHalf(Pixels8(), source)), predicted_lower);
  forward(upper, lower);
  transpose(upper, lower);
  forward(upper, lower);
  transpose(upper, lower);
  unsigned nonzero = 0;
  const auto quantised = [&](Rows2 rows, std::size_t half) {
    // Unsigned: |coefficient| + bias stays below 2^16.
    const auto biased =
        hn::Add(hn::BitCast(natural, hn::Abs(rows)), hn::Load(natural, kBias[quantiser].data()));
    const Rows2 magnitude =
        hn::Min(hn::BitCast(d, hn::MulHigh(biased, hn::Load(natural, kScale[quantiser].data()))),
                hn::Set(d, kLargestLevel));
    const Rows2 sign = hn::ShiftRight<15>(rows);
    const Rows2 level = hn::Sub(hn::Xor(magnitude, sign), sign);
    hn::StoreU(level, d, levels + 8 * half);
    std::uint8_t some[8] = {};
    hn::StoreMaskBits(d, hn::Ne(level, hn::Zero(d)), some);
    nonzero |= kPlacesOf[half][some[0]];
    return hn::Mul(level, hn::Load(d, kBack[quantiser].data()));
  };
  upper = quantised(upper, 0);
  lower = quantised(lower, 1);
  const auto show = [&](auto two_rows, std::ptrdiff_t y) {
    const Pixels4 one;
    hn::StoreU(hn::LowerHalf(two_rows), one, task.pixels + y * task.stride);
    hn::StoreU(hn::UpperHalf(one, two_rows), one, task.pixels + (y + 1) * task.stride);
  };
  if (nonzero == 0) {
    show(hn::LowerHalf(prediction), 0);
    show(hn::UpperHalf(Pixels8(), prediction), 2);
    return 0;
  }
  // Rows first, as the clause has it: the halves round.
  transpose(upper, lower);
  inverse(upper, lower);
  transpose(upper, lower);
  inverse(upper, lower);
  const auto shown = [&](Rows2 rest, Rows2 predicted) {
    const Rows2 rounded = hn::ShiftRight<6>(hn::Add(rest, hn::Set(d, 32)));
    return hn::DemoteTo(Pixels8(), hn::Add(predicted, rounded));
  };
  show(shown(upper, predicted_upper), 0);
  show(shown(lower, predicted_lower), 2);
  return static_cast<std::uint16_t>(nonzero);
}

#endif

Coded4 code_intra4_impl(const Block4Task& task, Block4& levels) {
  Prediction prediction;
  Coded4 coded = predict4(task, prediction);
  coded.nonzero = code4(task, prediction, levels.data());
  return coded;
}

Coded4 code_intra4_as_impl(std::uint8_t mode, const Block4Task& task, Block4& levels) {
  Prediction prediction;
  Coded4 coded{.mode = mode, .cost = predict4_as(task, mode, prediction)};
  coded.nonzero = code4(task, prediction, levels.data());
  return coded;
}

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {

HWY_EXPORT(code_intra4_impl);
HWY_EXPORT(code_intra4_as_impl);

Coded4 code_intra4(const Block4Task& task, Block4& levels) noexcept {
  return HWY_DYNAMIC_DISPATCH(code_intra4_impl)(task, levels);
}

Coded4 code_intra4_as(std::uint8_t mode, const Block4Task& task, Block4& levels) noexcept {
  return HWY_DYNAMIC_DISPATCH(code_intra4_as_impl)(mode, task, levels);
}

}  // namespace kvm::screen
#endif
