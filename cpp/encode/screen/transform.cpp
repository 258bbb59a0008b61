#include "encode/screen/transform.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/transform.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <utility>

#include "encode/screen/scales.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Calls fn(0) … fn(kCount - 1) with constants: what is indexed by them stays in registers, however
// little a compiler unrolls.
template <std::size_t... kIndex, typename Fn>
HWY_INLINE void each_of(std::index_sequence<kIndex...> /*indices*/, Fn&& fn) {
  (fn(std::integral_constant<std::size_t, kIndex>()), ...);
}
template <std::size_t kCount, typename Fn>
HWY_INLINE void each(Fn&& fn) {
  each_of(std::make_index_sequence<kCount>(), fn);
}

// A vector holds the same position of blocks beside each other, as many as it has lanes.
#if HWY_TARGET == HWY_SCALAR
constexpr std::size_t kMostTogether = 1;
#elif HWY_MAX_BYTES >= 32
constexpr std::size_t kMostTogether = 16;
#else
constexpr std::size_t kMostTogether = 8;
#endif
template <std::size_t kCount>
using Lanes = hn::FixedTag<std::int16_t, (kCount < kMostTogether ? kCount : kMostTogether)>;
template <class D>
using Block = std::array<hn::Vec<D>, 16>;

// Where the pixels of such blocks begin: four parts of 4 rows, or those of the one block.
template <typename Byte>
struct Pixels {
  std::array<Byte*, 4> parts;
  std::ptrdiff_t stride = 0;
};

#if HWY_TARGET == HWY_SCALAR

template <typename Byte>
HWY_INLINE Pixels<Byte> luma_pixels(Byte* pixels, std::ptrdiff_t stride, std::size_t first) {
  const auto x = static_cast<std::ptrdiff_t>(first % 4 * 4);
  const auto y = static_cast<std::ptrdiff_t>(first / 4 * 4);
  return {{pixels + y * stride + x}, stride};
}
template <typename Byte>
HWY_INLINE Pixels<Byte> chroma_pixels(const std::array<Byte*, 2>& planes, std::ptrdiff_t stride,
                                      std::size_t first) {
  const auto x = static_cast<std::ptrdiff_t>(first % 2 * 4);
  const auto y = static_cast<std::ptrdiff_t>(first % 4 / 2 * 4);
  return {{planes[first / 4] + y * stride + x}, stride};
}

template <class D>
HWY_INLINE Block<D> differences(D d, const Pixels<const std::uint8_t>& source,
                                const Pixels<const std::uint8_t>& prediction) {
  Block<D> block;
  each<16>([&](auto i) {
    const auto x = static_cast<std::ptrdiff_t>(i % 4);
    const auto y = static_cast<std::ptrdiff_t>(i / 4);
    block[i] =
        hn::Set(d, static_cast<std::int16_t>(source.parts[0][y * source.stride + x] -
                                             prediction.parts[0][y * prediction.stride + x]));
  });
  return block;
}
template <class D>
HWY_INLINE void add(D /*d*/, const Block<D>& block, const Pixels<std::uint8_t>& pixels) {
  each<16>([&](auto i) {
    std::uint8_t& pixel = pixels.parts[0][static_cast<std::ptrdiff_t>(i / 4) * pixels.stride +
                                          static_cast<std::ptrdiff_t>(i % 4)];
    const int value = pixel + hn::GetLane(block[i]);
    pixel = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  });
}
template <class D>
HWY_INLINE hn::Vec<D> in_order(D /*d*/, hn::Vec<D> blocks) {
  return blocks;
}
template <class D>
HWY_INLINE hn::Vec<D> as_taken(D /*d*/, hn::Vec<D> blocks) {
  return blocks;
}

#else

template <typename Byte>
HWY_INLINE Pixels<Byte> luma_pixels(Byte* pixels, std::ptrdiff_t stride, std::size_t first) {
  Byte* upper = pixels + static_cast<std::ptrdiff_t>(first) * stride;
  Byte* lower = upper + 4 * stride;
  if constexpr (kMostTogether == 16) {
    return {{upper, lower, lower + 4 * stride, lower + 8 * stride}, stride};
  } else {
    return {{upper, upper + 8, lower, lower + 8}, stride};
  }
}
template <typename Byte>
HWY_INLINE Pixels<Byte> chroma_pixels(const std::array<Byte*, 2>& planes, std::ptrdiff_t stride,
                                      std::size_t /*first*/) {
  return {{planes[0], planes[0] + 4 * stride, planes[1], planes[1] + 4 * stride}, stride};
}

template <class D>
HWY_INLINE hn::Vec<D> row_at(D d, const std::uint8_t* pixels) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<std::uint8_t, D>(), pixels));
}

