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

#include "encode/screen/intra4_edge.hpp"
#include "encode/screen/residual.hpp"
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

#else

namespace hn = hwy::HWY_NAMESPACE;
using Pixels16 = hn::FixedTag<std::uint8_t, 16>;
using Pixels4 = hn::FixedTag<std::uint8_t, 4>;
using Sums2 = hn::FixedTag<std::uint64_t, 2>;
using Lanes4 = hn::FixedTag<std::int32_t, 4>;
using Short4 = hn::FixedTag<std::int16_t, 4>;
using Line16 = hn::Vec<Pixels16>;
using Row4 = hn::Vec<Lanes4>;

HWY_INLINE int difference(Line16 a, Line16 b) {
  const Line16 apart = hn::Or(hn::SaturatedSub(a, b), hn::SaturatedSub(b, a));
  alignas(16) std::uint64_t sums[2];
  hn::Store(hn::SumsOf8(apart), Sums2(), sums);
  return static_cast<int>(sums[0] + sums[1]);
}

// The three lines that predictions are made of.
struct Lines {
  Line16 here;
  Line16 mean2;
  Line16 mean3;
};
HWY_INLINE Lines lines_of(const EdgeLine& edge) {
  const Pixels16 d;
  const Line16 before = hn::LoadU(d, edge.bytes.data());
  const Line16 here = hn::LoadU(d, edge.bytes.data() + 1);
  const Line16 after = hn::LoadU(d, edge.bytes.data() + 2);
  // (a + 2 b + c + 2) >> 2 by two means, the inner one rounded down.
  const Line16 outer =
      hn::Sub(hn::AverageRound(before, after), hn::And(hn::Xor(before, after), hn::Set(d, 1)));
  return {here, hn::AverageRound(here, after), hn::AverageRound(here, outer)};
}

HWY_INLINE Line16 source_of(const Block4Task& task) {
  alignas(16) std::uint8_t wanted[16];
  for (int y = 0; y < 4; ++y) std::memcpy(wanted + 4 * y, task.source + y * task.source_stride, 4);
  return hn::Load(Pixels16(), wanted);
}

HWY_INLINE int predict4_as(const Block4Task& task, unsigned mode, std::uint8_t* out) {
  const Pixels16 d;
  const EdgeLine edge = edge_of(task);
  Line16 prediction = hn::Set(d, mean_of_edge(edge, task.around));
  if (mode != kIntra4Dc) {
    const Lines lines = lines_of(edge);
    const auto part = [&](Line16 from, Line line) {
      return hn::TableLookupBytesOr0(from, hn::LoadU(d, kTaps[mode][line].data()));
    };
    prediction =
        hn::Or3(part(lines.here, kAsIs), part(lines.mean2, kMean2), part(lines.mean3, kMean3));
  }
  hn::StoreU(prediction, d, out);
  return difference(prediction, source_of(task));
}

HWY_INLINE Coded4 predict4(const Block4Task& task, std::uint8_t* out) {
  const Pixels16 d;
  const EdgeLine edge = edge_of(task);
  const Lines lines = lines_of(edge);
  const Line16 source = source_of(task);
  Line16 prediction = hn::Set(d, mean_of_edge(edge, task.around));
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
  hn::StoreU(prediction, d, out);
  return best;
}

HWY_INLINE void transpose(Row4 rows[4]) {
  const Lanes4 d;
  const Row4 a = hn::InterleaveLower(d, rows[0], rows[2]);
  const Row4 b = hn::InterleaveUpper(d, rows[0], rows[2]);
  const Row4 c = hn::InterleaveLower(d, rows[1], rows[3]);
  const Row4 e = hn::InterleaveUpper(d, rows[1], rows[3]);
  rows[0] = hn::InterleaveLower(d, a, c);
  rows[1] = hn::InterleaveUpper(d, a, c);
  rows[2] = hn::InterleaveLower(d, b, e);
  rows[3] = hn::InterleaveUpper(d, b, e);
}

