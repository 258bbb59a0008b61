// How far blocks of pixels are from each other. Each call picks the best instruction set of this
// machine; all give the same numbers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "encode/screen/predict.hpp"

namespace kvm::screen {

// Sum of absolute differences of two 16×16 blocks; may stop early above `limit`.
[[nodiscard]] int difference16(const std::uint8_t* a, std::ptrdiff_t a_stride,
                               const std::uint8_t* b, std::ptrdiff_t b_stride,
                               int limit = std::numeric_limits<int>::max()) noexcept;
// Of a 16×16 block to those a pixel above `b`, below it, left and right of it.
void differences_around16(const std::uint8_t* a, std::ptrdiff_t a_stride, const std::uint8_t* b,
                          std::ptrdiff_t b_stride, std::array<int, 4>& out) noexcept;
// Of two blocks of `rows`, an even number.
[[nodiscard]] int difference16_rows(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                    const std::uint8_t* b, std::ptrdiff_t b_stride,
                                    int rows) noexcept;
[[nodiscard]] int difference8_rows(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                   const std::uint8_t* b, std::ptrdiff_t b_stride,
                                   int rows) noexcept;
// Sum of squares.
[[nodiscard]] int squared_difference16(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                       const std::uint8_t* b, std::ptrdiff_t b_stride) noexcept;

// A macroblock's luma, or its Cb and Cr in 4:2:0: as they should look, and where they stand in the
// picture. Planes have the same stride.
template <std::size_t kPlanes>
struct IntraBlocks {
  std::array<const std::uint8_t*, kPlanes> source;
  std::ptrdiff_t source_stride = 0;
  std::array<const std::uint8_t*, kPlanes> pixels;
  std::ptrdiff_t stride = 0;
};
// Sum of absolute differences to what each mode that the neighbours allow predicts, by the mode's
// number; others are left alone.
void intra_differences(Neighbours neighbours, const IntraBlocks<1>& luma,
                       std::array<int, kIntraModes>& out) noexcept;
void intra_differences(Neighbours neighbours, const IntraBlocks<2>& chroma,
                       std::array<int, kIntraModes>& out) noexcept;

}  // namespace kvm::screen