// A line of each part ↔ for each of its four columns the blocks. Sixteen blocks come out in the
// order of their halves: the left two of each part, then the right two.
template <class D>
HWY_INLINE void gather_columns(D d, const std::array<hn::Vec<D>, 4>& parts,
                               hn::Vec<D>* HWY_RESTRICT columns) {
  const hn::Repartition<std::uint64_t, D> halves;
  const auto a = hn::InterleaveLower(d, parts[0], parts[1]);
  const auto b = hn::InterleaveUpper(d, parts[0], parts[1]);
  const auto c = hn::InterleaveLower(d, parts[2], parts[3]);
  const auto e = hn::InterleaveUpper(d, parts[2], parts[3]);
  const auto low01 = hn::BitCast(halves, hn::InterleaveLower(d, a, b));
  const auto low23 = hn::BitCast(halves, hn::InterleaveUpper(d, a, b));
  const auto high01 = hn::BitCast(halves, hn::InterleaveLower(d, c, e));
  const auto high23 = hn::BitCast(halves, hn::InterleaveUpper(d, c, e));
  columns[0] = hn::BitCast(d, hn::InterleaveLower(halves, low01, high01));
  columns[1] = hn::BitCast(d, hn::InterleaveUpper(halves, low01, high01));
  columns[2] = hn::BitCast(d, hn::InterleaveLower(halves, low23, high23));
  columns[3] = hn::BitCast(d, hn::InterleaveUpper(halves, low23, high23));
}
template <class D>
HWY_INLINE std::array<hn::Vec<D>, 4> scatter_columns(D d, const hn::Vec<D>* columns) {
  const hn::Repartition<std::int32_t, D> pairs;
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, columns[0], columns[1]));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, columns[2], columns[3]));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, columns[0], columns[1]));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, columns[2], columns[3]));
  return {hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)),
          hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)),
          hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)),
          hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23))};
}

// Between that order and the raster's.
template <class D>
HWY_INLINE hn::Vec<D> reordered(D d, hn::Vec<D> blocks, const std::int32_t* pairs_from) {
  const hn::Repartition<std::int32_t, D> pairs;
  return hn::BitCast(
      d, hn::TableLookupLanes(hn::BitCast(pairs, blocks), hn::SetTableIndices(pairs, pairs_from)));
}
template <class D>
HWY_INLINE hn::Vec<D> in_order(D d, hn::Vec<D> blocks) {
  alignas(32) static constexpr std::array<std::int32_t, 8> kFrom{0, 4, 1, 5, 2, 6, 3, 7};
  if constexpr (hn::MaxLanes(D()) < 16) {
    return blocks;
  } else {
    return reordered(d, blocks, kFrom.data());
  }
}
template <class D>
HWY_INLINE hn::Vec<D> as_taken(D d, hn::Vec<D> blocks) {
  alignas(32) static constexpr std::array<std::int32_t, 8> kFrom{0, 2, 4, 6, 1, 3, 5, 7};
  if constexpr (hn::MaxLanes(D()) < 16) {
    return blocks;
  } else {
    return reordered(d, blocks, kFrom.data());
  }
}

template <class D>
HWY_INLINE void take_line(D d, const Pixels<const std::uint8_t>& source,
                          const Pixels<const std::uint8_t>& prediction, std::ptrdiff_t y,
                          hn::Vec<D>* HWY_RESTRICT columns) {
  std::array<hn::Vec<D>, 4> parts;
  each<4>([&](auto part) {
    parts[part] = hn::Sub(row_at(d, source.parts[part] + y * source.stride),
                          row_at(d, prediction.parts[part] + y * prediction.stride));
  });
  gather_columns(d, parts, columns);
}
template <class D>
HWY_INLINE Block<D> differences(D d, const Pixels<const std::uint8_t>& source,
                                const Pixels<const std::uint8_t>& prediction) {
  Block<D> block;
  take_line(d, source, prediction, 0, &block[0]);
  take_line(d, source, prediction, 1, &block[4]);
  take_line(d, source, prediction, 2, &block[8]);
  take_line(d, source, prediction, 3, &block[12]);
  return block;
}
template <class D>
HWY_INLINE void add_line(D d, const hn::Vec<D>* columns, const Pixels<std::uint8_t>& pixels,
                         std::ptrdiff_t y) {
  const hn::Rebind<std::uint8_t, D> bytes;
  const std::array<hn::Vec<D>, 4> parts = scatter_columns(d, columns);
  each<4>([&](auto part) {
    std::uint8_t* row = pixels.parts[part] + y * pixels.stride;
    hn::StoreU(hn::DemoteTo(bytes, hn::Add(parts[part], row_at(d, row))), bytes, row);
  });
}
template <class D>
HWY_INLINE void add(D d, const Block<D>& block, const Pixels<std::uint8_t>& pixels) {
  add_line(d, &block[0], pixels, 0);
  add_line(d, &block[4], pixels, 1);
  add_line(d, &block[8], pixels, 2);
  add_line(d, &block[12], pixels, 3);
}

