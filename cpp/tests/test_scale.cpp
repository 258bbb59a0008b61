#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <utility>
#include <vector>

#include "convert/convert.hpp"
#include "tests/pixels.hpp"

using namespace kvm;
using namespace kvm::test;

namespace {

// (source index, weight) of destination index i, from the definition in floating point.
std::vector<std::pair<int, double>> exact_taps(int src, int dst, int i) {
  std::vector<std::pair<int, double>> taps;
  const double step = static_cast<double>(src) / dst;
  if (dst <= src) {
    for (int k = 0; k < src; ++k) {
      const double covered =
          std::min<double>(k + 1, (i + 1) * step) - std::max<double>(k, i * step);
      if (covered > 0) taps.emplace_back(k, covered / step);
    }
  } else {
    const double centre = std::clamp((i + 0.5) * step - 0.5, 0.0, src - 1.0);
    const int left = static_cast<int>(centre);
    taps.emplace_back(left, 1 - (centre - left));
    if (left + 1 < src) taps.emplace_back(left + 1, centre - left);
  }
  return taps;
}

double worst_error(const BgraPicture& source, const Scaler& scaler) {
  std::vector<std::vector<std::pair<int, double>>> columns;
  for (int x = 0; x < scaler.width(); ++x)
    columns.push_back(exact_taps(source.width(), scaler.width(), x));
  double worst = 0;
  for (int y = 0; y < scaler.height(); ++y) {
    const auto rows = exact_taps(source.height(), scaler.height(), y);
    for (int x = 0; x < scaler.width(); ++x) {
      double want[4] = {};
      for (const auto& [sy, wy] : rows) {
        for (const auto& [sx, wx] : columns[static_cast<std::size_t>(x)]) {
          for (int c = 0; c < 4; ++c) want[c] += wx * wy * source.at(sx, sy)[c];
        }
      }
      const std::uint8_t* got = scaler.planes().data[0] + y * scaler.planes().stride[0] + 4 * x;
      for (int c = 0; c < 4; ++c) worst = std::max(worst, std::abs(got[c] - want[c]));
    }
  }
  return worst;
}

std::vector<std::uint8_t> pixels_of(const Scaler& scaler) {
  std::vector<std::uint8_t> out;
  for (int y = 0; y < scaler.height(); ++y) {
    const std::uint8_t* row = scaler.planes().data[0] + y * scaler.planes().stride[0];
    out.insert(out.end(), row, row + 4 * scaler.width());
  }
  return out;
}

}  // namespace

TEST_CASE("a picture of one colour stays exactly that colour") {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int sw = uniform(random, 1, 120);
    const int sh = uniform(random, 1, 120);
    const int dw = uniform(random, 1, 120);
    const int dh = uniform(random, 1, 120);
    BgraPicture source(sw, sh);
    const std::uint8_t colour[4] = {static_cast<std::uint8_t>(random()),
                                    static_cast<std::uint8_t>(random()), 255, 0};
    source.fill(colour[0], colour[1], colour[2], colour[3]);
    on_every_target([&] {
      Scaler scaler(sw, sh, dw, dh);
      CHECK(scaler.scale(source.planes(), all_tiles(sw, sh)).count() == all_tiles(dw, dh).count());
      const auto out = pixels_of(scaler);
      for (std::size_t i = 0; i < out.size(); ++i) {
        if (out[i] != colour[i % 4])
          FAIL(sw << "x" << sh << " to " << dw << "x" << dh << ": byte " << i);
      }
    });
  }
}

TEST_CASE("the same size is the same picture") {
  std::mt19937 random(2);
  BgraPicture source(67, 35, 4);
  source.randomize(random);
  on_every_target([&] {
    Scaler scaler(67, 35, 67, 35);
    static_cast<void>(scaler.scale(source.planes(), all_tiles(67, 35)));
    CHECK(worst_error(source, scaler) == 0);
  });
}

TEST_CASE("halving is the rounded mean of 2x2") {
  std::mt19937 random(3);
  BgraPicture source(64, 48);
  source.randomize(random);
  Scaler scaler(64, 48, 32, 24);
  static_cast<void>(scaler.scale(source.planes(), all_tiles(64, 48)));
  bool right = true;
  for (int y = 0; y < 24; ++y) {
    for (int x = 0; x < 32; ++x) {
      for (int c = 0; c < 4; ++c) {
        const int sum = source.at(2 * x, 2 * y)[c] + source.at(2 * x + 1, 2 * y)[c] +
                        source.at(2 * x, 2 * y + 1)[c] + source.at(2 * x + 1, 2 * y + 1)[c];
        right &=
            scaler.planes().data[0][y * scaler.planes().stride[0] + 4 * x + c] == (sum + 2) / 4;
      }
    }
  }
  CHECK(right);
}

