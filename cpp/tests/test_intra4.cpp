// Intra_4x4 against the clauses' own formulas, on every instruction set.
#include "encode/screen/intra4.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "pixels.hpp"

namespace kvm {
namespace {

using namespace screen;

// A block in the middle of a small picture.
struct Place {
  static constexpr int kStride = 16;
  std::array<std::uint8_t, 16 * kStride> picture{};
  std::uint8_t* pixels = picture.data() + 4 * kStride + 4;
  // p[x, y] of 8.3.1.2.
  [[nodiscard]] int p(int x, int y, const Around4& around) const {
    if (y < 0 && x > 3 && !around.right) x = 3;
    return pixels[y * kStride + x];
  }
};

// 8.3.1.2.1 to 8.3.1.2.9, letter by letter.
int predicted(unsigned mode, int x, int y, const Place& place, const Around4& around) {
  const auto p = [&](int px, int py) { return place.p(px, py, around); };
  const auto two = [](int a, int b) { return (a + b + 1) >> 1; };
  const auto three = [](int a, int b, int c) { return (a + 2 * b + c + 2) >> 2; };
  switch (mode) {
    case 0:
      return p(x, -1);
    case 1:
      return p(-1, y);
    case 2: {
      const int top = p(0, -1) + p(1, -1) + p(2, -1) + p(3, -1);
      const int left = p(-1, 0) + p(-1, 1) + p(-1, 2) + p(-1, 3);
      if (around.top && around.left) return (top + left + 4) >> 3;
      if (around.left) return (left + 2) >> 2;
      return around.top ? (top + 2) >> 2 : 128;
    }
    case 3:
      if (x == 3 && y == 3) return (p(6, -1) + 3 * p(7, -1) + 2) >> 2;
      return three(p(x + y, -1), p(x + y + 1, -1), p(x + y + 2, -1));
    case 4:
      if (x > y) return three(p(x - y - 2, -1), p(x - y - 1, -1), p(x - y, -1));
      if (x < y) return three(p(-1, y - x - 2), p(-1, y - x - 1), p(-1, y - x));
      return three(p(0, -1), p(-1, -1), p(-1, 0));
    case 5: {
      const int z = 2 * x - y;
      if (z >= 0 && z % 2 == 0) return two(p(x - (y >> 1) - 1, -1), p(x - (y >> 1), -1));
      if (z >= 0)
        return three(p(x - (y >> 1) - 2, -1), p(x - (y >> 1) - 1, -1), p(x - (y >> 1), -1));
      if (z == -1) return three(p(-1, 0), p(-1, -1), p(0, -1));
      return three(p(-1, y - 1), p(-1, y - 2), p(-1, y - 3));
    }
    case 6: {
      const int z = 2 * y - x;
      if (z >= 0 && z % 2 == 0) return two(p(-1, y - (x >> 1) - 1), p(-1, y - (x >> 1)));
      if (z >= 0)
        return three(p(-1, y - (x >> 1) - 2), p(-1, y - (x >> 1) - 1), p(-1, y - (x >> 1)));
      if (z == -1) return three(p(-1, 0), p(-1, -1), p(0, -1));
      return three(p(x - 1, -1), p(x - 2, -1), p(x - 3, -1));
    }
    case 7:
      if (y % 2 == 0) return two(p(x + (y >> 1), -1), p(x + (y >> 1) + 1, -1));
      return three(p(x + (y >> 1), -1), p(x + (y >> 1) + 1, -1), p(x + (y >> 1) + 2, -1));
    default: {
      const int z = x + 2 * y;
      if (z > 5) return p(-1, 3);
      if (z == 5) return (p(-1, 2) + 3 * p(-1, 3) + 2) >> 2;
      if (z % 2 == 0) return two(p(-1, y + (x >> 1)), p(-1, y + (x >> 1) + 1));
      return three(p(-1, y + (x >> 1)), p(-1, y + (x >> 1) + 1), p(-1, y + (x >> 1) + 2));
    }
  }
}

bool may_use(unsigned mode, const Around4& around) {
  const bool needs_top = mode == 0 || (mode >= 3 && mode <= 7);
  const bool needs_left = mode == 1 || (mode >= 4 && mode <= 6) || mode == 8;
  return (!needs_top || around.top) && (!needs_left || around.left);
}

TEST_CASE("a block that looks like a mode's prediction is that, and nothing else is coded") {
  test::on_every_target([] {
    std::mt19937 random(6);
    for (int round = 0; round < 200; ++round) {
      for (const Around4 around : {Around4{true, true, true}, Around4{true, true, false},
                                   Around4{true, false, false}, Around4{false, true, true},
                                   Around4{false, true, false}, Around4{false, false, false}}) {
        for (unsigned mode = 0; mode < kIntra4Modes; ++mode) {
          if (!may_use(mode, around)) continue;
          CAPTURE(mode);
          Place place;
          for (auto& byte : place.picture) byte = static_cast<std::uint8_t>(random() & 255);
          std::array<std::uint8_t, 16> source{};
          for (int i = 0; i < 16; ++i) {
            source[static_cast<std::size_t>(i)] =
                static_cast<std::uint8_t>(predicted(mode, i % 4, i / 4, place, around));
          }
          const auto before = place.picture;
          Block4 levels;
          const Coded4 coded = code_intra4({.source = source.data(),
                                            .source_stride = 4,
                                            .pixels = place.pixels,
                                            .stride = Place::kStride,
                                            .around = around,
                                            .predicted_mode = static_cast<std::uint8_t>(mode),
                                            .lambda = 1,
                                            .quantiser = 20},
                                           levels);
          CHECK(coded.cost == 1);
          CHECK(coded.mode == mode);
          CHECK(coded.nonzero == 0);
          for (int i = 0; i < 16; ++i) {
            CHECK(place.pixels[i / 4 * Place::kStride + i % 4] ==
                  source[static_cast<std::size_t>(i)]);
            place.pixels[i / 4 * Place::kStride + i % 4] =
                before[static_cast<std::size_t>((i / 4 + 4) * Place::kStride + i % 4 + 4)];
          }
          CHECK(place.picture == before);
        }
      }
    }
  });
}

TEST_CASE("a block coded in a given mode is what choosing that mode makes of it") {
  test::on_every_target([] {
    std::mt19937 random(8);
    for (int round = 0; round < 400; ++round) {
      for (const Around4 around :
           {Around4{true, true, true}, Around4{true, false, false}, Around4{false, true, true},
            Around4{false, true, false}, Around4{false, false, false}}) {
        Place chosen;
        for (auto& byte : chosen.picture) byte = static_cast<std::uint8_t>(random() & 255);
        Place given = chosen;
        given.pixels = given.picture.data() + (chosen.pixels - chosen.picture.data());
        std::array<std::uint8_t, 16> source{};
        for (auto& byte : source) byte = static_cast<std::uint8_t>(random() & 255);
        Block4Task task{.source = source.data(),
                        .source_stride = 4,
                        .pixels = chosen.pixels,
                        .stride = Place::kStride,
                        .around = around,
                        .quantiser = 10 + round % 42};
        Block4 levels;
        Block4 same;
        const Coded4 coded = code_intra4(task, levels);
        task.pixels = given.pixels;
        const Coded4 again = code_intra4_as(coded.mode, task, same);
        CHECK(again.mode == coded.mode);
        CHECK(again.nonzero == coded.nonzero);
        CHECK(coded.cost - again.cost == (coded.mode == kIntra4Dc ? 1 : 4));  // the mode's bits
        CHECK(same == levels);
        CHECK(given.picture == chosen.picture);
      }
    }
  });
}

TEST_CASE("levels bring any block as near as its quantiser promises") {
  test::on_every_target([] {
    std::mt19937 random(7);
    for (int quantiser = 10; quantiser <= 51; ++quantiser) {
      CAPTURE(quantiser);
      double error = 0;
      for (int round = 0; round < 100; ++round) {
        Place place;
        for (auto& byte : place.picture) byte = static_cast<std::uint8_t>(random() & 255);
        std::array<std::uint8_t, 16> source{};
        for (auto& byte : source) byte = static_cast<std::uint8_t>(random() & 255);
        Block4 levels;
        const Coded4 coded = code_intra4({.source = source.data(),
                                          .source_stride = 4,
                                          .pixels = place.pixels,
                                          .stride = Place::kStride,
                                          .around = {true, true, true},
                                          .lambda = 4,
                                          .quantiser = quantiser},
                                         levels);
        for (std::size_t i = 0; i < 16; ++i) {
          CHECK((levels[kZigzag[i]] != 0) == ((coded.nonzero >> i & 1U) != 0));
          const int d = source[i] - place.pixels[i / 4 * Place::kStride + i % 4];
          error += d * d;
        }
      }
      const double step = 0.625 * std::exp2(quantiser / 6.0);
      CHECK(error / 1600 < step * step / 3);
    }
  });
}

}  // namespace
}  // namespace kvm
