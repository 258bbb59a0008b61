// coded_block_pattern in CAVLC: table 9-4 of ITU-T H.264, the other way round.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "frame/config.hpp"

namespace kvm::screen {

template <std::size_t kCount>
[[nodiscard]] consteval std::array<std::uint8_t, kCount> codes_of_patterns(
    const std::array<std::uint8_t, kCount>& patterns) {
  std::array<std::uint8_t, kCount> codes{};
  for (std::size_t i = 0; i < kCount; ++i) codes[patterns[i]] = static_cast<std::uint8_t>(i);
  return codes;
}

// For ChromaArrayType 1: what belongs to codeNum 0, 1, ….
inline constexpr auto kIntra4Codes =
    codes_of_patterns<48>({47, 31, 15, 0,  23, 27, 29, 30, 7,  11, 13, 14, 39, 43, 45, 46,
                           16, 3,  5,  10, 12, 19, 21, 26, 28, 35, 37, 42, 44, 1,  2,  4,
                           8,  17, 18, 20, 24, 6,  9,  22, 25, 32, 33, 34, 36, 40, 38, 41});
inline constexpr auto kInterCodes =
    codes_of_patterns<48>({0,  16, 1,  2,  4,  8,  32, 3,  5,  10, 12, 15, 47, 7,  11, 13,
                           14, 6,  9,  31, 35, 37, 42, 44, 33, 34, 36, 40, 39, 43, 45, 46,
                           17, 18, 20, 24, 19, 21, 26, 28, 23, 27, 29, 30, 22, 25, 38, 41});
// For ChromaArrayType 3, whose Cb and Cr have no pattern of their own.
inline constexpr auto kIntra4Codes444 =
    codes_of_patterns<16>({15, 0, 7, 11, 13, 14, 3, 5, 10, 12, 1, 2, 4, 8, 6, 9});
inline constexpr auto kInterCodes444 =
    codes_of_patterns<16>({0, 1, 2, 4, 8, 3, 5, 10, 12, 15, 7, 11, 13, 14, 6, 9});

[[nodiscard]] inline std::uint32_t intra4_code(unsigned pattern, Chroma chroma) noexcept {
  return chroma == Chroma::k444 ? kIntra4Codes444[pattern] : kIntra4Codes[pattern];
}
[[nodiscard]] inline std::uint32_t inter_code(unsigned pattern, Chroma chroma) noexcept {
  return chroma == Chroma::k444 ? kInterCodes444[pattern] : kInterCodes[pattern];
}

}  // namespace kvm::screen
