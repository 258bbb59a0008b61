#include "encode/screen/transform.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/transform.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <cstring>

#include "encode/screen/residual.hpp"
#include "encode/screen/scales.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

// Where the four parts of eight blocks begin: two blocks each, side by side.
template <typename Byte>
using Parts = std::array<Byte*, 4>;

#if HWY_TARGET == HWY_SCALAR

// Eight blocks at [kFirst …] of kCount side by side.
template <std::size_t kFirst, std::size_t kCount>
void take_differences(const Parts<const std::uint8_t>& source, std::ptrdiff_t source_stride,
                      const Parts<const std::uint8_t>& prediction, std::ptrdiff_t prediction_stride,
                      std::int16_t (*out)[kCount]) {
  for (std::size_t i = 0; i < 4 * 32; ++i) {
    const std::size_t part = i / 32;
    const auto y = static_cast<std::ptrdiff_t>(i / 8 % 4);
    const std::size_t x = i % 8;
    out[static_cast<std::size_t>(y) * 4 + x % 4][kFirst + part * 2 + x / 4] =
        static_cast<std::int16_t>(
            source[part][y * source_stride + static_cast<std::ptrdiff_t>(x)] -
            prediction[part][y * prediction_stride + static_cast<std::ptrdiff_t>(x)]);
  }
}
template <std::size_t kFirst, std::size_t kCount>
void add_differences(const std::int16_t (*differences)[kCount], const Parts<std::uint8_t>& pixels,
                     std::ptrdiff_t stride) {
  for (std::size_t i = 0; i < 4 * 32; ++i) {
    const std::size_t part = i / 32;
    const auto y = static_cast<std::ptrdiff_t>(i / 8 % 4);
    const std::size_t x = i % 8;
    std::uint8_t& pixel = pixels[part][y * stride + static_cast<std::ptrdiff_t>(x)];
    const int value =
        pixel + differences[static_cast<std::size_t>(y) * 4 + x % 4][kFirst + part * 2 + x / 4];
    pixel = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
  }
}

#else

namespace hn = hwy::HWY_NAMESPACE;
using Pixels8 = hn::FixedTag<std::uint8_t, 8>;
using Lanes8 = hn::FixedTag<std::int16_t, 8>;
using Pairs4 = hn::FixedTag<std::int32_t, 4>;
using Vec8 = hn::Vec<Lanes8>;

