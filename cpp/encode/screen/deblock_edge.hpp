// Filtering across one edge (ITU-T H.264, 8.7.2.2 to 8.7.2.4). Each call picks the best instruction
// set of this machine; all give the same bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvm::screen {

// How hard an edge is filtered: what tables 8-16 and 8-17 make of its quantiser and its bS.
struct EdgeStrength {
  int alpha = 0;
  int beta = 0;
  bool strongest = false;  // bS 4 all along it
  // tC0 of each quarter of the edge; below 0 where bS is 0. Not read when it is the strongest.
  std::array<std::int16_t, 4> tc0{};
};

// bS 0 … 4 of each quarter of an edge; 4 is that of all or of none.
using BoundaryStrengths = std::array<std::uint8_t, 4>;

// `quantiser`: qPav, the mean of both sides. Below 16 alpha and beta are 0, and nothing is
// filtered.
[[nodiscard]] inline bool is_filtered(int quantiser, const BoundaryStrengths& strengths) noexcept {
  constexpr int kFirstFiltered = 16;
  return quantiser >= kFirstFiltered && strengths != BoundaryStrengths{};
}
// Where it is.
[[nodiscard]] EdgeStrength edge_strength(int quantiser,
                                         const BoundaryStrengths& strengths) noexcept;

// The 16 pixels on both sides of an edge as luma's are; in 4:4:4 of any plane. `pixels`: the first
// one behind the edge (q0).
void deblock_luma_across(std::uint8_t* pixels, std::ptrdiff_t stride,
                         const EdgeStrength& strength) noexcept;  // an upright edge
void deblock_luma_down(std::uint8_t* pixels, std::ptrdiff_t stride,
                       const EdgeStrength& strength) noexcept;  // a level one
// Of Cb and Cr in 4:2:0, 8 pixels of each. Four columns before an upright edge and as many behind
// it are read and written.
void deblock_chroma_across(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                           const EdgeStrength& strength) noexcept;
void deblock_chroma_down(const std::array<std::uint8_t*, 2>& pixels, std::ptrdiff_t stride,
                         const EdgeStrength& strength) noexcept;

}  // namespace kvm::screen
