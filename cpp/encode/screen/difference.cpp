#include "encode/screen/difference.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/difference.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <cstdlib>
#include <cstring>

#include "encode/screen/apart-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE int difference_rows(const std::uint8_t* a, std::ptrdiff_t a_stride,
                               const std::uint8_t* b, std::ptrdiff_t b_stride, int width,
                               int rows) {
  int sum = 0;
  for (int y = 0; y < rows; ++y, a += a_stride, b += b_stride) {
    for (int x = 0; x < width; ++x) sum += std::abs(a[x] - b[x]);
  }
  return sum;
}

int difference16_rows_impl(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                           std::ptrdiff_t b_stride, int rows) {
  return difference_rows(a, a_stride, b, b_stride, 16, rows);
}
int difference8_rows_impl(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                          std::ptrdiff_t b_stride, int rows) {
  return difference_rows(a, a_stride, b, b_stride, 8, rows);
}
void differences_around16_impl(const std::uint8_t* a, std::ptrdiff_t a_stride,
                               const std::uint8_t* b, std::ptrdiff_t b_stride,
                               std::array<int, 4>& out) {
  out = {difference_rows(a, a_stride, b - b_stride, b_stride, 16, 16),
         difference_rows(a, a_stride, b + b_stride, b_stride, 16, 16),
         difference_rows(a, a_stride, b - 1, b_stride, 16, 16),
         difference_rows(a, a_stride, b + 1, b_stride, 16, 16)};
}
int squared_difference16_impl(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                              std::ptrdiff_t b_stride) {
  int sum = 0;
  for (int y = 0; y < 16; ++y, a += a_stride, b += b_stride) {
    for (int x = 0; x < 16; ++x) sum += (a[x] - b[x]) * (a[x] - b[x]);
  }
  return sum;
}

template <std::size_t kPlanes>
void intra_differences_impl(Neighbours neighbours, const IntraBlocks<kPlanes>& blocks,
                            std::array<int, kIntraModes>& out) {
  for (const IntraMode mode : kIntraOrder) {
    if (!neighbours.allow(mode)) continue;
    const auto predict = kPlanes == 1 ? predict_luma : predict_chroma;
    constexpr int kSize = 16 / static_cast<int>(kPlanes);
    int sum = 0;
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      std::array<std::uint8_t, 256> predicted;
      predict(mode, neighbours, blocks.pixels[plane], blocks.stride, predicted.data(), kSize);
      sum += difference_rows(blocks.source[plane], blocks.source_stride, predicted.data(), kSize,
                             kSize, kSize);
    }
    out[static_cast<std::size_t>(mode)] = sum;
  }
}

#else

namespace hn = hwy::HWY_NAMESPACE;
using Line = Bytes16;
using HalfLine = hn::FixedTag<std::uint8_t, 8>;
using Sums = Sums8;
using Line16 = hn::Vec<Line>;
using Sums2 = hn::Vec<Sums>;

HWY_INLINE Line16 two_rows(const std::uint8_t* row, std::ptrdiff_t stride) {
  return hn::Combine(Line(), hn::LoadU(HalfLine(), row + stride), hn::LoadU(HalfLine(), row));
}

int difference16_rows_impl(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                           std::ptrdiff_t b_stride, int rows) {
  const Line d;
  Sums2 even = hn::Zero(Sums());
  Sums2 odd = even;
  for (int y = 0; y < rows; y += 2) {
    even = hn::Add(even, apart(hn::LoadU(d, a), hn::LoadU(d, b)));
    odd = hn::Add(odd, apart(hn::LoadU(d, a + a_stride), hn::LoadU(d, b + b_stride)));
    a += 2 * a_stride;
    b += 2 * b_stride;
  }
  return total(hn::Add(even, odd));
}

int difference8_rows_impl(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                          std::ptrdiff_t b_stride, int rows) {
  Sums2 sum = hn::Zero(Sums());
  for (int y = 0; y < rows; y += 2) {
    sum = hn::Add(sum, apart(two_rows(a, a_stride), two_rows(b, b_stride)));
    a += 2 * a_stride;
    b += 2 * b_stride;
  }
  return total(sum);
}

