#include "encode/screen/deblock_edge.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/deblock_edge.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

constexpr int kAlong = 16;  // pixels along an edge; of chroma in 4:2:0 8 of Cb, then 8 of Cr
constexpr int kAcross = 8;  // p3 p2 p1 p0 | q0 q1 q2 q3

// tC0 of each pixel along the edge.
struct Along {
  alignas(32) std::array<std::int16_t, kAlong> tc0;
};
template <bool kChroma>
HWY_INLINE Along along(const EdgeStrength& strength) {
  Along out;
  for (std::size_t i = 0; i < kAlong; ++i) out.tc0[i] = strength.tc0[kChroma ? i % 8 / 2 : i / 4];
  return out;
}

#if HWY_TARGET == HWY_SCALAR

// `q0`: the first pixel behind the edge, `step`: from one side to the other.
template <bool kChroma>
HWY_INLINE void filter_pixel(std::uint8_t* q0, std::ptrdiff_t step, const EdgeStrength& strength,
                             int tc0) {
  const auto p = [&](int i) { return static_cast<int>(q0[-(i + 1) * step]); };
  const auto q = [&](int i) { return static_cast<int>(q0[i * step]); };
  const auto set_p = [&](int i, int value) {
    q0[-(i + 1) * step] = static_cast<std::uint8_t>(value);
  };
  const auto set_q = [&](int i, int value) { q0[i * step] = static_cast<std::uint8_t>(value); };
  const int beta = strength.beta;
  if ((!strength.strongest && tc0 < 0) || std::abs(p(0) - q(0)) >= strength.alpha ||
      std::abs(p(1) - p(0)) >= beta || std::abs(q(1) - q(0)) >= beta) {
    return;
  }
  const int p0 = p(0);
  const int p1 = p(1);
  const int q0v = q(0);
  const int q1 = q(1);
  bool p_flat = false;
  bool q_flat = false;
  if constexpr (!kChroma) {
    p_flat = std::abs(p(2) - p0) < beta;
    q_flat = std::abs(q(2) - q0v) < beta;
  }
  if (strength.strongest) {
    const bool near = std::abs(p0 - q0v) < (strength.alpha >> 2) + 2;
    set_p(0, (2 * p1 + p0 + q1 + 2) >> 2);
    set_q(0, (2 * q1 + q0v + p1 + 2) >> 2);
    if (p_flat && near) {
      const int p2 = p(2);
      set_p(0, (p2 + 2 * p1 + 2 * p0 + 2 * q0v + q1 + 4) >> 3);
      set_p(1, (p2 + p1 + p0 + q0v + 2) >> 2);
      set_p(2, (2 * p(3) + 3 * p2 + p1 + p0 + q0v + 4) >> 3);
    }
    if (q_flat && near) {
      const int q2 = q(2);
      set_q(0, (p1 + 2 * p0 + 2 * q0v + 2 * q1 + q2 + 4) >> 3);
      set_q(1, (p0 + q0v + q1 + q2 + 2) >> 2);
      set_q(2, (2 * q(3) + 3 * q2 + q1 + q0v + p0 + 4) >> 3);
    }
    return;
  }
  const int tc = kChroma ? tc0 + 1 : tc0 + (p_flat ? 1 : 0) + (q_flat ? 1 : 0);
  const int delta = std::clamp(((q0v - p0) * 4 + p1 - q1 + 4) >> 3, -tc, tc);
  const int mean = (p0 + q0v + 1) >> 1;
  if (p_flat) set_p(1, p1 + std::clamp((p(2) + mean - 2 * p1) >> 1, -tc0, tc0));
  if (q_flat) set_q(1, q1 + std::clamp((q(2) + mean - 2 * q1) >> 1, -tc0, tc0));
  set_p(0, std::clamp(p0 + delta, 0, 255));
  set_q(0, std::clamp(q0v - delta, 0, 255));
}

void luma_across_impl(std::uint8_t* pixels, std::ptrdiff_t stride, const EdgeStrength& strength) {
  const Along each = along<false>(strength);
  for (int i = 0; i < kAlong; ++i)
    filter_pixel<false>(pixels + i * stride, 1, strength, each.tc0[static_cast<std::size_t>(i)]);
}
void luma_down_impl(std::uint8_t* pixels, std::ptrdiff_t stride, const EdgeStrength& strength) {
  const Along each = along<false>(strength);
  for (int i = 0; i < kAlong; ++i)
    filter_pixel<false>(pixels + i, stride, strength, each.tc0[static_cast<std::size_t>(i)]);
}
void chroma_across_impl(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                        const EdgeStrength& strength) {
  const Along each = along<true>(strength);
  for (int i = 0; i < kAlong; ++i) {
    const auto at = static_cast<std::size_t>(i);
    filter_pixel<true>(pixels[at / 8] + i % 8 * stride, 1, strength, each.tc0[at]);
  }
}
void chroma_down_impl(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                      const EdgeStrength& strength) {
  const Along each = along<true>(strength);
  for (int i = 0; i < kAlong; ++i) {
    const auto at = static_cast<std::size_t>(i);
    filter_pixel<true>(pixels[at / 8] + i % 8, stride, strength, each.tc0[at]);
  }
}

