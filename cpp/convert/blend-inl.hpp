// The two passes of the scaler. Included once per target by foreach_target.h, hence the guard that
// toggles.
#if defined(KVM_CONVERT_BLEND_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVM_CONVERT_BLEND_INL_HPP
#undef KVM_CONVERT_BLEND_INL_HPP
#else
#define KVM_CONVERT_BLEND_INL_HPP
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "convert/kernels.hpp"
#include "convert/simd-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::kernels::HWY_NAMESPACE {

inline constexpr int kRowShift = kWeightBits - kRowBits;
inline constexpr int kRowRound = 1 << (kRowShift - 1);
inline constexpr int kPixelShift = kWeightBits + kRowBits;
inline constexpr int kPixelRound = 1 << (kPixelShift - 1);

#if HWY_TARGET != HWY_SCALAR

// Two weights as the 16-bit pair that pair_mul_add wants in each 32-bit lane.
template <class D32>
HWY_INLINE auto weight_pair(D32 d32, const std::uint16_t* weights) {
  std::int32_t word;
  std::memcpy(&word, weights, sizeof(word));
  return hn::BitCast(hn::Repartition<std::int16_t, D32>(), hn::Set(d32, word));
}

// Half a vector of bytes from each row, two rows at a time.
template <class D16>
HWY_INLINE void blend_rows_at(D16 d16, const std::uint8_t* src, std::ptrdiff_t stride, int valid,
                              const std::uint16_t* weights, int count, std::int16_t* out) {
  const hn::Repartition<std::int32_t, D16> d32;
  const hn::Rebind<std::uint8_t, D16> d8;
  auto low = hn::Set(d32, kRowRound);
  auto high = low;
  for (int k = 0; k < count; k += 2) {
    const std::uint8_t* row0 = src + std::min(k, valid - 1) * stride;
    const std::uint8_t* row1 = src + std::min(k + 1, valid - 1) * stride;
    const auto a = hn::PromoteTo(d16, hn::LoadU(d8, row0));
    const auto b = hn::PromoteTo(d16, hn::LoadU(d8, row1));
    const auto w = weight_pair(d32, weights + k);
    low = pair_mul_add(d32, hn::InterleaveLower(d16, a, b), w, low);
    high = pair_mul_add(d32, hn::InterleaveUpper(d16, a, b), w, high);
  }
  hn::StoreU(pack(hn::ShiftRight<kRowShift>(low), hn::ShiftRight<kRowShift>(high)), d16, out);
}

// kCount: the number of taps when known at compile time, else 0.
template <int kCount>
HWY_INLINE hn::Vec<hn::FixedTag<std::int32_t, 4>> blend_pixel(const std::int16_t* row,
                                                              const std::uint16_t* weights,
                                                              int any_count) {
  const int count = kCount != 0 ? kCount : any_count;
  const hn::FixedTag<std::int16_t, 8> d16;
  const hn::FixedTag<std::int32_t, 4> d32;
  auto sum = hn::Set(d32, kPixelRound);
  for (int k = 0; k < count; k += 2) {
    const auto two = hn::LoadU(d16, row + 4 * k);  // B G R X of this tap, then of the next
    const auto taps = hn::InterleaveLower(d16, two, hn::ShiftRightBytes<8>(d16, two));
    sum = pair_mul_add(d32, taps, weight_pair(d32, weights + k), sum);
  }
  return hn::ShiftRight<kPixelShift>(sum);
}

#endif

HWY_NOINLINE void blend_rows_impl(const std::uint8_t* src, std::ptrdiff_t stride, int valid,
                                  const std::uint16_t* weights, int count, int bytes,
                                  std::int16_t* out) {
  int i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::Repartition<std::int16_t, FullBytes> d16;
  constexpr int kStep = static_cast<int>(hn::MaxLanes(d16));
  for (; i + kStep <= bytes; i += kStep)
    blend_rows_at(d16, src + i, stride, valid, weights, count, out + i);
  if (i < bytes && bytes >= kStep) {
    i = bytes - kStep;
    blend_rows_at(d16, src + i, stride, valid, weights, count, out + i);
    return;
  }
#endif
  for (; i < bytes; ++i) {
    int sum = kRowRound;
    for (int k = 0; k < count; ++k) sum += weights[k] * src[std::min(k, valid - 1) * stride + i];
    out[i] = static_cast<std::int16_t>(sum >> kRowShift);
  }
}

#if HWY_TARGET != HWY_SCALAR
// Returns the number of pixels done: all but the last 0…3.
template <int kCount>
HWY_INLINE int blend_columns_by_4(const std::int16_t* row, const int* first,
                                  const std::uint16_t* weights, int count, int pixels,
                                  std::uint8_t* dst) {
  const Block d8;
  int i = 0;
  for (; i + 4 <= pixels; i += 4) {
    const auto at = [&](int j) HWY_ATTR {
      return blend_pixel<kCount>(row + 4 * std::ptrdiff_t{first[i + j]},
                                 weights + std::ptrdiff_t{i + j} * count, count);
    };
    hn::StoreU(pack_bytes(d8, at(0), at(1), at(2), at(3)), d8, dst + 4 * i);
  }
  return i;
}
#endif

HWY_NOINLINE void blend_columns_impl(const std::int16_t* row, const int* first,
                                     const std::uint16_t* weights, int count, int pixels,
                                     std::uint8_t* dst) {
  int i = 0;
#if HWY_TARGET != HWY_SCALAR
  if (count == 2) {
    i = blend_columns_by_4<2>(row, first, weights, count, pixels, dst);
  } else if (count == 4) {
    i = blend_columns_by_4<4>(row, first, weights, count, pixels, dst);
  } else {
    i = blend_columns_by_4<0>(row, first, weights, count, pixels, dst);
  }
#endif
  for (; i < pixels; ++i) {
    const std::int16_t* taps = row + 4 * std::ptrdiff_t{first[i]};
    const std::uint16_t* w = weights + std::ptrdiff_t{i} * count;
    for (int c = 0; c < 4; ++c) {
      int sum = kPixelRound;
      for (int k = 0; k < count; ++k) sum += w[k] * taps[4 * k + c];
      dst[4 * i + c] = static_cast<std::uint8_t>(sum >> kPixelShift);
    }
  }
}

}  // namespace kvm::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
