#include <doctest/doctest.h>

#include <array>

#include "encode/x264/search_choice.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kPicture = kNsPerSec / 60;

// What a picture's ratio would be with each of the widths; odd and even pictures may differ.
using Ratios = std::array<std::array<double, 2>, SearchChoice::kWidest + 1>;

struct Screen {
  SearchChoice search;
  int picture = 0;

  // Shows `pictures`; returns how many of them were searched with each width.
  std::array<int, SearchChoice::kWidest + 1> show(const Ratios& ratios, int pictures) {
    std::array<int, SearchChoice::kWidest + 1> used{};
    for (int i = 0; i < pictures; ++i, ++picture) {
      const auto width = static_cast<std::size_t>(search.width());
      ++used.at(width);
      search.learn(ratios.at(width).at(static_cast<std::size_t>(picture % 2)), picture * kPicture);
    }
    return used;
  }
};

constexpr Ratios kFilm{{{0.7, 0.6}, {0.7, 0.6}, {0.68, 0.6}}};
// Measured with the benchmark's scrolled text.
constexpr Ratios kScroll{{{0.19, 0.44}, {0.08, 0.17}, {0.16, 0.07}}};
// Further than the narrower search reaches.
constexpr Ratios kWheel{{{0.45, 0.5}, {0.44, 0.5}, {0.1, 0.12}}};
constexpr Ratios kEasy{{{0.05, 0.05}, {0.05, 0.05}, {0.05, 0.05}}};

TEST_CASE("scrolled text is searched for as far as it pays, from the first pictures on") {
  for (int phase = 0; phase < 2; ++phase) {
    CAPTURE(phase);
    Screen screen;
    screen.picture = phase;
    CHECK(screen.show(kScroll, 6)[0] == 2);
    const auto used = screen.show(kScroll, 600);
    CHECK(used[1] >= 596);  // but for a look at what the narrowest would do, every four seconds
    CHECK(used[2] == 0);
  }
}

TEST_CASE("what scrolls further keeps the widest search") {
  Screen screen;
  screen.show(kWheel, 6);
  CHECK(screen.show(kWheel, 600)[2] >= 594);
}

TEST_CASE("a wider search that is no longer needed is given up") {
  Screen screen;
  screen.show(kWheel, 10);
  REQUIRE(screen.search.width() == 2);
  screen.show(kScroll, 250);
  CHECK(screen.show(kScroll, 60)[1] == 60);
  screen.show(kEasy, 250);
  CHECK(screen.show(kEasy, 600)[0] == 600);
}

TEST_CASE("film has the narrowest search but for two pictures a second") {
  Screen screen;
  const auto used = screen.show(kFilm, 600);
  CHECK(used[2] >= 10);
  CHECK(used[2] <= 20);
  CHECK(used[1] == 0);
}

TEST_CASE("what is predicted well is never searched for") {
  Screen screen;
  CHECK(screen.show(kEasy, 600)[0] == 600);
}

TEST_CASE("the search follows what the screen shows") {
  Screen screen;
  screen.show(kFilm, 600);
  screen.show(kScroll, 70);  // the pause after film's last trial, and one trial
  CHECK(screen.show(kScroll, 60)[1] == 60);
  screen.show(kWheel, 70);
  CHECK(screen.show(kWheel, 60)[2] == 60);
  screen.show(kFilm, 10);
  CHECK(screen.show(kFilm, 60)[0] >= 58);
}

}  // namespace
}  // namespace kvm
