#include "encode/screen/transform.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// The loops below are plain C++ over neighbouring blocks, which compilers turn into vectors; this
// file is compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/transform.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <cstring>

#include "encode/screen/residual.hpp"
#include "encode/screen/scales.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

// One plane's blocks: kCols × kRows of them, at [kFirst …] of kCount side by side.
template <std::size_t kCols, std::size_t kRows, std::size_t kFirst, std::size_t kCount>
HWY_INLINE void take_differences(const std::uint8_t* HWY_RESTRICT source,
                                 std::ptrdiff_t source_stride,
                                 const std::uint8_t* HWY_RESTRICT prediction,
                                 std::ptrdiff_t prediction_stride,
                                 std::int16_t (*HWY_RESTRICT out)[kCount]) {
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t y = 0; y < 4; ++y) {
      std::int16_t line[kCols * 4];
      for (std::size_t x = 0; x < kCols * 4; ++x) {
        line[x] = static_cast<std::int16_t>(source[x] - prediction[x]);
      }
      for (std::size_t col = 0; col < kCols; ++col) {
        for (std::size_t x = 0; x < 4; ++x)
          out[y * 4 + x][kFirst + row * kCols + col] = line[col * 4 + x];
      }
      source += source_stride;
      prediction += prediction_stride;
    }
  }
}

// 8.5.8 the other way round, of all blocks.
template <std::size_t kCount>
HWY_INLINE void transform_all(std::int16_t (*HWY_RESTRICT d)[kCount]) {
  const auto pass = [&](std::size_t first, std::size_t step) {
    std::int16_t* HWY_RESTRICT p0 = d[first];
    std::int16_t* HWY_RESTRICT p1 = d[first + step];
    std::int16_t* HWY_RESTRICT p2 = d[first + 2 * step];
    std::int16_t* HWY_RESTRICT p3 = d[first + 3 * step];
    for (std::size_t n = 0; n < kCount; ++n) {
      const auto a = static_cast<std::int16_t>(p0[n] + p3[n]);
      const auto b = static_cast<std::int16_t>(p1[n] + p2[n]);
      const auto c = static_cast<std::int16_t>(p1[n] - p2[n]);
      const auto e = static_cast<std::int16_t>(p0[n] - p3[n]);
      p0[n] = static_cast<std::int16_t>(a + b);
      p1[n] = static_cast<std::int16_t>(2 * e + c);
      p2[n] = static_cast<std::int16_t>(a - b);
      p3[n] = static_cast<std::int16_t>(e - 2 * c);
    }
  };
  for (std::size_t y = 0; y < 4; ++y) pass(y * 4, 1);
  for (std::size_t x = 0; x < 4; ++x) pass(x, 4);
}

template <std::size_t kCount>
HWY_INLINE std::uint32_t quantise_all(Blocks<kCount>& blocks, int quantiser, int offset) {
  const Step step = step_of(quantiser);
  const int shift = 15 + step.octave;
  std::int16_t any[kCount] = {};
  for (std::size_t i = 0; i < 16; ++i) {
    const int scale = kScales.forward[step.rest][i];
    std::int16_t* HWY_RESTRICT values = blocks.at[i].data();
    for (std::size_t n = 0; n < kCount; ++n) {
      const int value = values[n];
      const int magnitude = ((value < 0 ? -value : value) * scale + offset) >> shift;
      const int limited = magnitude < kLargestLevel ? magnitude : kLargestLevel;
      values[n] = static_cast<std::int16_t>(value < 0 ? -limited : limited);
      any[n] = static_cast<std::int16_t>(any[n] | limited);
    }
  }
  std::uint32_t mask = 0;
  for (std::size_t n = 0; n < kCount; ++n) mask |= any[n] != 0 ? 1U << n : 0U;
  return mask;
}