#endif

// The rows of blocks, then their columns.
template <class V, typename Pass>
HWY_INLINE void both_ways(std::array<V, 16>& block, Pass&& pass) {
  each<4>(
      [&](auto y) { pass(block[y * 4], block[y * 4 + 1], block[y * 4 + 2], block[y * 4 + 3]); });
  each<4>([&](auto x) { pass(block[x], block[x + 4], block[x + 8], block[x + 12]); });
}

// 8.5.8 the other way round.
template <class V>
HWY_INLINE void transform(std::array<V, 16>& block) {
  both_ways(block, [](V& v0, V& v1, V& v2, V& v3) {
    const V a = hn::Add(v0, v3);
    const V b = hn::Add(v1, v2);
    const V c = hn::Sub(v1, v2);
    const V e = hn::Sub(v0, v3);
    v0 = hn::Add(a, b);
    v1 = hn::Add(hn::Add(e, e), c);
    v2 = hn::Sub(a, b);
    v3 = hn::Sub(e, hn::Add(c, c));
  });
}

// Unsigned 16-bit arithmetic: |coefficient| + bias stays below 2^16, as the transform gains at most
// 36.
template <class D, std::size_t kCount>
HWY_INLINE void quantise(D d, const Block<D>& block, const QuantiserStep& step, std::size_t first,
                         Blocks<kCount>& levels, Occupied<kCount>& used) {
  const hn::RebindToUnsigned<D> natural;
  const auto none = hn::Zero(d);
  const auto one = hn::Set(d, 1);
  const auto largest = hn::Set(d, kLargestLevel);
  // Of the three kinds of position; the levels that are stored could be these, for all a compiler
  // knows.
  using Unsigned = hn::Vec<decltype(natural)>;
  const auto of_kinds = [&](const std::array<std::uint16_t, 3>& kinds) {
    return std::array<Unsigned, 3>{hn::Set(natural, kinds[0]), hn::Set(natural, kinds[1]),
                                   hn::Set(natural, kinds[2])};
  };
  const std::array<Unsigned, 3> bias = of_kinds(step.bias);
  const std::array<Unsigned, 3> scale = of_kinds(step.scale);
  auto nonzero = none;
  auto large = none;
  each<16>([&](auto later) {
    constexpr std::size_t i = kZigzag[15 - later];
    constexpr std::size_t kind = kPositionKind[i];
    const auto value = block[i];
    const auto biased = hn::Add(hn::BitCast(natural, hn::Abs(value)), bias[kind]);
    const auto magnitude = hn::Min(hn::BitCast(d, hn::MulHigh(biased, scale[kind])), largest);
    const auto sign = hn::ShiftRight<15>(value);
    hn::StoreU(in_order(d, hn::Sub(hn::Xor(magnitude, sign), sign)), d,
               levels.at[i].data() + first);
    // A bit more, the highest place first: what holds is -1.
    const auto more = [&](auto bits, auto holds) {
      return hn::Sub(hn::Add(bits, bits), hn::VecFromMask(d, holds));
    };
    nonzero = more(nonzero, hn::Gt(magnitude, none));
    large = more(large, hn::Gt(magnitude, one));
  });
  hn::StoreU(hn::BitCast(natural, in_order(d, nonzero)), natural, used.nonzero.data() + first);
  hn::StoreU(hn::BitCast(natural, in_order(d, large)), natural, used.large.data() + first);
}

template <class D, std::size_t kCount>
HWY_INLINE void code(D d, const Pixels<const std::uint8_t>& source,
                     const Pixels<const std::uint8_t>& prediction, const QuantiserStep& step,
                     std::size_t first, std::int16_t* dc, Blocks<kCount>& levels,
                     Occupied<kCount>& used) {
  Block<D> block = differences(d, source, prediction);
  transform(block);
  if (dc != nullptr) {
    hn::StoreU(in_order(d, block[0]), d, dc + first);
    block[0] = hn::Zero(d);
  }
  quantise(d, block, step, first, levels, used);
}