void differences_around16_impl(const std::uint8_t* a, std::ptrdiff_t a_stride,
                               const std::uint8_t* b, std::ptrdiff_t b_stride,
                               std::array<int, 4>& out) {
  const Line d;
  Sums2 above = hn::Zero(Sums());
  Sums2 below = above;
  Sums2 left = above;
  Sums2 right = above;
  Line16 before = hn::LoadU(d, b - b_stride);
  Line16 here = hn::LoadU(d, b);
  for (int y = 0; y < 16; ++y, a += a_stride, b += b_stride) {
    const Line16 wanted = hn::LoadU(d, a);
    const Line16 next = hn::LoadU(d, b + b_stride);
    above = hn::Add(above, apart(wanted, before));
    below = hn::Add(below, apart(wanted, next));
    left = hn::Add(left, apart(wanted, hn::LoadU(d, b - 1)));
    right = hn::Add(right, apart(wanted, hn::LoadU(d, b + 1)));
    before = here;
    here = next;
  }
  out = {total(above), total(below), total(left), total(right)};
}

int squared_difference16_impl(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                              std::ptrdiff_t b_stride) {
  const hn::FixedTag<std::int16_t, 8> d16;
  const hn::FixedTag<std::int32_t, 4> d32;
  const HalfLine d;
  auto even = hn::Zero(d32);
  auto odd = even;
  for (int y = 0; y < 16; ++y, a += a_stride, b += b_stride) {
    for (int x = 0; x < 16; x += 8) {
      const auto difference =
          hn::Sub(hn::PromoteTo(d16, hn::LoadU(d, a + x)), hn::PromoteTo(d16, hn::LoadU(d, b + x)));
      even = hn::ReorderWidenMulAccumulate(d32, difference, difference, even, odd);
    }
  }
  return hn::GetLane(hn::SumOfLanes(d32, hn::Add(even, odd)));
}

using Short8 = hn::FixedTag<std::int16_t, 8>;

// A row of 16 pixels, or one of eight in each of two planes.
HWY_INLINE Line16 row_of(const std::array<const std::uint8_t*, 1>& rows, std::ptrdiff_t offset) {
  return hn::LoadU(Line(), rows[0] + offset);
}
HWY_INLINE Line16 row_of(const std::array<const std::uint8_t*, 2>& rows, std::ptrdiff_t offset) {
  return hn::Combine(Line(), hn::LoadU(HalfLine(), rows[1] + offset),
                     hn::LoadU(HalfLine(), rows[0] + offset));
}
// The same pixel all along.
HWY_INLINE Line16 repeated(const std::array<const std::uint8_t*, 1>& rows, std::ptrdiff_t offset) {
  return hn::Set(Line(), rows[0][offset]);
}
HWY_INLINE Line16 repeated(const std::array<const std::uint8_t*, 2>& rows, std::ptrdiff_t offset) {
  return hn::Combine(Line(), hn::Set(HalfLine(), rows[1][offset]),
                     hn::Set(HalfLine(), rows[0][offset]));
}

template <std::size_t kPlanes>
HWY_INLINE int slanted_difference(const IntraBlocks<kPlanes>& blocks) {
  constexpr int kSize = 16 / static_cast<int>(kPlanes);
  const Short8 d;
  const HalfLine narrow;
  const auto ramp = hn::Iota(d, 0);
  std::array<Slant, 2> slants;
  for (std::size_t plane = 0; plane < kPlanes; ++plane)
    slants[plane] = slant_of<kSize>(blocks.pixels[plane], blocks.stride);
  const auto short_of = [&](int value) { return hn::Set(d, static_cast<std::int16_t>(value)); };
  const auto first = [&](const Slant& slant, int x) {
    return hn::Add(short_of(slant.corner + x * slant.across),
                   hn::Mul(ramp, short_of(slant.across)));
  };
  const Slant& last = slants[kPlanes - 1];
  auto left = first(slants[0], 0);
  auto right = first(last, kPlanes == 1 ? 8 : 0);
  const auto left_down = short_of(slants[0].down);
  const auto right_down = short_of(last.down);
  Sums2 sum = hn::Zero(Sums());
  for (int y = 0; y < kSize; ++y) {
    const Line16 predicted = hn::Combine(Line(), hn::DemoteTo(narrow, hn::ShiftRight<5>(right)),
                                         hn::DemoteTo(narrow, hn::ShiftRight<5>(left)));
    sum = hn::Add(sum, apart(row_of(blocks.source, y * blocks.source_stride), predicted));
    left = hn::Add(left, left_down);
    right = hn::Add(right, right_down);
  }
  return total(sum);
}

