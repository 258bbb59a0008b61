// Tile compare. Included once per target by foreach_target.h, hence the guard that toggles.
#if defined(KVM_CONVERT_TILES_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVM_CONVERT_TILES_INL_HPP
#undef KVM_CONVERT_TILES_INL_HPP
#else
#define KVM_CONVERT_TILES_INL_HPP
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "convert/simd-inl.hpp"
#include "frame/geometry.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::kernels::HWY_NAMESPACE {

inline constexpr int kTileBytes = kTile * 4;
inline constexpr int kPrefetchRows = 2;  // a prefetch beyond the picture is harmless

HWY_INLINE bool differs_64(const std::uint8_t* HWY_RESTRICT a, const std::uint8_t* HWY_RESTRICT b) {
#if HWY_TARGET == HWY_SCALAR
  return std::memcmp(a, b, kTileBytes) != 0;
#else
  // 64-bit lanes: the all-equal test of bytes is no faster anywhere, and of 64-bit lanes is on some
  // targets.
  const hn::CappedTag<std::uint8_t, kTileBytes> d;
  const hn::Repartition<std::uint64_t, decltype(d)> d64;
  constexpr int kStep = static_cast<int>(hn::MaxLanes(d));
  auto diff = hn::Xor(hn::LoadU(d, a), hn::LoadU(d, b));
  for (int i = kStep; i < kTileBytes; i += kStep) {
    diff = hn::Or(diff, hn::Xor(hn::LoadU(d, a + i), hn::LoadU(d, b + i)));
  }
  return !hn::AllTrue(d64, hn::Eq(hn::BitCast(d64, diff), hn::Zero(d64)));
#endif
}

HWY_NOINLINE std::uint64_t differing_tiles_impl(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                                const std::uint8_t* b, std::ptrdiff_t b_stride,
                                                int tiles, int rows) {
  // Row by row over the whole run, in memory order, leaving out the tiles already known to differ.
  const std::uint64_t all = tiles == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << tiles) - 1;
  std::uint64_t equal = all;
  for (int row = 0; row < rows && equal != 0; ++row, a += a_stride, b += b_stride) {
    for (std::uint64_t left = equal; left != 0; left &= left - 1) {
      const int tile = std::countr_zero(left);
      const std::ptrdiff_t offset = std::ptrdiff_t{kTileBytes} * tile;
      // Rows lie kilobytes apart, which hardware prefetchers do not see: asked for early, a compare
      // takes a sixth less.
      hwy::Prefetch(a + kPrefetchRows * a_stride + offset);
      hwy::Prefetch(b + kPrefetchRows * b_stride + offset);
      const std::uint64_t differs = differs_64(a + offset, b + offset) ? 1 : 0;
      equal &= ~(differs << tile);
    }
  }
  return all & ~equal;
}

}  // namespace kvm::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