// 8.5.12: levels → pixels. 16 bits hold every value on the way, as the clause demands of a stream.
template <class D, std::size_t kCount>
HWY_INLINE void decode(D d, const Blocks<kCount>& levels, const std::int16_t* dc, int quantiser,
                       std::size_t first, const Pixels<std::uint8_t>& pixels) {
  using V = hn::Vec<D>;
  const Step step = step_of(quantiser);
  const auto scale_of = [&](std::size_t kind) {
    return hn::Set(d, static_cast<std::int16_t>(kInverseClasses[step.rest][kind] << step.octave));
  };
  const std::array<V, 3> scale{scale_of(0), scale_of(1), scale_of(2)};
  Block<D> block;
  each<16>([&](auto i) {
    const V level = hn::LoadU(d, levels.at[i].data() + first);
    block[i] = as_taken(d, hn::Mul(level, scale[kPositionKind[i]]));
  });
  if (dc != nullptr) block[0] = as_taken(d, hn::LoadU(d, dc + first));
  // The rounding of all sixteen: nothing on the way halves what stands here.
  block[0] = hn::Add(block[0], hn::Set(d, 32));
  both_ways(block, [](V& v0, V& v1, V& v2, V& v3) {
    const V e = hn::Add(v0, v2);
    const V f = hn::Sub(v0, v2);
    const V g = hn::Sub(hn::ShiftRight<1>(v1), v3);
    const V h = hn::Add(v1, hn::ShiftRight<1>(v3));
    v0 = hn::Add(e, h);
    v1 = hn::Add(f, g);
    v2 = hn::Sub(f, g);
    v3 = hn::Sub(e, h);
  });
  each<16>([&](auto i) { block[i] = hn::ShiftRight<6>(block[i]); });
  add(d, block, pixels);
}

void code_luma_impl(const std::uint8_t* source, std::ptrdiff_t source_stride,
                    const std::uint8_t* prediction, std::ptrdiff_t prediction_stride,
                    const QuantiserStep& step, std::int16_t* dc, LumaBlocks& levels,
                    Occupied<16>& used) {
  const Lanes<16> d;
  for (std::size_t first = 0; first < 16; first += hn::MaxLanes(d)) {
    code(d, luma_pixels(source, source_stride, first),
         luma_pixels(prediction, prediction_stride, first), step, first, dc, levels, used);
  }
}

void code_chroma_impl(const std::array<const std::uint8_t*, 2>& source,
                      std::ptrdiff_t source_stride,
                      const std::array<const std::uint8_t*, 2>& prediction,
                      std::ptrdiff_t prediction_stride, const QuantiserStep& step, std::int16_t* dc,
                      ChromaBlocks& levels, Occupied<8>& used) {
  const Lanes<8> d;
  for (std::size_t first = 0; first < 8; first += hn::MaxLanes(d)) {
    code(d, chroma_pixels(source, source_stride, first),
         chroma_pixels(prediction, prediction_stride, first), step, first, dc, levels, used);
  }
}

void add_luma_impl(const LumaBlocks& levels, const std::int16_t* dc, int quantiser,
                   std::uint8_t* pixels, std::ptrdiff_t stride) {
  const Lanes<16> d;
  for (std::size_t first = 0; first < 16; first += hn::MaxLanes(d))
    decode(d, levels, dc, quantiser, first, luma_pixels(pixels, stride, first));
}

void add_chroma_impl(const ChromaBlocks& levels, const std::int16_t* dc, int quantiser,
                     const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride) {
  const Lanes<8> d;
  for (std::size_t first = 0; first < 8; first += hn::MaxLanes(d))
    decode(d, levels, dc, quantiser, first, chroma_pixels(pixels, stride, first));
}

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {

HWY_EXPORT(code_luma_impl);
HWY_EXPORT(code_chroma_impl);
HWY_EXPORT(add_luma_impl);
HWY_EXPORT(add_chroma_impl);

void code_luma(const std::uint8_t* source, std::ptrdiff_t source_stride,
               const std::uint8_t* prediction, std::ptrdiff_t prediction_stride, int quantiser,
               Rounding rounding, std::int16_t* dc, LumaBlocks& levels,
               Occupied<16>& used) noexcept {
  HWY_DYNAMIC_DISPATCH(code_luma_impl)
  (source, source_stride, prediction, prediction_stride, quantiser_step(quantiser, rounding), dc,
   levels, used);
}
void code_chroma(const std::array<const std::uint8_t*, 2>& source, std::ptrdiff_t source_stride,
                 const std::array<const std::uint8_t*, 2>& prediction,
                 std::ptrdiff_t prediction_stride, int quantiser, Rounding rounding,
                 std::int16_t* dc, ChromaBlocks& levels, Occupied<8>& used) noexcept {
  HWY_DYNAMIC_DISPATCH(code_chroma_impl)
  (source, source_stride, prediction, prediction_stride, quantiser_step(quantiser, rounding), dc,
   levels, used);
}
void add_luma(const LumaBlocks& levels, const std::int16_t* dc, int quantiser, std::uint8_t* pixels,
              std::ptrdiff_t stride) noexcept {
  HWY_DYNAMIC_DISPATCH(add_luma_impl)(levels, dc, quantiser, pixels, stride);
}
void add_chroma(const ChromaBlocks& levels, const std::int16_t* dc, int quantiser,
                const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride) noexcept {
  HWY_DYNAMIC_DISPATCH(add_chroma_impl)(levels, dc, quantiser, pixels, stride);
}

}  // namespace kvm::screen
#endif
