// The SIMD kernels behind convert.hpp and the scaler. Each call picks the best instruction set of
// this machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "frame/frame.hpp"

namespace kvm::kernels {

// Converts width×height BGRA pixels at `src`. The planes of `dst` point to the same place of a
// picture of `format`, which must be on an even row and column. Odd sizes are completed to even
// ones by repeating the last column and row.
void convert_rect(PixelFormat format, const std::uint8_t* src, std::ptrdiff_t src_stride, int width,
                  int height, const CpuPlanes& dst);

// Compares up to 64 neighbouring whole tiles (16 BGRA pixels = 64 bytes wide, `rows` high): bit i
// is set when tile i differs in any byte.
[[nodiscard]] std::uint64_t differing_tiles(const std::uint8_t* a, std::ptrdiff_t a_stride,
                                            const std::uint8_t* b, std::ptrdiff_t b_stride,
                                            int tiles, int rows);

// Fixed point of the scaler: weights are multiples of 2^-14 and add up to 1; a row between the two
// passes is in units of 2^-7 of an 8-bit step (at most 255·2^7, which fits int16).
inline constexpr int kWeightBits = 14;
inline constexpr int kRowBits = 7;

// out[i] = Σ_k weights[k]·src[k·stride + i] for i < bytes. `count` is even; a tap of weight 0 may
// repeat any row, so rows beyond `valid` (≥ 1) are not read.
void blend_rows(const std::uint8_t* src, std::ptrdiff_t stride, int valid,
                const std::uint16_t* weights, int count, int bytes, std::int16_t* out);

// dst pixel i (4 bytes) = Σ_k weights[i·count + k]·row[4·(first[i] + k) …], i < pixels. `count` is
// even; `row` must be readable for all taps, those of weight 0 included.
void blend_columns(const std::int16_t* row, const int* first, const std::uint16_t* weights,
                   int count, int pixels, std::uint8_t* dst);

// Name of the instruction set that the calls above run on.
[[nodiscard]] const char* target_name();

// For tests and benchmarks: the instruction sets that were compiled and that this machine has, and
// restricting the calls above to one of them (0 = free choice again). Process-wide, and not while a
// kernel runs.
[[nodiscard]] std::vector<std::int64_t> targets();
void force_target(std::int64_t target);

}  // namespace kvm::kernels