// 8.5.12: levels → differences, which replace them.
template <std::size_t kCount>
HWY_INLINE void inverse_all(const Blocks<kCount>& levels, const std::int16_t* dc, int quantiser,
                            std::int16_t (*HWY_RESTRICT out)[kCount]) {
  const Step step = step_of(quantiser);
  int t[16][kCount];
  for (std::size_t i = 0; i < 16; ++i) {
    const int scale = kScales.inverse[step.rest][i] << step.octave;
    for (std::size_t n = 0; n < kCount; ++n) t[i][n] = levels.at[i][n] * scale;
  }
  if (dc != nullptr) {
    for (std::size_t n = 0; n < kCount; ++n) t[0][n] = dc[n];
  }
  const auto pass = [&](std::size_t first, std::size_t stride) {
    int* HWY_RESTRICT p0 = t[first];
    int* HWY_RESTRICT p1 = t[first + stride];
    int* HWY_RESTRICT p2 = t[first + 2 * stride];
    int* HWY_RESTRICT p3 = t[first + 3 * stride];
    for (std::size_t n = 0; n < kCount; ++n) {
      const int e = p0[n] + p2[n];
      const int f = p0[n] - p2[n];
      const int g = (p1[n] >> 1) - p3[n];
      const int h = p1[n] + (p3[n] >> 1);
      p0[n] = e + h;
      p1[n] = f + g;
      p2[n] = f - g;
      p3[n] = e - h;
    }
  };
  for (std::size_t y = 0; y < 4; ++y) pass(y * 4, 1);
  for (std::size_t x = 0; x < 4; ++x) pass(x, 4);
  for (std::size_t i = 0; i < 16; ++i) {
    for (std::size_t n = 0; n < kCount; ++n)
      out[i][n] = static_cast<std::int16_t>((t[i][n] + 32) >> 6);
  }
}

template <std::size_t kCols, std::size_t kRows, std::size_t kFirst, std::size_t kCount>
HWY_INLINE void add_differences(const std::int16_t (*HWY_RESTRICT differences)[kCount],
                                std::uint8_t* HWY_RESTRICT pixels, std::ptrdiff_t stride) {
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t y = 0; y < 4; ++y) {
      std::int16_t line[kCols * 4];
      for (std::size_t col = 0; col < kCols; ++col) {
        for (std::size_t x = 0; x < 4; ++x)
          line[col * 4 + x] = differences[y * 4 + x][kFirst + row * kCols + col];
      }
      for (std::size_t x = 0; x < kCols * 4; ++x) {
        const int value = pixels[x] + line[x];
        pixels[x] = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
      }
      pixels += stride;
    }
  }
}

void forward_luma_impl(const std::uint8_t* source, std::ptrdiff_t source_stride,
                       const std::uint8_t* prediction, std::ptrdiff_t prediction_stride,
                       LumaBlocks& out) {
  std::int16_t d[16][16];
  take_differences<4, 4, 0, 16>(source, source_stride, prediction, prediction_stride, d);
  transform_all<16>(d);
  std::memcpy(&out, d, sizeof d);
}

void forward_chroma_impl(const std::array<const std::uint8_t*, 2>& source,
                         std::ptrdiff_t source_stride,
                         const std::array<const std::uint8_t*, 2>& prediction,
                         std::ptrdiff_t prediction_stride, ChromaBlocks& out) {
  std::int16_t d[16][8];
  take_differences<2, 2, 0, 8>(source[0], source_stride, prediction[0], prediction_stride, d);
  take_differences<2, 2, 4, 8>(source[1], source_stride, prediction[1], prediction_stride, d);
  transform_all<8>(d);
  std::memcpy(&out, d, sizeof d);
}

std::uint32_t quantise_luma_impl(LumaBlocks& blocks, int quantiser, int offset) {
  return quantise_all(blocks, quantiser, offset);
}
std::uint32_t quantise_chroma_impl(ChromaBlocks& blocks, int quantiser, int offset) {
  return quantise_all(blocks, quantiser, offset);
}

void add_luma_impl(const LumaBlocks& levels, const std::int16_t* dc, int quantiser,
                   std::uint8_t* pixels, std::ptrdiff_t stride) {
  std::int16_t differences[16][16];
  inverse_all<16>(levels, dc, quantiser, differences);
  add_differences<4, 4, 0, 16>(differences, pixels, stride);
}

void add_chroma_impl(const ChromaBlocks& levels, const std::int16_t* dc, int quantiser,
                     const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride) {
  std::int16_t differences[16][8];
  inverse_all<8>(levels, dc, quantiser, differences);
  add_differences<2, 2, 0, 8>(differences, pixels[0], stride);
  add_differences<2, 2, 4, 8>(differences, pixels[1], stride);
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
std::uint32_t quantise(LumaBlocks& blocks, int quantiser, Rounding rounding) noexcept {
  const int offset = rounding_offset(15 + quantiser / 6, rounding);
  return HWY_DYNAMIC_DISPATCH(quantise_luma_impl)(blocks, quantiser, offset);
}
std::uint32_t quantise(ChromaBlocks& blocks, int quantiser, Rounding rounding) noexcept {
  const int offset = rounding_offset(15 + quantiser / 6, rounding);
  return HWY_DYNAMIC_DISPATCH(quantise_chroma_impl)(blocks, quantiser, offset);
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