#else

namespace hn = hwy::HWY_NAMESPACE;
using Words = hn::CappedTag<std::int16_t, kAlong>;
using Bytes = hn::Rebind<std::uint8_t, Words>;

template <class V>
HWY_INLINE V clamped(V value, V limit) {
  return hn::Max(hn::Min(value, limit), hn::Neg(limit));
}

// Eight rows of sixteen pixels, p3 first: one edge between the fourth and the fifth. Whether any
// was filtered.
template <bool kChroma, bool kStrongest>
HWY_INLINE bool filter(std::uint8_t* p3, std::ptrdiff_t stride, const EdgeStrength& strength) {
  const Words words;
  const Bytes bytes;
  const Along each = along<kChroma>(strength);
  bool any = false;
  const auto alpha = hn::Set(words, static_cast<std::int16_t>(strength.alpha));
  const auto beta = hn::Set(words, static_cast<std::int16_t>(strength.beta));
  for (std::size_t i = 0; i < kAlong; i += hn::Lanes(words)) {
    const auto row = [&](int n) { return p3 + n * stride + i; };
    const auto load = [&](int n) { return hn::PromoteTo(words, hn::LoadU(bytes, row(n))); };
    const auto store = [&](int n, auto value) {
      hn::StoreU(hn::DemoteTo(bytes, value), bytes, row(n));
    };
    const auto apart = [&](auto a, auto b) { return hn::Abs(hn::Sub(a, b)); };
    const auto p1 = load(2);
    const auto p0 = load(3);
    const auto q0 = load(4);
    const auto q1 = load(5);
    auto filtered = hn::And(hn::Lt(apart(p0, q0), alpha),
                            hn::And(hn::Lt(apart(p1, p0), beta), hn::Lt(apart(q1, q0), beta)));
    const auto tc0 = hn::Load(words, each.tc0.data() + i);
    if constexpr (!kStrongest)
      filtered = hn::And(filtered, hn::Gt(tc0, hn::Set(words, std::int16_t{-1})));
    if (hn::AllFalse(words, filtered)) continue;
    any = true;

    if constexpr (kStrongest) {
      const auto two = hn::Set(words, std::int16_t{2});
      // 8.7.2.4; what is flat and near changes more, below.
      const auto far = [&](auto one, auto same, auto other) {
        return hn::ShiftRight<2>(hn::Add(hn::Add(hn::Add(one, one), same), hn::Add(other, two)));
      };
      auto new_p0 = far(p1, p0, q1);
      auto new_q0 = far(q1, q0, p1);
      if constexpr (!kChroma) {
        const auto four = hn::Set(words, std::int16_t{4});
        const auto near = hn::And(
            filtered, hn::Lt(apart(p0, q0),
                             hn::Set(words, static_cast<std::int16_t>((strength.alpha >> 2) + 2))));
        const auto both = hn::Add(p0, q0);
        // One side: what lies on it from the edge on, and the first behind the edge.
        const auto flat_side = [&](auto a0, auto a1, int at2, int at3, auto b1, auto& new_a0,
                                   int at1) {
          const auto a2 = load(at2);
          const auto a3 = load(at3);
          const auto flat = hn::And(near, hn::Lt(apart(a2, a0), beta));
          const auto sum = hn::Add(both, a1);  // a1 + a0 + b0
          const auto with_a2 = hn::Add(sum, a2);
          new_a0 = hn::IfThenElse(
              flat, hn::ShiftRight<3>(hn::Add(hn::Add(hn::Add(sum, sum), hn::Add(a2, b1)), four)),
              new_a0);
          const auto new_a1 = hn::ShiftRight<2>(hn::Add(with_a2, two));
          const auto new_a2 = hn::ShiftRight<3>(
              hn::Add(hn::Add(with_a2, four), hn::Add(hn::Add(a2, a2), hn::Add(a3, a3))));
          store(at1, hn::IfThenElse(flat, new_a1, a1));
          store(at2, hn::IfThenElse(flat, new_a2, a2));
        };
        flat_side(p0, p1, 1, 0, q1, new_p0, 2);
        flat_side(q0, q1, 6, 7, p1, new_q0, 5);
      }
      store(3, hn::IfThenElse(filtered, new_p0, p0));
      store(4, hn::IfThenElse(filtered, new_q0, q0));
    } else {
      auto tc = tc0;
      if constexpr (kChroma) {
        tc = hn::Add(tc, hn::Set(words, std::int16_t{1}));
      } else {
        const auto mean =
            hn::ShiftRight<1>(hn::Add(hn::Add(p0, q0), hn::Set(words, std::int16_t{1})));
        const auto flat_side = [&](auto a0, auto a1, int at2, int at1) {
          const auto a2 = load(at2);
          const auto flat = hn::And(filtered, hn::Lt(apart(a2, a0), beta));
          // -1 where it holds.
          tc = hn::Sub(tc, hn::VecFromMask(words, flat));
          const auto more = hn::ShiftRight<1>(hn::Sub(hn::Add(a2, mean), hn::Add(a1, a1)));
          store(at1, hn::Add(a1, hn::IfThenElseZero(flat, clamped(more, tc0))));
        };
        flat_side(p0, p1, 1, 2);
        flat_side(q0, q1, 6, 5);
      }
      const auto steep = hn::Add(hn::ShiftLeft<2>(hn::Sub(q0, p0)), hn::Sub(p1, q1));
      const auto delta = hn::IfThenElseZero(
          filtered,
          clamped(hn::ShiftRight<3>(hn::Add(steep, hn::Set(words, std::int16_t{4}))), tc));
      store(3, hn::Add(p0, delta));
      store(4, hn::Sub(q0, delta));
    }
  }
  return any;
}

