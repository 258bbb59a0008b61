// Which motion search x264 gets: the choice alone, fed with how well each width predicts.
#include <doctest/doctest.h>

#include <array>

#include "encode/x264/search_choice.hpp"

namespace kvm {
namespace {

// Bits of a change relative to the same pixels coded intra, at widths 0, 1 and 2.
using Content = std::array<double, SearchChoice::kWidest + 1>;

constexpr Content kFilm{0.45, 0.44, 0.44};
constexpr Content kLine{0.8, 0.12, 0.12};  // scrolled by a line: the middle search finds it
constexpr Content kPage{0.8, 0.8, 0.12};   // further: only the widest does, in every picture

class Session {
 public:
  // `pictures` at 60 a second of `content`. Those at each width.
  std::array<int, SearchChoice::kWidest + 1> show(const Content& content, int pictures) {
    std::array<int, SearchChoice::kWidest + 1> counts{};
    for (int i = 0; i < pictures; ++i) {
      const auto width = static_cast<std::size_t>(choice_.width());
      ++counts[width];
      choice_.learn(content[width], now_);
      now_ += kNsPerSec / 60;
    }
    return counts;
  }
  [[nodiscard]] int width() const { return choice_.width(); }

 private:
  SearchChoice choice_;
  std::int64_t now_ = kNsPerSec;
};

TEST_CASE("film gets the narrowest search, and a trial of the others once a second") {
  Session session;
  const auto counts = session.show(kFilm, 600);
  CHECK(counts[0] > 570);
  CHECK(counts[1] >= 9);
  CHECK(counts[2] >= 9);
}

TEST_CASE("a scroll is found within three pictures, and by no wider search than it takes") {
  Session session;
  session.show(kLine, 3);
  CHECK(session.width() >= 1);
  const auto counts = session.show(kLine, 600);
  CHECK(counts[0] == 0);
  CHECK(counts[1] > 570);
}

TEST_CASE(
    "what the widest search has found is given to the one before it where that finds it too") {
  Session session;
  session.show(kPage, 3);
  CHECK(session.width() == SearchChoice::kWidest);
  // The vectors of the picture before now lead there.
  session.show(kLine, 60);
  const auto counts = session.show(kLine, 600);
  CHECK(counts[2] == 0);
  CHECK(counts[1] == 600);
}

TEST_CASE("what only the widest search finds keeps it") {
  Session session;
  session.show(kPage, 60);
  const auto counts = session.show(kPage, 600);
  CHECK(counts[0] == 0);
  CHECK(counts[1] <= 11);
}

TEST_CASE("after a scroll a film is back at the narrowest search") {
  Session session;
  session.show(kPage, 120);
  session.show(kFilm, 60);
  CHECK(session.show(kFilm, 300)[0] > 280);
}

}  // namespace
}  // namespace kvm