TEST_CASE(
    "any size: close to the exact area mean or bilinear value, the same on every instruction set") {
  std::mt19937 random(4);
  for (int round = 0; round < 120; ++round) {
    const int sw = uniform(random, 1, 90);
    const int sh = uniform(random, 1, 90);
    const int dw = uniform(random, 1, 90);
    const int dh = uniform(random, 1, 90);
    BgraPicture source(sw, sh, 4 * uniform(random, 0, 3));
    source.randomize(random);
    std::vector<std::uint8_t> first;
    on_every_target([&] {
      Scaler scaler(sw, sh, dw, dh);
      static_cast<void>(scaler.scale(source.planes(), all_tiles(sw, sh)));
      if (first.empty()) {
        first = pixels_of(scaler);
        // Half a step of rounding, 2^-8 of the row between the passes, and weights that are off by
        // up to 2^-15 each.
        CHECK(worst_error(source, scaler) <= 0.6);
      } else {
        CHECK(pixels_of(scaler) == first);
      }
    });
  }
}

TEST_CASE("extreme ratios") {
  std::mt19937 random(5);
  struct Sizes {
    int sw, sh, dw, dh;
  };
  for (const Sizes& s :
       {Sizes{2000, 3, 1, 1}, {3, 1500, 2, 700}, {1, 1, 500, 3}, {2, 1, 333, 17}}) {
    BgraPicture source(s.sw, s.sh);
    source.randomize(random);
    on_every_target([&] {
      Scaler scaler(s.sw, s.sh, s.dw, s.dh);
      static_cast<void>(scaler.scale(source.planes(), all_tiles(s.sw, s.sh)));
      CHECK(worst_error(source, scaler) <= 1.0);
    });
  }
}

TEST_CASE("scaling by damage gives what scaling the whole gives, and reports all that changed") {
  std::mt19937 random(6);
  for (int round = 0; round < 150; ++round) {
    const int sw = uniform(random, 1, 200);
    const int sh = uniform(random, 1, 150);
    const int dw = uniform(random, 1, 200);
    const int dh = uniform(random, 1, 150);
    BgraPicture source(sw, sh, 4);
    source.randomize(random);
    Scaler by_damage(sw, sh, dw, dh);
    static_cast<void>(by_damage.scale(source.planes(), all_tiles(sw, sh)));
    for (int step = 0; step < 3; ++step) {
      const auto before = pixels_of(by_damage);
      BgraPicture fresh(sw, sh);
      fresh.randomize(random);
      const TileMap damage =
          random_tiles(sw, sh, static_cast<unsigned>(uniform(random, 0, 40)), random);
      copy_tiles(fresh.planes(), source.planes(), damage);
      const TileMap written = by_damage.scale(source.planes(), damage);
      CHECK(written.any() == damage.any());

      Scaler whole(sw, sh, dw, dh);
      static_cast<void>(whole.scale(source.planes(), all_tiles(sw, sh)));
      const auto after = pixels_of(by_damage);
      REQUIRE(after == pixels_of(whole));
      for (int y = 0; y < dh; ++y) {
        for (int x = 0; x < dw; ++x) {
          const auto at = 4 * static_cast<std::size_t>(y * dw + x);
          if (!written.at(x / kTile, y / kTile) && std::memcmp(&before[at], &after[at], 4) != 0) {
            FAIL("pixel " << x << "," << y << " changed in a tile that was not reported");
          }
        }
      }
    }
  }
}

TEST_CASE("small damage rewrites few tiles") {
  BgraPicture source(1280, 720);
  source.fill(1, 2, 3, 4);
  Scaler scaler(1280, 720, 640, 360);
  TileMap damage(1280, 720);
  damage.add({320, 320, 16, 16});
  CHECK(scaler.scale(source.planes(), damage).count() == 1);
  damage.clear();
  CHECK_FALSE(scaler.scale(source.planes(), damage).any());
}

TEST_CASE("bad sizes are refused; planes are aligned and survive a move") {
  CHECK_THROWS_AS(Scaler(0, 1, 1, 1), std::invalid_argument);
  CHECK_THROWS_AS(Scaler(1, 1, 1, -3), std::invalid_argument);
  Scaler scaler(10, 10, 21, 7);
  const std::uint8_t* data = scaler.planes().data[0];
  CHECK(reinterpret_cast<std::uintptr_t>(data) % 64 == 0);
  CHECK(scaler.planes().stride[0] % 64 == 0);
  const Scaler moved = std::move(scaler);
  CHECK(moved.planes().data[0] == data);
  CHECK(moved.width() == 21);
  CHECK(moved.height() == 7);
}
