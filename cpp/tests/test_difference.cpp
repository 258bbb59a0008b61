// Differences of blocks, chroma between pixels and the transform, against plain loops, on every
// instruction set.
#include "encode/screen/difference.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>
#include <vector>

#include "encode/screen/noise.hpp"
#include "encode/screen/transform.hpp"
#include "pixels.hpp"

namespace kvm {
namespace {

using namespace screen;

constexpr int kStride = 48;

struct Picture {
  explicit Picture(unsigned seed) : pixels(std::size_t{kStride} * kStride) {
    std::mt19937 random(seed);
    const unsigned range = seed % 3 == 0 ? 2U : 256U;  // extremes, too: sums are largest there
    for (std::uint8_t& pixel : pixels)
      pixel = static_cast<std::uint8_t>(range == 2 ? 255 * (random() % 2) : random() % range);
  }
  [[nodiscard]] const std::uint8_t* at(int x, int y) const {
    return pixels.data() + y * kStride + x;
  }
  std::vector<std::uint8_t> pixels;
};

template <typename Fn>
int sum_over(const std::uint8_t* a, const std::uint8_t* b, int b_stride, int width, int rows,
             Fn&& fn) {
  int sum = 0;
  for (int y = 0; y < rows; ++y) {
    for (int x = 0; x < width; ++x) sum += fn(a[y * kStride + x] - b[y * b_stride + x]);
  }
  return sum;
}
int apart(const std::uint8_t* a, const std::uint8_t* b, int width, int rows,
          int b_stride = kStride) {
  return sum_over(a, b, b_stride, width, rows, [](int d) { return std::abs(d); });
}

TEST_CASE("differences are those of the pixels") {
  test::on_every_target([] {
    for (unsigned seed = 0; seed < 12; ++seed) {
      const Picture first(2 * seed);
      const Picture second(2 * seed + 1);
      const std::uint8_t* a = first.at(3, 5);
      const std::uint8_t* b = second.at(9, 7);
      const int whole = apart(a, b, 16, 16);
      CHECK(difference16(a, kStride, b, kStride) == whole);
      CHECK(difference16(a, kStride, b, kStride, whole - 1) > whole - 1);
      for (const int rows : {2, 4, 8, 16}) {
        CHECK(difference16_rows(a, kStride, b, kStride, rows) == apart(a, b, 16, rows));
        CHECK(difference8_rows(a, kStride, b, kStride, rows) == apart(a, b, 8, rows));
      }
      std::array<int, 4> around{};
      differences_around16(a, kStride, b, kStride, around);
      CHECK(around[0] == apart(a, b - kStride, 16, 16));
      CHECK(around[1] == apart(a, b + kStride, 16, 16));
      CHECK(around[2] == apart(a, b - 1, 16, 16));
      CHECK(around[3] == apart(a, b + 1, 16, 16));
      CHECK(squared_difference16(a, kStride, b, kStride) ==
            sum_over(a, b, kStride, 16, 16, [](int d) { return d * d; }));
    }
  });
}

TEST_CASE("an intra mode's difference is that of what it predicts") {
  test::on_every_target([] {
    for (unsigned i = 0; i < 32; ++i) {
      const Picture wanted(i);
      const Picture picture(i + 100);
      const Picture other(i + 200);
      const Neighbours near{.left = (i & 1) != 0, .top = (i & 2) != 0};
      constexpr int kNone = -1;
      std::array<int, kIntraModes> luma{kNone, kNone, kNone, kNone};
      std::array<int, kIntraModes> chroma = luma;
      intra_differences(
          near, IntraBlocks<1>{{wanted.at(2, 2)}, kStride, {picture.at(8, 8)}, kStride}, luma);
      intra_differences(near,
                        IntraBlocks<2>{{wanted.at(2, 2), wanted.at(20, 3)},
                                       kStride,
                                       {picture.at(8, 8), other.at(8, 8)},
                                       kStride},
                        chroma);
      for (const IntraMode mode : kIntraOrder) {
        CAPTURE(static_cast<int>(mode));
        const auto of = static_cast<std::size_t>(mode);
        if (!near.allow(mode)) {
          CHECK(luma[of] == kNone);
          CHECK(chroma[of] == kNone);
          continue;
        }
        std::array<std::uint8_t, 256> predicted;
        predict_luma(mode, near, picture.at(8, 8), kStride, predicted.data(), 16);
        CHECK(luma[of] == apart(wanted.at(2, 2), predicted.data(), 16, 16, 16));
        predict_chroma(mode, near, picture.at(8, 8), kStride, predicted.data(), 8);
        int both = apart(wanted.at(2, 2), predicted.data(), 8, 8, 8);
        predict_chroma(mode, near, other.at(8, 8), kStride, predicted.data(), 8);
        both += apart(wanted.at(20, 3), predicted.data(), 8, 8, 8);
        CHECK(chroma[of] == both);
      }
    }
  });
}

TEST_CASE("noise is told by its extremes in rows") {
  test::on_every_target([] {
    for (unsigned seed = 0; seed < 12; ++seed) {
      const Picture picture(seed);
      const std::uint8_t* a = picture.at(3, 5);
      int count = 0;
      for (int y = 0; y < 16; y += 2) {
        for (int x = 1; x < 15; ++x) {
          const int left = a[y * kStride + x] - a[y * kStride + x - 1];
          const int right = a[y * kStride + x] - a[y * kStride + x + 1];
          count += left * right > 0 ? 1 : 0;
        }
      }
      CHECK(row_extremes16(a, kStride) == count);
      if (seed % 3 != 0) CHECK(is_noise(a, kStride));
    }
    // A ramp, and strokes three pixels wide.
    std::array<std::uint8_t, 256> drawn;
    for (const bool strokes : {false, true}) {
      for (std::size_t i = 0; i < drawn.size(); ++i)
        drawn[i] = static_cast<std::uint8_t>(strokes ? i % 16 / 3 % 2 * 200 : i % 16 * 9 + i / 16);
      CHECK(row_extremes16(drawn.data(), 16) == 0);
    }
  });
}

TEST_CASE("chroma between pixels is their mean") {
  test::on_every_target([] {
    for (const int width : {4, 8, 12, 16, 24}) {
      for (const Vector vector : {Vector{3, 0}, Vector{0, -5}, Vector{-7, 9}, Vector{2, 4}}) {
        Picture picture(static_cast<unsigned>(width));
        const Plane plane{picture.pixels.data(), kStride, kStride, kStride};
        std::array<std::uint8_t, 24 * 8> out{};
        compensate_chroma(plane, {8, 10, width, 8}, vector, out.data(), 24);
        for (int y = 0; y < 8; ++y) {
          for (int x = 0; x < width; ++x) {
            // (8-270), with fractions of 0 and 4 eighths.
            const int fx = vector.x & 1;
            const int fy = vector.y & 1;
            const std::uint8_t* at = picture.at(8 + x + (vector.x >> 1), 10 + y + (vector.y >> 1));
            const int value = ((2 - fx) * (2 - fy) * at[0] + fx * (2 - fy) * at[1] +
                               (2 - fx) * fy * at[kStride] + fx * fy * at[kStride + 1] + 2) >>
                              2;
            CHECK(out[static_cast<std::size_t>(y * 24 + x)] == value);
          }
        }
      }
    }
  });
}

// 8.5.8 the other way round and its division, block by block.
std::array<int, 16> transformed(const std::uint8_t* source, const std::uint8_t* prediction) {
  constexpr int kMatrix[4][4] = {{1, 1, 1, 1}, {2, 1, -1, -2}, {1, -1, -1, 1}, {1, -2, 2, -1}};
  std::array<int, 16> out{};
  for (std::size_t i = 0; i < 16; ++i) {
    for (int y = 0; y < 4; ++y) {
      for (int x = 0; x < 4; ++x) {
        out[i] += kMatrix[i / 4][y] * kMatrix[i % 4][x] *
                  (source[y * kStride + x] - prediction[y * kStride + x]);
      }
    }
  }
  return out;
}

TEST_CASE("levels are those of each block's own transform, and their sum comes near the source") {
  test::on_every_target([] {
    for (unsigned seed = 0; seed < 24; ++seed) {
      const Picture source(seed);
      const Picture prediction(seed + 50);
      const int quantiser = 10 + static_cast<int>(seed) % 42;
      LumaBlocks levels;
      Occupied<16> used;
      Block4 dc;
      const bool intra = seed % 2 == 0;
      code_luma(source.at(4, 4), kStride, prediction.at(6, 6), kStride, quantiser,
                intra ? Rounding::kIntra : Rounding::kInter, intra ? dc.data() : nullptr, levels,
                used);
      for (std::size_t block = 0; block < 16; ++block) {
        CAPTURE(block);
        const int x = static_cast<int>(block % 4) * 4;
        const int y = static_cast<int>(block / 4) * 4;
        const std::array<int, 16> whole =
            transformed(source.at(4 + x, 4 + y), prediction.at(6 + x, 6 + y));
        if (intra) {
          CHECK(dc[block] == whole[0]);
          CHECK(levels.at[0][block] == 0);
        }
        for (std::size_t place = intra ? 1 : 0; place < 16; ++place) {
          const std::size_t i = kZigzag[place];
          const int level = levels.at[i][block];
          CHECK((level == 0 || (level < 0) == (whole[i] < 0)));
          CHECK((used.nonzero[block] >> place & 1) == (level != 0 ? 1 : 0));
          CHECK((used.large[block] >> place & 1) == (std::abs(level) > 1 ? 1 : 0));
        }
      }
      if (intra) continue;
      Picture shown = prediction;
      add_luma(levels, nullptr, quantiser, shown.pixels.data() + 6 * kStride + 6, kStride);
      if (quantiser < 16) {
        for (int y = 0; y < 16; ++y) {
          for (int x = 0; x < 16; ++x)
            CHECK(std::abs(*shown.at(6 + x, 6 + y) - *source.at(4 + x, 4 + y)) <= 12);
        }
      }
      // Nothing beside the macroblock is touched.
      for (int i = 0; i < kStride; ++i) {
        CHECK(*shown.at(i, 5) == *prediction.at(i, 5));
        CHECK(*shown.at(i, 22) == *prediction.at(i, 22));
        CHECK(*shown.at(5, i) == *prediction.at(5, i));
        CHECK(*shown.at(22, i) == *prediction.at(22, i));
      }
    }
  });
}

}  // namespace
}  // namespace kvm
