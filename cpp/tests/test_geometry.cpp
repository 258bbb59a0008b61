#include "frame/geometry.hpp"

#include <doctest/doctest.h>
#include <random>
#include <utility>
#include <vector>

#include "convert/rects.hpp"

using namespace kvm;

namespace {

int uniform(std::mt19937& random, int low, int high) {
  return low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1));
}

Rect tile_rect(int col, int row) {
  return {col * kTile, row * kTile, kTile, kTile};
}

template <typename Fn>
void for_each_tile(const TileMap& tiles, Fn&& fn) {
  for (int row = 0; row < tiles.rows(); ++row) {
    for (int col = 0; col < tiles.cols(); ++col) fn(col, row);
  }
}

TileMap random_map(std::mt19937& random, int width, int height, unsigned percent) {
  TileMap tiles(width, height);
  for_each_tile(tiles, [&](int col, int row) { tiles.set(col, row, random() % 100 < percent); });
  return tiles;
}

Rect random_rect(std::mt19937& random, int width, int height) {
  return {uniform(random, -40, width + 40), uniform(random, -40, height + 40),
          uniform(random, -5, width + 60), uniform(random, -5, height + 60)};
}

}  // namespace

TEST_CASE("intersect") {
  CHECK(intersect({0, 0, 10, 10}, {5, 6, 10, 10}) == Rect{5, 6, 5, 4});
  CHECK(intersect({0, 0, 10, 10}, {0, 0, 10, 10}) == Rect{0, 0, 10, 10});
  CHECK(intersect({-5, -5, 10, 10}, {0, 0, 100, 100}) == Rect{0, 0, 5, 5});
  CHECK(intersect({0, 0, 10, 10}, {10, 0, 5, 5}).empty());
  CHECK(intersect({0, 0, 10, 10}, {3, 20, 5, 5}).empty());
  CHECK(Rect{1, 1, 0, 5}.empty());
  CHECK(Rect{1, 1, 5, -1}.empty());
  CHECK_FALSE(Rect{1, 1, 1, 1}.empty());
}

TEST_CASE("a map has a tile for every pixel, partial ones included") {
  for (const auto& [size, tiles] :
       {std::pair{1, 1}, {15, 1}, {16, 1}, {17, 2}, {1080, 68}, {1920, 120}}) {
    CHECK(TileMap(size, 16).cols() == tiles);
    CHECK(TileMap(16, size).rows() == tiles);
  }
  CHECK(TileMap(40, 40).width() == 40);
  CHECK(TileMap(40, 30).height() == 30);
  CHECK_FALSE(TileMap(40, 40).any());
  CHECK_FALSE(TileMap().any());
  CHECK(TileMap().count() == 0);
}

TEST_CASE("add marks exactly the tiles that share a pixel with the rectangle inside the picture") {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const int width = uniform(random, 1, 150);
    const int height = uniform(random, 1, 150);
    const Rect rect = random_rect(random, width, height);
    TileMap tiles(width, height);
    tiles.add(rect);
    const Rect inside = intersect(rect, {0, 0, width, height});
    for_each_tile(tiles, [&](int col, int row) {
      const bool want = !inside.empty() && !intersect(inside, tile_rect(col, row)).empty();
      if (tiles.at(col, row) != want) FAIL("tile " << col << "," << row << " in round " << round);
    });
    CHECK(tiles.any() == !inside.empty());
    CHECK(tiles.intersects(rect) == tiles.any());
  }
}

TEST_CASE("add keeps what was marked") {
  TileMap tiles(64, 64);
  tiles.add({0, 0, 1, 1});
  tiles.add({63, 63, 1, 1});
  CHECK(tiles.count() == 2);
  CHECK(tiles.at(0, 0));
  CHECK(tiles.at(3, 3));
}

TEST_CASE("merge and subtract are the union and the difference, tile by tile") {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const int width = uniform(random, 1, 150);
    const int height = uniform(random, 1, 150);
    const TileMap a = random_map(random, width, height, 40);
    const TileMap b = random_map(random, width, height, 40);
    TileMap merged = a;
    merged.merge(b);
    TileMap rest = a;
    rest.subtract(b);
    std::size_t in_merged = 0;
    for_each_tile(a, [&](int col, int row) {
      const bool either = a.at(col, row) || b.at(col, row);
      const bool only_a = a.at(col, row) && !b.at(col, row);
      in_merged += either ? 1 : 0;
      if (merged.at(col, row) != either || rest.at(col, row) != only_a)
        FAIL("tile " << col << "," << row);
    });
    CHECK(merged.count() == in_merged);
    CHECK(merged.any() == (in_merged != 0));
  }
}

TEST_CASE("count is right for any size, also when all is marked") {
  for (const auto& [cols, rows] : {std::pair{1, 1}, {7, 1}, {8, 1}, {120, 68}, {510, 509}}) {
    TileMap tiles(cols * kTile, rows * kTile);
    CHECK(tiles.count() == 0);
    tiles.set_all();
    const auto all = static_cast<std::size_t>(cols) * static_cast<std::size_t>(rows);
    CHECK(tiles.count() == all);
    tiles.set(cols - 1, rows - 1, false);
    CHECK(tiles.count() == all - 1);
  }
}

