// Chroma at the vectors of luma (ITU-T H.264, 8.4.2.2.2).
#include "encode/screen/predict.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/compensate.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

// (8-270) with fractions of 0 and 4 eighths: the mean of two pixels that lie `offset` apart, or of
// four.
HWY_INLINE void mean_of_2(const std::uint8_t* from, std::ptrdiff_t offset, std::uint8_t* out,
                          int count) {
  for (int i = 0; i < count; ++i)
    out[i] = static_cast<std::uint8_t>((from[i] + from[i + offset] + 1) >> 1);
}
HWY_INLINE void mean_of_4(const std::uint8_t* from, std::ptrdiff_t stride, std::uint8_t* out,
                          int count) {
  const std::uint8_t* below = from + stride;
  for (int i = 0; i < count; ++i) {
    out[i] = static_cast<std::uint8_t>((from[i] + from[i + 1] + below[i] + below[i + 1] + 2) >> 2);
  }
}

#if HWY_TARGET != HWY_SCALAR

namespace hn = hwy::HWY_NAMESPACE;

template <int kCount>
HWY_INLINE void mean_of_2(const std::uint8_t* from, std::ptrdiff_t offset, std::uint8_t* out) {
  const hn::FixedTag<std::uint8_t, kCount> d;
  hn::StoreU(hn::AverageRound(hn::LoadU(d, from), hn::LoadU(d, from + offset)), d, out);
}
template <int kCount>
HWY_INLINE void mean_of_4(const std::uint8_t* from, std::ptrdiff_t stride, std::uint8_t* out) {
  const hn::FixedTag<std::uint8_t, kCount> d;
  const hn::FixedTag<std::int16_t, kCount> wide;
  const auto at = [&](std::ptrdiff_t offset) {
    return hn::PromoteTo(wide, hn::LoadU(d, from + offset));
  };
  const auto sum = hn::Add(hn::Add(at(0), at(1)), hn::Add(at(stride), at(stride + 1)));
  hn::StoreU(hn::DemoteTo(d, hn::ShiftRight<2>(hn::Add(sum, hn::Set(wide, 2)))), d, out);
}

#endif

void compensate_impl(const std::uint8_t* from, std::ptrdiff_t stride, bool half_x, bool half_y,
                     std::uint8_t* out, std::ptrdiff_t out_stride, int width, int height) {
  const std::ptrdiff_t offset = half_x ? 1 : stride;
  for (int y = 0; y < height; ++y, from += stride, out += out_stride) {
    int x = 0;
    if (half_x && half_y) {
#if HWY_TARGET != HWY_SCALAR
      for (; x + 8 <= width; x += 8) mean_of_4<8>(from + x, stride, out + x);
#endif
      mean_of_4(from + x, stride, out + x, width - x);
    } else {
#if HWY_TARGET != HWY_SCALAR
      for (; x + 16 <= width; x += 16) mean_of_2<16>(from + x, offset, out + x);
      for (; x + 8 <= width; x += 8) mean_of_2<8>(from + x, offset, out + x);
#endif
      mean_of_2(from + x, offset, out + x, width - x);
    }
  }
}

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {

HWY_EXPORT(compensate_impl);

void compensate_chroma(const Plane& reference, const Rect& to, Vector luma_vector,
                       std::uint8_t* out, std::ptrdiff_t out_stride) noexcept {
  // Arithmetic shifts: towards the left and the top, as (8-229) has it.
  const std::uint8_t* from = reference.at(to.x + (luma_vector.x >> 1), to.y + (luma_vector.y >> 1));
  const bool half_x = (luma_vector.x & 1) != 0;
  const bool half_y = (luma_vector.y & 1) != 0;
  if (!half_x && !half_y)
    return copy_pixels(from, reference.stride, out, out_stride, to.width, to.height);
  HWY_DYNAMIC_DISPATCH(compensate_impl)
  (from, reference.stride, half_x, half_y, out, out_stride, to.width, to.height);
}

}  // namespace kvm::screen
#endif