template <bool kChroma>
HWY_INLINE bool filter(std::uint8_t* p3, std::ptrdiff_t stride, const EdgeStrength& strength) {
  return strength.strongest ? filter<kChroma, true>(p3, stride, strength)
                            : filter<kChroma, false>(p3, stride, strength);
}

// 128 pixels in eight vectors. A pixel's place has seven bits, and interleaving the first half of
// the vectors with the second rotates them by one: four times turn 16 rows of 8 (rrrrccc) into 8
// rows of 16 (cccrrrr), three times turn them back.
using Sixteen = hn::FixedTag<std::uint8_t, 16>;
template <int kTimes>
HWY_INLINE void rotate(std::uint8_t* block) {
  const Sixteen d;
  auto v0 = hn::Load(d, block);
  auto v1 = hn::Load(d, block + 16);
  auto v2 = hn::Load(d, block + 32);
  auto v3 = hn::Load(d, block + 48);
  auto v4 = hn::Load(d, block + 64);
  auto v5 = hn::Load(d, block + 80);
  auto v6 = hn::Load(d, block + 96);
  auto v7 = hn::Load(d, block + 112);
  for (int i = 0; i < kTimes; ++i) {
    const auto a = v0;
    const auto b = v1;
    const auto c = v2;
    const auto e = v3;
    v0 = hn::InterleaveLower(d, a, v4);
    v1 = hn::InterleaveUpper(d, a, v4);
    v2 = hn::InterleaveLower(d, b, v5);
    v3 = hn::InterleaveUpper(d, b, v5);
    v4 = hn::InterleaveLower(d, c, v6);
    v5 = hn::InterleaveUpper(d, c, v6);
    v6 = hn::InterleaveLower(d, e, v7);
    v7 = hn::InterleaveUpper(d, e, v7);
  }
  hn::Store(v0, d, block);
  hn::Store(v1, d, block + 16);
  hn::Store(v2, d, block + 32);
  hn::Store(v3, d, block + 48);
  hn::Store(v4, d, block + 64);
  hn::Store(v5, d, block + 80);
  hn::Store(v6, d, block + 96);
  hn::Store(v7, d, block + 112);
}

// `row_at(i)`: p3 of pixel i along an upright edge.
template <bool kChroma, class RowAt>
HWY_INLINE void across(const EdgeStrength& strength, RowAt&& row_at) {
  alignas(64) std::array<std::uint8_t, kAlong * kAcross> block;
  for (int i = 0; i < kAlong; ++i) std::memcpy(block.data() + i * kAcross, row_at(i), kAcross);
  rotate<4>(block.data());
  if (!filter<kChroma>(block.data(), kAlong, strength)) return;
  rotate<3>(block.data());
  for (int i = 0; i < kAlong; ++i) std::memcpy(row_at(i), block.data() + i * kAcross, kAcross);
}

