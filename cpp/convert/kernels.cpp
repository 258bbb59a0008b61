#include "convert/kernels.hpp"

// The kernels are written for vectors of a size known at compile time; NEON serves AArch64.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// This file and the -inl headers are compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "convert/kernels.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include "convert/blend-inl.hpp"
#include "convert/tiles-inl.hpp"
#include "convert/yuv-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::kernels::HWY_NAMESPACE {

const char* target_name_impl() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace kvm::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::kernels {

HWY_EXPORT(convert_rect_impl);
HWY_EXPORT(differing_tiles_impl);
HWY_EXPORT(blend_rows_impl);
HWY_EXPORT(blend_columns_impl);
HWY_EXPORT(target_name_impl);

void convert_rect(PixelFormat format, const std::uint8_t* src, std::ptrdiff_t src_stride, int width,
                  int height, const CpuPlanes& dst) {
  HWY_DYNAMIC_DISPATCH(convert_rect_impl)(format, src, src_stride, width, height, dst);
}

std::uint64_t differing_tiles(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                              std::ptrdiff_t b_stride, int tiles, int rows) {
  return HWY_DYNAMIC_DISPATCH(differing_tiles_impl)(a, a_stride, b, b_stride, tiles, rows);
}

void blend_rows(const std::uint8_t* src, std::ptrdiff_t stride, int valid,
                const std::uint16_t* weights, int count, int bytes, std::int16_t* out) {
  HWY_DYNAMIC_DISPATCH(blend_rows_impl)(src, stride, valid, weights, count, bytes, out);
}

void blend_columns(const std::int16_t* row, const int* first, const std::uint16_t* weights,
                   int count, int pixels, std::uint8_t* dst) {
  HWY_DYNAMIC_DISPATCH(blend_columns_impl)(row, first, weights, count, pixels, dst);
}

const char* target_name() {
  return HWY_DYNAMIC_DISPATCH(target_name_impl)();
}

#if defined(HWY_COMPILE_ONLY_STATIC)  // one instruction set, chosen when compiling
std::vector<std::int64_t> targets() {
  return {HWY_STATIC_TARGET};
}

void force_target(std::int64_t /*target*/) {}
#else
std::vector<std::int64_t> targets() {
  return hwy::SupportedAndGeneratedTargets();
}

void force_target(std::int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}
#endif

}  // namespace kvm::kernels
#endif
