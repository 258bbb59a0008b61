// Sums of absolute differences of 16 bytes. Highway 1.0.3 has those of one vector alone.
// Included once per target by foreach_target.h, hence the guard that toggles.
#if defined(KVM_SCREEN_APART_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVM_SCREEN_APART_INL_HPP
#undef KVM_SCREEN_APART_INL_HPP
#else
#define KVM_SCREEN_APART_INL_HPP
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR

namespace hn = hwy::HWY_NAMESPACE;
using Bytes16 = hn::FixedTag<std::uint8_t, 16>;
using Sums8 = hn::FixedTag<std::uint64_t, 2>;

// Of each eight.
HWY_INLINE hn::Vec<Sums8> apart(hn::Vec<Bytes16> a, hn::Vec<Bytes16> b) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128
  return hn::Vec<Sums8>{_mm_sad_epu8(a.raw, b.raw)};
#else
  return hn::SumsOf8(hn::Or(hn::SaturatedSub(a, b), hn::SaturatedSub(b, a)));
#endif
}
HWY_INLINE int total(hn::Vec<Sums8> sums) {
  return static_cast<int>(hn::GetLane(hn::SumOfLanes(Sums8(), sums)));
}

#endif

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
