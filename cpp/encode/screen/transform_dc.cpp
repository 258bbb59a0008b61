// The DC coefficients that are transformed once more (ITU-T H.264, 8.5.10 and 8.5.11).
#include <algorithm>
#include <array>
#include <cstdlib>

#include "encode/screen/scales.hpp"
#include "encode/screen/transform.hpp"

namespace kvm::screen {
namespace {

[[nodiscard]] int to_level(int coefficient, int scale, int offset, int shift) noexcept {
  const int magnitude = std::min(kLargestLevel, (std::abs(coefficient) * scale + offset) >> shift);
  return coefficient < 0 ? -magnitude : magnitude;
}

// Sums of sixteen: they do not fit into 16 bits where a whole macroblock differs by half the range.
[[nodiscard]] std::array<int, 16> hadamard(const Block4& block) noexcept {
  std::array<int, 16> t;
  for (std::size_t i = 0; i < 16; i += 4) {
    const int a = block[i] + block[i + 1];
    const int b = block[i] - block[i + 1];
    const int c = block[i + 2] + block[i + 3];
    const int d = block[i + 2] - block[i + 3];
    t[i] = a + c;
    t[i + 1] = a - c;
    t[i + 2] = b - d;
    t[i + 3] = b + d;
  }
  for (std::size_t i = 0; i < 4; ++i) {
    const int a = t[i] + t[i + 4];
    const int b = t[i] - t[i + 4];
    const int c = t[i + 8] + t[i + 12];
    const int d = t[i + 8] - t[i + 12];
    t[i] = a + c;
    t[i + 4] = a - c;
    t[i + 8] = b - d;
    t[i + 12] = b + d;
  }
  return t;
}

void chroma_hadamard(ChromaDc& dc) noexcept {
  const int a = dc[0] + dc[1];
  const int b = dc[0] - dc[1];
  const int c = dc[2] + dc[3];
  const int d = dc[2] - dc[3];
  dc = {static_cast<std::int16_t>(a + c), static_cast<std::int16_t>(b + d),
        static_cast<std::int16_t>(a - c), static_cast<std::int16_t>(b - d)};
}

}  // namespace

int chroma_quantiser(int quantiser) noexcept {
  static constexpr std::array<std::uint8_t, 22> kFrom30{29, 30, 31, 32, 32, 33, 34, 34, 35, 35, 36,
                                                        36, 37, 37, 37, 38, 38, 38, 39, 39, 39, 39};
  return quantiser < 30 ? quantiser : kFrom30[static_cast<std::size_t>(quantiser - 30)];
}

bool quantise_luma_dc(Block4& dc, int quantiser) noexcept {
  const Step step = step_of(quantiser);
  const std::array<int, 16> sums = hadamard(dc);
  const int shift = 16 + step.octave;
  const int offset = rounding_offset(shift, Rounding::kIntra);
  int any = 0;
  for (std::size_t i = 0; i < 16; ++i) {
    const int half = (sums[i] + 1) >> 1;
    const int level = to_level(half, kForwardClasses[step.rest][0], offset, shift);
    dc[i] = static_cast<std::int16_t>(level);
    any |= level;
  }
  return any != 0;
}

void dequantise_luma_dc(Block4& dc, int quantiser) noexcept {  // 8.5.10
  const Step step = step_of(quantiser);
  const std::array<int, 16> sums = hadamard(dc);
  const int scale = 16 * kInverseClasses[step.rest][0];
  for (std::size_t i = 0; i < 16; ++i) {
    const int scaled = step.octave >= 6
                           ? sums[i] * scale << (step.octave - 6)
                           : (sums[i] * scale + (1 << (5 - step.octave))) >> (6 - step.octave);
    dc[i] = static_cast<std::int16_t>(scaled);
  }
}

bool quantise_chroma_dc(ChromaDc& dc, int quantiser, Rounding rounding) noexcept {
  const Step step = step_of(quantiser);
  chroma_hadamard(dc);
  const int shift = 16 + step.octave;
  const int offset = rounding_offset(shift, rounding);
  int any = 0;
  for (std::int16_t& value : dc) {
    const int level = to_level(value, kForwardClasses[step.rest][0], offset, shift);
    value = static_cast<std::int16_t>(level);
    any |= level;
  }
  return any != 0;
}

void dequantise_chroma_dc(ChromaDc& dc, int quantiser) noexcept {  // 8.5.11.2
  const Step step = step_of(quantiser);
  chroma_hadamard(dc);
  const int scale = 16 * kInverseClasses[step.rest][0];
  for (std::int16_t& value : dc)
    value = static_cast<std::int16_t>((value * scale << step.octave) >> 5);
}

}  // namespace kvm::screen