// The same line of eight blocks, two side by side in each part ↔ for each of its four columns the
// eight blocks.
HWY_INLINE void gather_columns(const Vec8 parts[4], Vec8 columns[4]) {
  const Lanes8 d;
  const Vec8 a = hn::InterleaveLower(d, parts[0], parts[1]);
  const Vec8 b = hn::InterleaveUpper(d, parts[0], parts[1]);
  const Vec8 c = hn::InterleaveLower(d, parts[2], parts[3]);
  const Vec8 e = hn::InterleaveUpper(d, parts[2], parts[3]);
  const Vec8 low01 = hn::InterleaveLower(d, a, b);
  const Vec8 low23 = hn::InterleaveUpper(d, a, b);
  const Vec8 high01 = hn::InterleaveLower(d, c, e);
  const Vec8 high23 = hn::InterleaveUpper(d, c, e);
  columns[0] = hn::ConcatLowerLower(d, high01, low01);
  columns[1] = hn::ConcatUpperUpper(d, high01, low01);
  columns[2] = hn::ConcatLowerLower(d, high23, low23);
  columns[3] = hn::ConcatUpperUpper(d, high23, low23);
}
HWY_INLINE void scatter_columns(const Vec8 columns[4], Vec8 parts[4]) {
  const Lanes8 d;
  const Pairs4 pairs;
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, columns[0], columns[1]));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, columns[2], columns[3]));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, columns[0], columns[1]));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, columns[2], columns[3]));
  parts[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
  parts[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
  parts[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
  parts[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
}

HWY_INLINE Vec8 difference8(const std::uint8_t* a, const std::uint8_t* b) {
  const Lanes8 d;
  return hn::Sub(hn::PromoteTo(d, hn::LoadU(Pixels8(), a)),
                 hn::PromoteTo(d, hn::LoadU(Pixels8(), b)));
}
HWY_INLINE void add8(Vec8 difference, std::uint8_t* pixels) {
  const Lanes8 d;
  const Vec8 sum = hn::Add(difference, hn::PromoteTo(d, hn::LoadU(Pixels8(), pixels)));
  hn::StoreU(hn::DemoteTo(Pixels8(), sum), Pixels8(), pixels);
}

// Eight blocks at [kFirst …] of kCount side by side.
template <std::size_t kFirst, std::size_t kCount>
HWY_INLINE void take_differences(const Parts<const std::uint8_t>& source,
                                 std::ptrdiff_t source_stride,
                                 const Parts<const std::uint8_t>& prediction,
                                 std::ptrdiff_t prediction_stride,
                                 std::int16_t (*HWY_RESTRICT out)[kCount]) {
  for (std::size_t y = 0; y < 4; ++y) {
    const auto line = static_cast<std::ptrdiff_t>(y);
    Vec8 parts[4];
    Vec8 columns[4];
    for (std::size_t part = 0; part < 4; ++part) {
      parts[part] = difference8(source[part] + line * source_stride,
                                prediction[part] + line * prediction_stride);
    }
    gather_columns(parts, columns);
    for (std::size_t x = 0; x < 4; ++x) hn::StoreU(columns[x], Lanes8(), out[y * 4 + x] + kFirst);
  }
}
template <std::size_t kFirst, std::size_t kCount>
HWY_INLINE void add_differences(const std::int16_t (*HWY_RESTRICT differences)[kCount],
                                const Parts<std::uint8_t>& pixels, std::ptrdiff_t stride) {
  for (std::size_t y = 0; y < 4; ++y) {
    Vec8 parts[4];
    Vec8 columns[4];
    for (std::size_t x = 0; x < 4; ++x)
      columns[x] = hn::LoadU(Lanes8(), differences[y * 4 + x] + kFirst);
    scatter_columns(columns, parts);
    for (std::size_t part = 0; part < 4; ++part) {
      add8(parts[part], pixels[part] + static_cast<std::ptrdiff_t>(y) * stride);
    }
  }
}

#endif

// Here a vector holds the same position of neighbouring blocks.
namespace hl = hwy::HWY_NAMESPACE;
template <std::size_t kCount>
using Lanes = hl::CappedTag<std::int16_t, kCount>;

// 8.5.8 the other way round, of all blocks.
template <std::size_t kCount>
HWY_INLINE void transform_all(std::int16_t (*HWY_RESTRICT d)[kCount]) {
  const Lanes<kCount> lanes;
  using V = hl::Vec<Lanes<kCount>>;
  const auto pass = [&](std::int16_t* p0, std::int16_t* p1, std::int16_t* p2, std::int16_t* p3) {
    const V v0 = hl::LoadU(lanes, p0);
    const V v1 = hl::LoadU(lanes, p1);
    const V v2 = hl::LoadU(lanes, p2);
    const V v3 = hl::LoadU(lanes, p3);
    const V a = hl::Add(v0, v3);
    const V b = hl::Add(v1, v2);
    const V c = hl::Sub(v1, v2);
    const V e = hl::Sub(v0, v3);
    hl::StoreU(hl::Add(a, b), lanes, p0);
    hl::StoreU(hl::Add(hl::Add(e, e), c), lanes, p1);
    hl::StoreU(hl::Sub(a, b), lanes, p2);
    hl::StoreU(hl::Sub(e, hl::Add(c, c)), lanes, p3);
  };
  for (std::size_t n = 0; n < kCount; n += hl::Lanes(lanes)) {
    for (std::size_t y = 0; y < 16; y += 4)
      pass(d[y] + n, d[y + 1] + n, d[y + 2] + n, d[y + 3] + n);
    for (std::size_t x = 0; x < 4; ++x) pass(d[x] + n, d[x + 4] + n, d[x + 8] + n, d[x + 12] + n);
  }
}

// Unsigned 16-bit arithmetic: |coefficient| + bias stays below 2^16, as the transform gains at most
// 36.
template <std::size_t kCount>
HWY_INLINE void quantise_all(Blocks<kCount>& blocks, const QuantiserStep& step,
                             Occupied<kCount>& out) {
  const Lanes<kCount> lanes;
  const hl::RebindToUnsigned<Lanes<kCount>> unsigned_lanes;
  const auto none = hl::Zero(lanes);
  const auto one = hl::Set(lanes, 1);
  const auto largest = hl::Set(lanes, kLargestLevel);
  for (std::size_t n = 0; n < kCount; n += hl::Lanes(lanes)) {
    auto nonzero = none;
    auto large = none;
    for (std::size_t place = 0; place < 16; ++place) {
      const std::size_t i = kZigzag[place];
      const std::size_t kind = kPositionKind[i];
      std::int16_t* values = blocks.at[i].data() + n;
      const auto value = hl::LoadU(lanes, values);
      const auto biased = hl::Add(hl::BitCast(unsigned_lanes, hl::Abs(value)),
                                  hl::Set(unsigned_lanes, step.bias[kind]));
      const auto magnitude = hl::Min(
          hl::BitCast(lanes, hl::MulHigh(biased, hl::Set(unsigned_lanes, step.scale[kind]))),
          largest);
      const auto sign = hl::ShiftRight<15>(value);
      hl::StoreU(hl::Sub(hl::Xor(magnitude, sign), sign), lanes, values);
      const auto bit = hl::Set(lanes, static_cast<std::int16_t>(1U << place));
      nonzero = hl::Or(nonzero, hl::IfThenElseZero(hl::Gt(magnitude, none), bit));
      large = hl::Or(large, hl::IfThenElseZero(hl::Gt(magnitude, one), bit));
    }
    hl::StoreU(hl::BitCast(unsigned_lanes, nonzero), unsigned_lanes, out.nonzero.data() + n);
    hl::StoreU(hl::BitCast(unsigned_lanes, large), unsigned_lanes, out.large.data() + n);
  }
}

// 8.5.12: levels → differences. 16 bits hold every value on the way, as the clause demands of a
// stream.
template <std::size_t kCount>
HWY_INLINE void inverse_all(const Blocks<kCount>& levels, const std::int16_t* dc, int quantiser,
                            std::int16_t (*HWY_RESTRICT out)[kCount]) {
  const Step step = step_of(quantiser);
  const Lanes<kCount> lanes;
  using V = hl::Vec<Lanes<kCount>>;
  const auto pass = [&](std::int16_t* p0, std::int16_t* p1, std::int16_t* p2, std::int16_t* p3,
                        auto&& finish) {
    const V v0 = hl::LoadU(lanes, p0);
    const V v1 = hl::LoadU(lanes, p1);
    const V v2 = hl::LoadU(lanes, p2);
    const V v3 = hl::LoadU(lanes, p3);
    const V e = hl::Add(v0, v2);
    const V f = hl::Sub(v0, v2);
    const V g = hl::Sub(hl::ShiftRight<1>(v1), v3);
    const V h = hl::Add(v1, hl::ShiftRight<1>(v3));
    hl::StoreU(finish(hl::Add(e, h)), lanes, p0);
    hl::StoreU(finish(hl::Add(f, g)), lanes, p1);
    hl::StoreU(finish(hl::Sub(f, g)), lanes, p2);
    hl::StoreU(finish(hl::Sub(e, h)), lanes, p3);
  };
  const auto keep = [](V v) { return v; };
  const auto round = [&](V v) { return hl::ShiftRight<6>(hl::Add(v, hl::Set(lanes, 32))); };
  for (std::size_t n = 0; n < kCount; n += hl::Lanes(lanes)) {
    for (std::size_t i = 0; i < 16; ++i) {
      const auto scale =
          static_cast<std::int16_t>(kInverseClasses[step.rest][kPositionKind[i]] << step.octave);
      const V level = hl::LoadU(lanes, levels.at[i].data() + n);
      hl::StoreU(hl::Mul(level, hl::Set(lanes, scale)), lanes, out[i] + n);
    }
    if (dc != nullptr) hl::StoreU(hl::LoadU(lanes, dc + n), lanes, out[0] + n);
    for (std::size_t y = 0; y < 16; y += 4)
      pass(out[y] + n, out[y + 1] + n, out[y + 2] + n, out[y + 3] + n, keep);
    for (std::size_t x = 0; x < 4; ++x)
      pass(out[x] + n, out[x + 4] + n, out[x + 8] + n, out[x + 12] + n, round);
  }
}

// Parts of the upper or lower half of a luma macroblock, and of both chroma planes.
template <typename Byte>
HWY_INLINE Parts<Byte> luma_parts(Byte* pixels, std::ptrdiff_t stride, std::ptrdiff_t half) {
  Byte* first = pixels + half * 8 * stride;
  return {first, first + 8, first + 4 * stride, first + 4 * stride + 8};
}
template <typename Byte>
HWY_INLINE Parts<Byte> chroma_parts(const std::array<Byte*, 2>& planes, std::ptrdiff_t stride) {
  return {planes[0], planes[0] + 4 * stride, planes[1], planes[1] + 4 * stride};
}

void forward_luma_impl(const std::uint8_t* source, std::ptrdiff_t source_stride,
                       const std::uint8_t* prediction, std::ptrdiff_t prediction_stride,
                       LumaBlocks& out) {
  std::int16_t d[16][16];
  take_differences<0, 16>(luma_parts(source, source_stride, 0), source_stride,
                          luma_parts(prediction, prediction_stride, 0), prediction_stride, d);
  take_differences<8, 16>(luma_parts(source, source_stride, 1), source_stride,
                          luma_parts(prediction, prediction_stride, 1), prediction_stride, d);
  transform_all<16>(d);
  std::memcpy(&out, d, sizeof d);
}

void forward_chroma_impl(const std::array<const std::uint8_t*, 2>& source,
                         std::ptrdiff_t source_stride,
                         const std::array<const std::uint8_t*, 2>& prediction,
                         std::ptrdiff_t prediction_stride, ChromaBlocks& out) {
  std::int16_t d[16][8];
  take_differences<0, 8>(chroma_parts(source, source_stride), source_stride,
                         chroma_parts(prediction, prediction_stride), prediction_stride, d);
  transform_all<8>(d);
  std::memcpy(&out, d, sizeof d);
}

void quantise_luma_impl(LumaBlocks& blocks, const QuantiserStep& step, Occupied<16>& out) {
  quantise_all(blocks, step, out);
}
void quantise_chroma_impl(ChromaBlocks& blocks, const QuantiserStep& step, Occupied<8>& out) {
  quantise_all(blocks, step, out);
}

void add_luma_impl(const LumaBlocks& levels, const std::int16_t* dc, int quantiser,
                   std::uint8_t* pixels, std::ptrdiff_t stride) {
  std::int16_t differences[16][16];
  inverse_all<16>(levels, dc, quantiser, differences);
  add_differences<0, 16>(differences, luma_parts(pixels, stride, 0), stride);
  add_differences<8, 16>(differences, luma_parts(pixels, stride, 1), stride);
}

void add_chroma_impl(const ChromaBlocks& levels, const std::int16_t* dc, int quantiser,
                     const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride) {
  std::int16_t differences[16][8];
  inverse_all<8>(levels, dc, quantiser, differences);
  add_differences<0, 8>(differences, chroma_parts(pixels, stride), stride);
}

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {

HWY_EXPORT(forward_luma_impl);
HWY_EXPORT(forward_chroma_impl);
HWY_EXPORT(quantise_luma_impl);
HWY_EXPORT(quantise_chroma_impl);
HWY_EXPORT(add_luma_impl);
HWY_EXPORT(add_chroma_impl);

void forward_luma(const std::uint8_t* source, std::ptrdiff_t source_stride,
                  const std::uint8_t* prediction, std::ptrdiff_t prediction_stride,
                  LumaBlocks& out) noexcept {
  HWY_DYNAMIC_DISPATCH(forward_luma_impl)(source, source_stride, prediction, prediction_stride,
                                          out);
}
void forward_chroma(const std::array<const std::uint8_t*, 2>& source, std::ptrdiff_t source_stride,
                    const std::array<const std::uint8_t*, 2>& prediction,
                    std::ptrdiff_t prediction_stride, ChromaBlocks& out) noexcept {
  HWY_DYNAMIC_DISPATCH(forward_chroma_impl)(source, source_stride, prediction, prediction_stride,
                                            out);
}
void quantise(LumaBlocks& blocks, int quantiser, Rounding rounding, Occupied<16>& out) noexcept {
  HWY_DYNAMIC_DISPATCH(quantise_luma_impl)(blocks, quantiser_step(quantiser, rounding), out);
}
void quantise(ChromaBlocks& blocks, int quantiser, Rounding rounding, Occupied<8>& out) noexcept {
  HWY_DYNAMIC_DISPATCH(quantise_chroma_impl)(blocks, quantiser_step(quantiser, rounding), out);
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