HWY_INLINE std::uint16_t code4(const Block4Task& task, const std::uint8_t* prediction,
                               std::int16_t* levels) {
  const Lanes4 d;
  Row4 rows[4];
  Row4 predicted[4];
  for (std::size_t y = 0; y < 4; ++y) {
    const auto line = static_cast<std::ptrdiff_t>(y);
    predicted[y] = hn::PromoteTo(d, hn::LoadU(Pixels4(), prediction + 4 * y));
    rows[y] =
        hn::Sub(hn::PromoteTo(d, hn::LoadU(Pixels4(), task.source + line * task.source_stride)),
                predicted[y]);
  }
  const auto forward = [&] {
    const Row4 a = hn::Add(rows[0], rows[3]);
    const Row4 b = hn::Add(rows[1], rows[2]);
    const Row4 c = hn::Sub(rows[1], rows[2]);
    const Row4 e = hn::Sub(rows[0], rows[3]);
    rows[0] = hn::Add(a, b);
    rows[1] = hn::Add(hn::Add(e, e), c);
    rows[2] = hn::Sub(a, b);
    rows[3] = hn::Sub(e, hn::Add(c, c));
  };
  forward();
  transpose(rows);
  forward();
  transpose(rows);
  const QuantiserStep& divide = quantiser_step(task.quantiser, Rounding::kIntra);
  const Step step = step_of(task.quantiser);
  const auto of_kinds = [&](auto&& of, std::size_t row) {  // lanes of even columns, of odd ones
    const std::size_t even = kPositionKind[row * 4];
    const std::size_t odd = kPositionKind[row * 4 + 1];
    return hn::OddEven(hn::Set(d, static_cast<std::int32_t>(of(odd))),
                       hn::Set(d, static_cast<std::int32_t>(of(even))));
  };
  unsigned raster = 0;
  for (std::size_t y = 0; y < 4; ++y) {
    const Row4 bias = of_kinds([&](std::size_t kind) { return divide.bias[kind]; }, y);
    const Row4 scale = of_kinds([&](std::size_t kind) { return divide.scale[kind]; }, y);
    const Row4 back = of_kinds(
        [&](std::size_t kind) { return kInverseClasses[step.rest][kind] << step.octave; }, y);
    const Row4 magnitude =
        hn::Min(hn::ShiftRight<16>(hn::Mul(hn::Add(hn::Abs(rows[y]), bias), scale)),
                hn::Set(d, kLargestLevel));
    const Row4 sign = hn::ShiftRight<31>(rows[y]);
    const Row4 level = hn::Sub(hn::Xor(magnitude, sign), sign);
    hn::StoreU(hn::DemoteTo(Short4(), level), Short4(), levels + 4 * y);
    std::uint8_t some[8] = {};
    hn::StoreMaskBits(d, hn::Ne(level, hn::Zero(d)), some);
    raster |= (some[0] & 15U) << (4 * y);
    rows[y] = hn::Mul(level, back);
  }
  if (raster == 0) {
    for (int y = 0; y < 4; ++y) std::memcpy(task.pixels + y * task.stride, prediction + 4 * y, 4);
    return 0;
  }
  // Rows first, as the clause has it: the halves round.
  transpose(rows);
  const auto inverse = [&] {
    const Row4 e = hn::Add(rows[0], rows[2]);
    const Row4 f = hn::Sub(rows[0], rows[2]);
    const Row4 g = hn::Sub(hn::ShiftRight<1>(rows[1]), rows[3]);
    const Row4 h = hn::Add(rows[1], hn::ShiftRight<1>(rows[3]));
    rows[0] = hn::Add(e, h);
    rows[1] = hn::Add(f, g);
    rows[2] = hn::Sub(f, g);
    rows[3] = hn::Sub(e, h);
  };
  inverse();
  transpose(rows);
  inverse();
  for (std::size_t y = 0; y < 4; ++y) {
    const Row4 rest = hn::ShiftRight<6>(hn::Add(rows[y], hn::Set(d, 32)));
    const auto shown = hn::DemoteTo(Pixels4(), hn::Add(predicted[y], rest));
    hn::StoreU(shown, Pixels4(), task.pixels + static_cast<std::ptrdiff_t>(y) * task.stride);
  }
  unsigned nonzero = 0;
  for (; raster != 0; raster &= raster - 1)
    nonzero |= 1U << kPlaceOf[static_cast<std::size_t>(std::countr_zero(raster))];
  return static_cast<std::uint16_t>(nonzero);
}

#endif

Coded4 code_intra4_impl(const Block4Task& task, Block4& levels) {
  std::uint8_t prediction[16];
  Coded4 coded = predict4(task, prediction);
  coded.nonzero = code4(task, prediction, levels.data());
  return coded;
}

Coded4 code_intra4_as_impl(std::uint8_t mode, const Block4Task& task, Block4& levels) {
  std::uint8_t prediction[16];
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
