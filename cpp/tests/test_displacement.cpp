// Where changed content came from, over pictures on end: what goes on as before is recalled, what
// begins beside it is found soon.
#include "encode/screen/displacement.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "encode/screen/planes.hpp"

namespace kvm {
namespace {

using namespace screen;

constexpr int kCols = 40;
constexpr int kRows = 24;
constexpr int kReach = 128;
constexpr std::array kSides{224, 96};  // of the windows, in pixels

// Windows of noise on a flat desktop.
class Screen {
 public:
  Screen() : planes_{Planes(kCols, kRows, Chroma::k420), Planes(kCols, kRows, Chroma::k420)} {
    for (Planes& planes : planes_) {
      const Plane& luma = planes[0];
      std::fill_n(luma.data, luma.stride * luma.height, std::uint8_t{90});
    }
    std::mt19937 random(7);
    for (std::size_t i = 0; i < kSides.size(); ++i) {
      textures_[i].resize(static_cast<std::size_t>(kSides[i] * kSides[i]));
      for (std::uint8_t& pixel : textures_[i]) pixel = static_cast<std::uint8_t>(random() & 0xFF);
    }
  }
  // Draws the windows where they are now, and tells where that differs from the picture before.
  TileMap draw(const std::vector<Vector>& windows) {
    newest_ = 1 - newest_;
    const Plane& luma = now();
    std::fill_n(luma.data, luma.stride * luma.height, std::uint8_t{90});
    for (std::size_t i = 0; i < windows.size(); ++i) {
      const int side = kSides[i];
      for (int y = 0; y < side; ++y) {
        std::copy_n(textures_[i].data() + y * side, side, luma.at(windows[i].x, windows[i].y + y));
      }
    }
    TileMap damage(kCols * kTile, kRows * kTile);
    for (int row = 0; row < kRows; ++row) {
      for (int col = 0; col < kCols; ++col) {
        for (int y = row * kTile; y < (row + 1) * kTile; ++y) {
          if (!std::equal(now().at(col * kTile, y), now().at(col * kTile, y) + kTile,
                          old().at(col * kTile, y)))
            damage.set(col, row);
        }
      }
    }
    return damage;
  }
  [[nodiscard]] const Plane& now() const { return planes_[newest_][0]; }
  [[nodiscard]] const Plane& old() const { return planes_[1 - newest_][0]; }

 private:
  std::array<Planes, 2> planes_;
  std::size_t newest_ = 0;
  std::array<std::vector<std::uint8_t>, kSides.size()> textures_;
};

bool holds(const std::vector<Vector>& found, Vector vector) {
  return std::find(found.begin(), found.end(), vector) != found.end();
}

TEST_CASE("a window that moves on is found in every picture, also where its step changes") {
  Screen screen;
  DisplacementSearch search;
  Vector at{20, 30};
  (void)screen.draw({at});
  for (int i = 0; i < 40; ++i) {
    const Vector step = i < 20 ? Vector{7, 3} : Vector{-6, i % 2 == 0 ? 2 : 1};
    at = {at.x + step.x, at.y + step.y};
    const TileMap damage = screen.draw({at});
    const auto& found = search.find(screen.now(), screen.old(), damage, kReach);
    INFO("picture " << i);
    REQUIRE_FALSE(found.empty());
    CHECK(found.front() == Vector{-step.x, -step.y});
  }
}

TEST_CASE("what begins to move beside it is found within so many pictures") {
  Screen screen;
  DisplacementSearch search;
  Vector first{20, 20};
  Vector second{300, 200};
  (void)screen.draw({first, second});
  int late = 0;
  for (int i = 0; i < 32; ++i) {
    first = {first.x + 2, first.y + 1};
    if (i >= 9) second = {second.x, second.y - 3};
    const TileMap damage = screen.draw({first, second});
    const auto& found = search.find(screen.now(), screen.old(), damage, kReach);
    INFO("picture " << i);
    CHECK(holds(found, {-2, -1}));
    if (i >= 9 && !holds(found, {0, 3})) ++late;
  }
  CHECK(late < DisplacementSearch::kSearchEvery);
}

TEST_CASE("what has ended is not found any more") {
  Screen screen;
  DisplacementSearch search;
  Vector at{40, 40};
  (void)screen.draw({at});
  for (int i = 0; i < 3; ++i) {
    at.x += 5;
    const TileMap damage = screen.draw({at});
    REQUIRE(holds(search.find(screen.now(), screen.old(), damage, kReach), {-5, 0}));
  }
  at.y += 9;
  const TileMap damage = screen.draw({at});
  const auto& found = search.find(screen.now(), screen.old(), damage, kReach);
  CHECK(holds(found, {0, -9}));
  CHECK_FALSE(holds(found, {-5, 0}));
}

TEST_CASE("a vector that was good before is not followed beyond the picture or the level's reach") {
  Screen screen;
  DisplacementSearch search;
  Vector at{10, 100};
  (void)screen.draw({at});
  for (int i = 0; i < 2; ++i) {
    at.y += 40;
    const TileMap damage = screen.draw({at});
    REQUIRE(holds(search.find(screen.now(), screen.old(), damage, kReach), {0, -40}));
  }
  at.y += 40;
  const TileMap damage = screen.draw({at});
  CHECK_FALSE(holds(search.find(screen.now(), screen.old(), damage, 39), {0, -40}));
  // To the edges: looks would leave the picture.
  at = {0, 0};
  (void)screen.draw({at});
  for (int i = 0; i < 12; ++i) {
    at = {at.x + 40, at.y + 18};
    const TileMap moved = screen.draw({at});
    CHECK(holds(search.find(screen.now(), screen.old(), moved, kReach), {-40, -18}));
  }
}

}  // namespace
}  // namespace kvm
