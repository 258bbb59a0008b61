// The edges of the deblocking filter against plain loops, on every instruction set.
#include "encode/screen/deblock_edge.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>

#include "pixels.hpp"

namespace kvm {
namespace {

using screen::BoundaryStrengths;
using screen::EdgeStrength;

// ITU-T H.264, 8.7.2.3 and 8.7.2.4, of one row of pixels: p3 p2 p1 p0 q0 q1 q2 q3.
void filter_plainly(std::array<int, 8>& x, const EdgeStrength& strength, int tc0, bool chroma) {
  const auto [p3, p2, p1, p0, q0, q1, q2, q3] = x;
  const int beta = strength.beta;
  if (std::abs(p0 - q0) >= strength.alpha || std::abs(p1 - p0) >= beta || std::abs(q1 - q0) >= beta)
    return;
  const bool ap = std::abs(p2 - p0) < beta;
  const bool aq = std::abs(q2 - q0) < beta;
  if (strength.strongest) {
    const bool small = std::abs(p0 - q0) < (strength.alpha >> 2) + 2;
    if (!chroma && ap && small) {
      x[3] = (p2 + 2 * p1 + 2 * p0 + 2 * q0 + q1 + 4) >> 3;
      x[2] = (p2 + p1 + p0 + q0 + 2) >> 2;
      x[1] = (2 * p3 + 3 * p2 + p1 + p0 + q0 + 4) >> 3;
    } else {
      x[3] = (2 * p1 + p0 + q1 + 2) >> 2;
    }
    if (!chroma && aq && small) {
      x[4] = (p1 + 2 * p0 + 2 * q0 + 2 * q1 + q2 + 4) >> 3;
      x[5] = (p0 + q0 + q1 + q2 + 2) >> 2;
      x[6] = (2 * q3 + 3 * q2 + q1 + q0 + p0 + 4) >> 3;
    } else {
      x[4] = (2 * q1 + q0 + p1 + 2) >> 2;
    }
    return;
  }
  if (tc0 < 0) return;  // bS 0
  const int tc = chroma ? tc0 + 1 : tc0 + (ap ? 1 : 0) + (aq ? 1 : 0);
  const int delta = std::clamp((((q0 - p0) << 2) + (p1 - q1) + 4) >> 3, -tc, tc);
  x[3] = std::clamp(p0 + delta, 0, 255);
  x[4] = std::clamp(q0 - delta, 0, 255);
  if (chroma) return;
  if (ap) x[2] = p1 + std::clamp((p2 + ((p0 + q0 + 1) >> 1) - (p1 << 1)) >> 1, -tc0, tc0);
  if (aq) x[5] = q1 + std::clamp((q2 + ((p0 + q0 + 1) >> 1) - (q1 << 1)) >> 1, -tc0, tc0);
}

constexpr int kStride = 48;
using Block = std::array<std::uint8_t, kStride * 24>;

void filter_plainly(Block& block, int at, int step, int next, int count,
                    const EdgeStrength& strength, bool chroma) {
  for (int i = 0; i < count; ++i) {
    const auto pixel = [&](int k) -> std::uint8_t& {
      return block[static_cast<std::size_t>(at + i * next + (k - 4) * step)];
    };
    std::array<int, 8> x{};
    for (int k = 0; k < 8; ++k) x[static_cast<std::size_t>(k)] = pixel(k);
    filter_plainly(x, strength, strength.tc0[static_cast<std::size_t>(i * 4 / count)], chroma);
    for (int k = 0; k < 8; ++k)
      pixel(k) = static_cast<std::uint8_t>(x[static_cast<std::size_t>(k)]);
  }
}

TEST_CASE("edges are filtered as the standard says") {
  test::on_every_target([] {
    std::mt19937 random(7);
    int filtered = 0;
    for (int round = 0; round < 6000; ++round) {
      const int quantiser = test::uniform(random, 0, 51);
      BoundaryStrengths strengths{};
      if (round % 3 == 0) {
        strengths.fill(4);
      } else {
        for (std::uint8_t& one : strengths)
          one = static_cast<std::uint8_t>(test::uniform(random, 0, 3));
      }
      const bool any = quantiser >= 16 && strengths != BoundaryStrengths{};
      REQUIRE(screen::is_filtered(quantiser, strengths) == any);
      if (!any) continue;
      const EdgeStrength strength = screen::edge_strength(quantiser, strengths);
      // Near each other more often than not, extremes too.
      const int base = test::uniform(random, 0, 255);
      const int spread = 1 << test::uniform(random, 0, 8);
      std::array<Block, 2> before;
      for (Block& block : before) {
        for (std::uint8_t& one : block) {
          one = static_cast<std::uint8_t>(
              std::clamp(base + test::uniform(random, -spread, spread), 0, 255));
        }
      }
      constexpr int kAt = 5 * kStride + 13;
      const bool across = round % 2 == 0;
      const int step = across ? 1 : kStride;
      const int next = across ? kStride : 1;

      std::array<Block, 2> wanted = before;
      std::array<Block, 2> got = before;
      filter_plainly(wanted[0], kAt, step, next, 16, strength, false);
      (across ? screen::deblock_luma_across : screen::deblock_luma_down)(got[0].data() + kAt,
                                                                         kStride, strength);
      REQUIRE(wanted[0] == got[0]);
      filtered += wanted[0] != before[0] ? 1 : 0;

      wanted = got = before;
      for (Block& block : wanted) filter_plainly(block, kAt, step, next, 8, strength, true);
      (across ? screen::deblock_chroma_across : screen::deblock_chroma_down)(
          {got[0].data() + kAt, got[1].data() + kAt}, kStride, strength);
      REQUIRE(wanted == got);
    }
    CHECK(filtered > 1500);
  });
}

}  // namespace
}  // namespace kvm
