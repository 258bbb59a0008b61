// Narrowing and pairwise multiply-add, which Highway 1.0.3 has no portable and cheap form of.
// Included once per target by foreach_target.h, hence the guard that toggles.
#if defined(KVM_CONVERT_SIMD_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVM_CONVERT_SIMD_INL_HPP
#undef KVM_CONVERT_SIMD_INL_HPP
#else
#define KVM_CONVERT_SIMD_INL_HPP
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR

// x86 has its longest vectors at hand; elsewhere 16 bytes, which every target has and the code
// below relies on.
#if HWY_ARCH_X86
using FullBytes = hn::ScalableTag<std::uint8_t>;
#else
using FullBytes = hn::FixedTag<std::uint8_t, 16>;
#endif
using Block = hn::FixedTag<std::uint8_t, 16>;

// 32-bit lane i = a[2i]·b[2i] + a[2i+1]·b[2i+1] + sum[i].
template <class D32, class V16>
HWY_INLINE hn::Vec<D32> pair_mul_add(D32 d32, V16 a, V16 b, hn::Vec<D32> sum) {
  hn::Vec<D32> odd = hn::Zero(d32);
  sum = hn::ReorderWidenMulAccumulate(d32, a, b, sum, odd);
  return hn::RearrangeToOddPlusEven(sum, odd);
}

// pack(): two vectors into one of half the lane width, within each 16-byte block (lo's part, then
// hi's part): the mirror image of InterleaveLower/InterleaveUpper. Saturates. x86 has an
// instruction for just this, and undoing the block order once after several packs is cheaper than
// after each, as Highway's ordered forms do.
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128
HWY_INLINE hn::Vec128<std::int16_t> pack(hn::Vec128<std::int32_t> lo, hn::Vec128<std::int32_t> hi) {
  return hn::Vec128<std::int16_t>{_mm_packs_epi32(lo.raw, hi.raw)};
}
HWY_INLINE hn::Vec128<std::uint8_t> pack(hn::Vec128<std::int16_t> lo, hn::Vec128<std::int16_t> hi) {
  return hn::Vec128<std::uint8_t>{_mm_packus_epi16(lo.raw, hi.raw)};
}
#if HWY_TARGET <= HWY_AVX2
HWY_INLINE hn::Vec256<std::int16_t> pack(hn::Vec256<std::int32_t> lo, hn::Vec256<std::int32_t> hi) {
  return hn::Vec256<std::int16_t>{_mm256_packs_epi32(lo.raw, hi.raw)};
}
HWY_INLINE hn::Vec256<std::uint8_t> pack(hn::Vec256<std::int16_t> lo, hn::Vec256<std::int16_t> hi) {
  return hn::Vec256<std::uint8_t>{_mm256_packus_epi16(lo.raw, hi.raw)};
}
#endif
#if HWY_TARGET <= HWY_AVX3
HWY_INLINE hn::Vec512<std::int16_t> pack(hn::Vec512<std::int32_t> lo, hn::Vec512<std::int32_t> hi) {
  return hn::Vec512<std::int16_t>{_mm512_packs_epi32(lo.raw, hi.raw)};
}
HWY_INLINE hn::Vec512<std::uint8_t> pack(hn::Vec512<std::int16_t> lo, hn::Vec512<std::int16_t> hi) {
  return hn::Vec512<std::uint8_t>{_mm512_packus_epi16(lo.raw, hi.raw)};
}
#endif
#else
template <class V>
HWY_INLINE auto pack(V lo, V hi) {
  using Narrow = std::conditional_t<sizeof(hn::TFromV<V>) == 4, std::int16_t, std::uint8_t>;
  const hn::FixedTag<Narrow, 16 / sizeof(Narrow)> d;
  const hn::Half<decltype(d)> half;
  return hn::Combine(d, hn::DemoteTo(half, hi), hn::DemoteTo(half, lo));
}
#endif

// Four vectors of 32-bit lanes with values 0…255, in order, into bytes, in order.
template <class D8, class V32>
HWY_INLINE hn::Vec<D8> pack_bytes(D8 d8, V32 v0, V32 v1, V32 v2, V32 v3) {
  const auto bytes = pack(pack(v0, v1), pack(v2, v3));
  constexpr std::size_t kBlocks = hn::MaxLanes(d8) / 16;
  if constexpr (kBlocks == 1) {
    return bytes;
  } else {
    // Block b holds the b-th quad of v0, v1, v2, v3.
    const hn::Repartition<std::int32_t, D8> d32;
    alignas(64) static constexpr std::int32_t kOrder2[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    alignas(64) static constexpr std::int32_t kOrder4[16] = {0, 4, 8,  12, 1, 5, 9,  13,
                                                             2, 6, 10, 14, 3, 7, 11, 15};
    const std::int32_t* order = kBlocks == 2 ? kOrder2 : kOrder4;
    return hn::BitCast(
        d8, hn::TableLookupLanes(hn::BitCast(d32, bytes), hn::SetTableIndices(d32, order)));
  }
}

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace kvm::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