void luma_across_impl(std::uint8_t* pixels, std::ptrdiff_t stride, const EdgeStrength& strength) {
  across<false>(strength, [&](int i) { return pixels + i * stride - kAcross / 2; });
}
void luma_down_impl(std::uint8_t* pixels, std::ptrdiff_t stride, const EdgeStrength& strength) {
  filter<false>(pixels - kAcross / 2 * stride, stride, strength);
}
void chroma_across_impl(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                        const EdgeStrength& strength) {
  across<true>(strength, [&](int i) {
    return pixels[static_cast<std::size_t>(i / 8)] + i % 8 * stride - kAcross / 2;
  });
}
void chroma_down_impl(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                      const EdgeStrength& strength) {
  alignas(64) std::array<std::uint8_t, kAlong * kAcross> block;
  const auto of = [&](int row, std::size_t plane) {
    return block.data() + row * kAlong + plane * 8;
  };
  for (std::size_t plane = 0; plane < 2; ++plane) {
    for (int row = 2; row < 6; ++row)
      std::memcpy(of(row, plane), pixels[plane] + (row - 4) * stride, 8);
  }
  if (!filter<true>(block.data(), kAlong, strength)) return;
  for (std::size_t plane = 0; plane < 2; ++plane) {
    for (int row = 3; row < 5; ++row)
      std::memcpy(pixels[plane] + (row - 4) * stride, of(row, plane), 8);
  }
}

#endif

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {
namespace {

// Table 8-16 from 16 on.
constexpr int kFirstFiltered = 16;
constexpr std::array<std::uint8_t, 36> kAlpha{
    4,  4,  5,  6,  7,  8,  9,  10, 12,  13,  15,  17,  20,  22,  25,  28,  32,  36,
    40, 45, 50, 56, 63, 71, 80, 90, 101, 113, 127, 144, 162, 182, 203, 226, 255, 255};
constexpr std::array<std::uint8_t, 36> kBeta{2,  2,  2,  3,  3,  3,  3,  4,  4,  4,  6,  6,
                                             7,  7,  8,  8,  9,  9,  10, 10, 11, 11, 12, 12,
                                             13, 13, 14, 14, 15, 15, 16, 16, 17, 17, 18, 18};
// Table 8-17 from 16 on: for bS 1, 2 and 3.
constexpr std::array<std::array<std::uint8_t, 3>, 36> kTc0{
    {{0, 0, 0},   {0, 0, 1},   {0, 0, 1},   {0, 0, 1},    {0, 0, 1},    {0, 1, 1},
     {0, 1, 1},   {1, 1, 1},   {1, 1, 1},   {1, 1, 1},    {1, 1, 1},    {1, 1, 2},
     {1, 1, 2},   {1, 1, 2},   {1, 1, 2},   {1, 2, 3},    {1, 2, 3},    {2, 2, 3},
     {2, 2, 4},   {2, 3, 4},   {2, 3, 4},   {3, 3, 5},    {3, 4, 6},    {3, 4, 6},
     {4, 5, 7},   {4, 5, 8},   {4, 6, 9},   {5, 7, 10},   {6, 8, 11},   {6, 8, 13},
     {7, 10, 14}, {8, 11, 16}, {9, 12, 18}, {10, 13, 20}, {11, 15, 23}, {13, 17, 25}}};

HWY_EXPORT(luma_across_impl);
HWY_EXPORT(luma_down_impl);
HWY_EXPORT(chroma_across_impl);
HWY_EXPORT(chroma_down_impl);

}  // namespace

EdgeStrength edge_strength(int quantiser, const BoundaryStrengths& strengths) noexcept {
  EdgeStrength out;
  const auto index = static_cast<std::size_t>(quantiser - kFirstFiltered);
  out.alpha = kAlpha[index];
  out.beta = kBeta[index];
  out.strongest = strengths[0] == 4;
  if (out.strongest) return out;
  for (std::size_t i = 0; i < strengths.size(); ++i) {
    out.tc0[i] = strengths[i] == 0 ? std::int16_t{-1}
                                   : static_cast<std::int16_t>(kTc0[index][strengths[i] - 1U]);
  }
  return out;
}

void deblock_luma_across(std::uint8_t* pixels, std::ptrdiff_t stride,
                         const EdgeStrength& strength) noexcept {
  HWY_DYNAMIC_DISPATCH(luma_across_impl)(pixels, stride, strength);
}
void deblock_luma_down(std::uint8_t* pixels, std::ptrdiff_t stride,
                       const EdgeStrength& strength) noexcept {
  HWY_DYNAMIC_DISPATCH(luma_down_impl)(pixels, stride, strength);
}
void deblock_chroma_across(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                           const EdgeStrength& strength) noexcept {
  HWY_DYNAMIC_DISPATCH(chroma_across_impl)(pixels, stride, strength);
}
void deblock_chroma_down(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                         const EdgeStrength& strength) noexcept {
  HWY_DYNAMIC_DISPATCH(chroma_down_impl)(pixels, stride, strength);
}

}  // namespace kvm::screen
#endif