TEST_CASE("find is the next tile with or without a mark") {
  std::mt19937 random(10);
  const TileMap tiles = random_map(random, 40 * kTile, 30 * kTile, 50);
  for (int row = 0; row < tiles.rows(); ++row) {
    CHECK(tiles.find(row, tiles.cols()) == tiles.cols());
    for (int col = 0; col < tiles.cols(); ++col) {
      for (const bool marked : {false, true}) {
        int want = col;
        while (want < tiles.cols() && tiles.at(want, row) != marked) ++want;
        CHECK(tiles.find(row, col, marked) == want);
      }
    }
  }
}

TEST_CASE("intersects asks for marked tiles under the rectangle") {
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    const int width = uniform(random, 1, 150);
    const int height = uniform(random, 1, 150);
    const TileMap tiles = random_map(random, width, height, 8);
    const Rect rect = random_rect(random, width, height);
    const Rect inside = intersect(rect, {0, 0, width, height});
    bool want = false;
    for_each_tile(tiles, [&](int col, int row) {
      want |=
          !inside.empty() && tiles.at(col, row) && !intersect(inside, tile_rect(col, row)).empty();
    });
    CHECK(tiles.intersects(rect) == want);
  }
}

TEST_CASE("for_each_run visits maximal runs, top to bottom and left to right") {
  std::mt19937 random(4);
  for (int round = 0; round < 500; ++round) {
    const int width = uniform(random, 1, 400);
    const int height = uniform(random, 1, 100);
    const TileMap tiles =
        random_map(random, width, height, static_cast<unsigned>(uniform(random, 0, 100)));
    TileMap seen(width, height);
    std::pair<int, int> last{-1, -1};
    tiles.for_each_run([&](int row, int begin, int end) {
      REQUIRE(begin < end);
      REQUIRE(std::pair{row, begin} > last);
      last = {row, end};
      CHECK((begin == 0 || !tiles.at(begin - 1, row)));
      CHECK((end == tiles.cols() || !tiles.at(end, row)));
      for (int col = begin; col < end; ++col) {
        CHECK_FALSE(seen.at(col, row));
        seen.set(col, row);
      }
    });
    for_each_tile(tiles, [&](int col, int row) {
      if (seen.at(col, row) != tiles.at(col, row)) FAIL("tile " << col << "," << row);
    });
  }
}

TEST_CASE("run_rect is clipped to the picture") {
  const TileMap tiles(641, 359);
  CHECK(tiles.run_rect(0, 0, 1) == Rect{0, 0, 16, 16});
  CHECK(tiles.run_rect(1, 2, 5) == Rect{32, 16, 48, 16});
  CHECK(tiles.run_rect(0, 40, 41) == Rect{640, 0, 1, 16});
  CHECK(tiles.run_rect(22, 0, 41) == Rect{0, 352, 641, 7});
}

TEST_CASE("set, clear and set_all") {
  TileMap tiles(50, 50);
  tiles.set_all();
  CHECK(tiles.count() == 16);
  tiles.set(1, 1, false);
  CHECK(tiles.count() == 15);
  CHECK_FALSE(tiles.at(1, 1));
  tiles.clear();
  CHECK_FALSE(tiles.any());
  tiles.set(3, 3);
  CHECK(tiles.at(3, 3));
  CHECK(tiles.intersects({48, 48, 1, 1}));
  CHECK_FALSE(tiles.intersects({50, 50, 10, 10}));
}

TEST_CASE(
    "for_each_rect covers each marked tile once and no other, and a full picture in one piece") {
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    const int width = uniform(random, 1, 250);
    const int height = uniform(random, 1, 250);
    const TileMap tiles =
        random_map(random, width, height, static_cast<unsigned>(uniform(random, 0, 100)));
    std::vector<int> seen(static_cast<std::size_t>(width * height), 0);
    for_each_rect(tiles, [&](const Rect& rect) {
      REQUIRE(!rect.empty());
      REQUIRE(rect.right() <= width);
      REQUIRE(rect.bottom() <= height);
      for (int y = rect.y; y < rect.bottom(); ++y) {
        for (int x = rect.x; x < rect.right(); ++x) ++seen[static_cast<std::size_t>(y * width + x)];
      }
    });
    bool right = true;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        right &= seen[static_cast<std::size_t>(y * width + x)] ==
                 (tiles.at(x / kTile, y / kTile) ? 1 : 0);
      }
    }
    CHECK(right);
  }
  TileMap full(1366, 767);
  full.set_all();
  int rects = 0;
  for_each_rect(full, [&](const Rect& rect) {
    CHECK(rect == Rect{0, 0, 1366, 767});
    ++rects;
  });
  CHECK(rects == 1);
  for_each_rect(TileMap(), [&](const Rect&) { ++rects; });
  CHECK(rects == 1);
}

TEST_CASE("TileMap::grow") {
  std::mt19937 random(9);
  for (int round = 0; round < 200; ++round) {
    const int width = uniform(random, 1, 150);
    const int height = uniform(random, 1, 150);
    const TileMap before = random_map(random, width, height, static_cast<unsigned>(round % 30));
    const auto at = [&](int col, int row) {
      return col >= 0 && row >= 0 && col < before.cols() && row < before.rows() &&
             before.at(col, row);
    };
    TileMap after = before;
    after.grow();
    for_each_tile(after, [&](int col, int row) {
      REQUIRE(after.at(col, row) == (at(col, row) || at(col - 1, row) || at(col + 1, row) ||
                                     at(col, row - 1) || at(col, row + 1)));
    });
  }
}
