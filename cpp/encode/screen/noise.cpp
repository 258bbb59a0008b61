#include "encode/screen/noise.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/noise.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <algorithm>

#include "encode/screen/apart-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

constexpr int kInner = 14;  // pixels of a row that have both neighbours

#if HWY_TARGET == HWY_SCALAR

int row_extremes16_impl(const std::uint8_t* luma, std::ptrdiff_t stride) {
  int count = 0;
  for (int y = 0; y < 16; y += 2, luma += 2 * stride) {
    for (int x = 1; x <= kInner; ++x) {
      const auto [low, high] = std::minmax(luma[x - 1], luma[x + 1]);
      count += luma[x] < low || luma[x] > high ? 1 : 0;
    }
  }
  return count;
}

#else

namespace hn = hwy::HWY_NAMESPACE;

int row_extremes16_impl(const std::uint8_t* luma, std::ptrdiff_t stride) {
  const Bytes16 d;
  auto count = hn::Zero(d);
  for (int y = 0; y < 16; y += 2, luma += 2 * stride) {
    // Two lanes look beyond the block, but never beyond the row after it.
    const auto left = hn::LoadU(d, luma);
    const auto here = hn::LoadU(d, luma + 1);
    const auto right = hn::LoadU(d, luma + 2);
    const auto within = hn::Min(hn::Max(here, hn::Min(left, right)), hn::Max(left, right));
    count = hn::Sub(count, hn::VecFromMask(d, hn::Ne(here, within)));
  }
  return total(hn::SumsOf8(hn::IfThenElseZero(hn::FirstN(d, kInner), count)));
}

#endif

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {

HWY_EXPORT(row_extremes16_impl);

int row_extremes16(const std::uint8_t* luma, std::ptrdiff_t stride) noexcept {
  return HWY_DYNAMIC_DISPATCH(row_extremes16_impl)(luma, stride);
}

}  // namespace kvm::screen
#endif