template <std::size_t kPlanes>
void intra_differences_impl(Neighbours neighbours, const IntraBlocks<kPlanes>& blocks,
                            std::array<int, kIntraModes>& out) {
  constexpr int kSize = 16 / static_cast<int>(kPlanes);
  const auto of_mode = [&](IntraMode mode) -> int& { return out[static_cast<std::size_t>(mode)]; };
  alignas(16) std::array<std::array<std::uint8_t, 16>, 2> means;  // upper half, lower half
  if constexpr (kPlanes == 1) {
    means[0].fill(
        static_cast<std::uint8_t>(luma_mean(neighbours, blocks.pixels[0], blocks.stride)));
    means[1] = means[0];
  } else {
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      const std::array<std::uint8_t, 4> quarters =
          chroma_means(neighbours, blocks.pixels[plane], blocks.stride);
      for (std::size_t i = 0; i < 4; ++i)
        std::memset(means[i / 2].data() + plane * 8 + i % 2 * 4, quarters[i], 4);
    }
  }
  const Line16 top = neighbours.top ? row_of(blocks.pixels, -blocks.stride) : hn::Zero(Line());
  const Sums none;
  Sums2 from_mean = hn::Zero(none);
  Sums2 from_top = from_mean;
  Sums2 from_left = from_mean;
  for (int y = 0; y < kSize; ++y) {
    const Line16 wanted = row_of(blocks.source, y * blocks.source_stride);
    const Line16 mean = hn::Load(Line(), means[y < kSize / 2 ? 0 : 1].data());
    from_mean = hn::Add(from_mean, apart(wanted, mean));
    from_top = hn::Add(from_top, apart(wanted, top));
    if (neighbours.left) {
      from_left = hn::Add(from_left, apart(wanted, repeated(blocks.pixels, y * blocks.stride - 1)));
    }
  }
  of_mode(IntraMode::kDc) = total(from_mean);
  if (neighbours.top) of_mode(IntraMode::kVertical) = total(from_top);
  if (neighbours.left) of_mode(IntraMode::kHorizontal) = total(from_left);
  if (neighbours.allow(IntraMode::kPlane)) of_mode(IntraMode::kPlane) = slanted_difference(blocks);
}

#endif

void luma_intra_differences_impl(Neighbours neighbours, const IntraBlocks<1>& blocks,
                                 std::array<int, kIntraModes>& out) {
  intra_differences_impl(neighbours, blocks, out);
}
void chroma_intra_differences_impl(Neighbours neighbours, const IntraBlocks<2>& blocks,
                                   std::array<int, kIntraModes>& out) {
  intra_differences_impl(neighbours, blocks, out);
}

int difference16_impl(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                      std::ptrdiff_t b_stride, int limit) {
  const int upper = difference16_rows_impl(a, a_stride, b, b_stride, 8);
  if (upper > limit) return upper;
  return upper + difference16_rows_impl(a + 8 * a_stride, a_stride, b + 8 * b_stride, b_stride, 8);
}

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {

HWY_EXPORT(difference16_impl);
HWY_EXPORT(difference16_rows_impl);
HWY_EXPORT(difference8_rows_impl);
HWY_EXPORT(differences_around16_impl);
HWY_EXPORT(squared_difference16_impl);
HWY_EXPORT(luma_intra_differences_impl);
HWY_EXPORT(chroma_intra_differences_impl);

int difference16(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                 std::ptrdiff_t b_stride, int limit) noexcept {
  return HWY_DYNAMIC_DISPATCH(difference16_impl)(a, a_stride, b, b_stride, limit);
}
int difference16_rows(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                      std::ptrdiff_t b_stride, int rows) noexcept {
  return HWY_DYNAMIC_DISPATCH(difference16_rows_impl)(a, a_stride, b, b_stride, rows);
}
int difference8_rows(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                     std::ptrdiff_t b_stride, int rows) noexcept {
  return HWY_DYNAMIC_DISPATCH(difference8_rows_impl)(a, a_stride, b, b_stride, rows);
}
void differences_around16(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                          std::ptrdiff_t b_stride, std::array<int, 4>& out) noexcept {
  HWY_DYNAMIC_DISPATCH(differences_around16_impl)(a, a_stride, b, b_stride, out);
}
int squared_difference16(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                         std::ptrdiff_t b_stride) noexcept {
  return HWY_DYNAMIC_DISPATCH(squared_difference16_impl)(a, a_stride, b, b_stride);
}

void intra_differences(Neighbours neighbours, const IntraBlocks<1>& blocks,
                       std::array<int, kIntraModes>& out) noexcept {
  HWY_DYNAMIC_DISPATCH(luma_intra_differences_impl)(neighbours, blocks, out);
}
void intra_differences(Neighbours neighbours, const IntraBlocks<2>& blocks,
                       std::array<int, kIntraModes>& out) noexcept {
  HWY_DYNAMIC_DISPATCH(chroma_intra_differences_impl)(neighbours, blocks, out);
}

}  // namespace kvm::screen
#endif
