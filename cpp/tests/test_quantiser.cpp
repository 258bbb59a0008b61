#include "encode/quantiser.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "base/clock.hpp"
#include "encode_session.hpp"

namespace kvm {
namespace {

constexpr int kWidth = 1280;
constexpr int kHeight = 720;

RateSettings rate(int bitrate, double crf = 23) {
  return {60, bitrate, crf};
}

TileMap tiles(const Rect& rect) {
  TileMap map(kWidth, kHeight);
  map.add(rect);
  return map;
}

// Replays pictures whose bits follow a law of the test's own, which differs from the one that the
// quantiser assumes.
struct Replay {
  explicit Replay(const RateSettings& settings) : Replay(Quantiser(settings)) {}
  explicit Replay(const Quantiser& start) : quantiser(start) {
    canvas.draw_text({0, 0, kWidth, kHeight}, 1);
    detail.update(canvas.planes(), nullptr);
  }
  // Bits of an access unit: `weight` = how much harder than expected, steeper in the quantiser than
  // expected.
  double bits_of(double estimate, int q) const {
    return 300 + weight * estimate * std::exp(-steepness * (q - 25));
  }
  int picture(PictureKind kind, const TileMap* damage, double ms, int refine_step = 0) {
    now += static_cast<std::int64_t>(ms * 1e6);
    detail.update(canvas.planes(), damage);
    const int q = quantiser.choose(kind, refine_step, detail, now);
    const double estimate =
        kind == PictureKind::kChange ? detail.measured_bits() : detail.total_bits();
    double bits = bits_of(estimate, q);
    if (kind == PictureKind::kRefinement) bits = 300 + 0.05 * estimate * std::max(0, last_q - q);
    last_q = q;
    last_bits = bits;
    sum += bits;
    quantiser.spent(std::llround(bits));
    return q;
  }

  test::Canvas canvas{PixelFormat::kNv12, kWidth, kHeight};
  DetailMap detail{kWidth, kHeight};
  Quantiser quantiser;
  double weight = 1.0;
  double steepness = 0.09;
  std::int64_t now = kNsPerSec;
  int last_q = 51;
  double last_bits = 0;
  double sum = 0;
};

TEST_CASE("detail is measured where the damage is, and kept elsewhere") {
  test::Canvas canvas(PixelFormat::kNv12, kWidth, kHeight);
  DetailMap detail(kWidth, kHeight);
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) canvas.set(x, y, 128);
  }
  detail.update(canvas.planes(), nullptr);
  CHECK(detail.total_bits() == 0);
  CHECK(detail.measured_share() == doctest::Approx(1.0));

  canvas.draw_text({0, 0, 640, 360}, 1);
  const TileMap corner = tiles({0, 0, 160, 160});
  detail.update(canvas.planes(), &corner);
  const double one = detail.measured_bits();
  CHECK(one > 1000);
  CHECK(detail.total_bits() == doctest::Approx(one));
  CHECK(detail.measured_share() == doctest::Approx(100.0 / (80 * 45)));

  const TileMap nothing(kWidth, kHeight);
  detail.update(canvas.planes(), &nothing);
  CHECK(detail.measured_bits() == 0);
  CHECK(detail.total_bits() == doctest::Approx(one));

  detail.update(canvas.planes(), nullptr);
  const double whole = detail.total_bits();
  CHECK(whole > 5 * one);
  for (int i = 0; i < 1000; ++i) detail.update(canvas.planes(), &corner);
  CHECK(detail.total_bits() == doctest::Approx(whole).epsilon(0.001));  // no drift
}

TEST_CASE("of a large change a part is measured for all, and everything within four pictures") {
  test::Canvas canvas(PixelFormat::kNv12, kWidth, kHeight);
  canvas.draw_text({0, 0, kWidth, kHeight}, 1);
  DetailMap whole(kWidth, kHeight);
  whole.update(canvas.planes(), nullptr);
  // Columns of tiles of every width up to nine, so that runs are shorter and longer than a sample.
  TileMap damage(kWidth, kHeight);
  for (int width = 1, x = 0; width < 10; x += (width + 1) * kTile, ++width)
    damage.add({x, 0, width * kTile, kHeight});
  DetailMap parts(kWidth, kHeight);
  for (int picture = 0; picture < 4; ++picture) {
    parts.update(canvas.planes(), &damage);
    const double share = static_cast<double>(damage.count()) / whole.tiles();
    CHECK(parts.measured_share() == doctest::Approx(share));
    CHECK(parts.measured_bits() == doctest::Approx(whole.total_bits() * share).epsilon(0.1));
  }
  DetailMap rest(kWidth, kHeight);
  TileMap others(kWidth, kHeight);
  others.set_all();
  others.subtract(damage);
  for (int picture = 0; picture < 4; ++picture) rest.update(canvas.planes(), &others);
  CHECK(parts.total_bits() + rest.total_bits() == doctest::Approx(whole.total_bits()));
}

TEST_CASE("finer quantisers are expected to cost more") {
  for (int q = 1; q <= 51; ++q) CHECK(bits_factor(q) < bits_factor(q - 1));
  CHECK(bits_factor(25) == doctest::Approx(1.0));
}

TEST_CASE(
    "below the ceiling crf decides: quiet changes are coded finer than busy ones, as in x264") {
  Replay replay(rate(2'000'000'000, 23));
  CHECK(replay.picture(PictureKind::kKeyframe, nullptr, 0) == 23);
  const TileMap cell = tiles({320, 160, 8, 16});
  for (int i = 0; i < 30; ++i) {
    const int quiet = replay.picture(PictureKind::kChange, &cell, 66);
    CHECK(quiet >= 16);
    CHECK(quiet <= 23);
  }
  const TileMap all = tiles({0, 0, kWidth, kHeight});
  for (int i = 0; i < 30; ++i) {
    const int busy = replay.picture(PictureKind::kChange, &all, 16.7);
    CHECK(busy >= 23);
    CHECK(busy <= 29);
  }
  CHECK(replay.quantiser.budget() > 0);
}

TEST_CASE("a keyframe fits what may be sent at once") {
  for (const int bitrate : {1'000'000, 3'000'000, 12'000'000}) {
    CAPTURE(bitrate);
    Replay replay(rate(bitrate));
    replay.steepness = 0.055;
    replay.picture(PictureKind::kKeyframe, nullptr, 0);
    CHECK((replay.last_bits < 0.25 * bitrate * 1.1 || replay.last_q == Quantiser::kCoarsest));
  }
}

TEST_CASE("over seconds the ceiling holds, whatever the pictures really cost, and is used") {
  const TileMap all = tiles({0, 0, kWidth, kHeight});
  for (const double weight : {0.3, 1.0, 3.0}) {
    for (const double interval_ms : {16.7, 50.0, 200.0}) {
      CAPTURE(weight);
      CAPTURE(interval_ms);
      const double ceiling = 150e6;
      Replay replay(rate(static_cast<int>(ceiling), 5));
      replay.weight = weight;
      replay.picture(PictureKind::kKeyframe, nullptr, 0);
      const auto second = [&] {
        replay.sum = 0;
        const int pictures = static_cast<int>(1000 / interval_ms);
        for (int i = 0; i < pictures; ++i) replay.picture(PictureKind::kChange, &all, interval_ms);
        return replay.sum / (pictures * interval_ms / 1000);
      };
      (void)second();
      double total = 0;
      for (int i = 0; i < 5; ++i) total += second();
      CHECK(total / 5 < 1.05 * ceiling);
      const bool wish_granted = replay.last_q <= 10;
      CHECK((wish_granted || total / 5 > 0.6 * ceiling));
    }
  }
}

TEST_CASE("steady content gets a steady quantiser") {
  Replay replay(rate(8'000'000));
  const TileMap all = tiles({0, 0, kWidth, kHeight});
  replay.picture(PictureKind::kKeyframe, nullptr, 0);
  for (int i = 0; i < 120; ++i) replay.picture(PictureKind::kChange, &all, 16.7);
  int changes = 0;
  int last = replay.last_q;
  for (int i = 0; i < 120; ++i) {
    const int q = replay.picture(PictureKind::kChange, &all, 16.7);
    changes += q != last ? 1 : 0;
    CHECK(std::abs(q - last) <= 4);
    last = q;
  }
  CHECK(changes < 30);
}

TEST_CASE("how much coarser a busy picture is coded than crf is the encoder's to say") {
  const auto settled = [](double coarser_per_doubling) {
    const RateSettings free = rate(1'000'000'000);
    Replay replay(Quantiser(free, Quantiser::Unchanged::kCodedAgain, coarser_per_doubling));
    int q = 0;
    for (int i = 0; i < 60; ++i) q = replay.picture(PictureKind::kChange, nullptr, 1000.0 / 60);
    return q;
  };
  CHECK(settled(0.0) == 23);
  CHECK(settled(2.0) > 23);
}

TEST_CASE("a pause refills the budget in seconds, not in pictures") {
  Replay replay(rate(4'000'000));
  replay.picture(PictureKind::kKeyframe, nullptr, 0);
  const double spent_out = replay.quantiser.budget();
  const TileMap cell = tiles({0, 0, 8, 16});
  replay.picture(PictureKind::kChange, &cell, 125);
  CHECK(replay.quantiser.budget() ==
        doctest::Approx(spent_out + 500'000 - replay.last_bits).epsilon(0.01));
  replay.picture(PictureKind::kChange, &cell, 10'000);
  CHECK(replay.quantiser.budget() == doctest::Approx(1'000'000 - replay.last_bits).epsilon(0.01));
}

TEST_CASE("refinement goes down in steps to visually lossless, as far as the budget allows") {
  Replay rich(rate(200'000'000));
  rich.picture(PictureKind::kKeyframe, nullptr, 0);
  std::vector<int> steps;
  const TileMap nothing(kWidth, kHeight);
  for (int step = 1; step <= 6; ++step) {
    steps.push_back(rich.picture(PictureKind::kRefinement, &nothing, 60, step));
  }
  CHECK(steps == std::vector<int>{20, 17, 14, 11, 10, 10});

  Replay poor(rate(2'000'000));
  poor.picture(PictureKind::kKeyframe, nullptr, 0);
  int last = poor.last_q;
  CHECK(last > 30);
  for (int step = 1; step <= 6; ++step) {
    poor.sum = 0;
    const int q = poor.picture(PictureKind::kRefinement, &nothing, 60, step);
    CHECK(q < last);  // each one sharpens
    last = q;
  }

  Replay fine(rate(200'000'000, 4));  // the wish may be finer than that
  fine.picture(PictureKind::kKeyframe, nullptr, 0);
  CHECK(fine.picture(PictureKind::kRefinement, &nothing, 60, 3) == 4);
}

TEST_CASE("refinement goes on from where the picture is finer than its first steps") {
  Replay replay(rate(2'000'000'000, 23));
  replay.picture(PictureKind::kKeyframe, nullptr, 0);
  const TileMap cell = tiles({320, 160, 8, 16});
  for (int i = 0; i < 10; ++i) replay.picture(PictureKind::kChange, &cell, 66);
  const int typed = replay.last_q;
  REQUIRE(typed < 20);
  const TileMap nothing(kWidth, kHeight);
  CHECK(replay.picture(PictureKind::kRefinement, &nothing, 60, 1) == typed - 3);
}

TEST_CASE("at the coarsest quantiser and in debt, changes are held until the debt is paid") {
  Replay replay(rate(500'000));
  replay.steepness = 0.07;  // about 0.8 of the ceiling's bits a second for each picture at 51
  replay.weight = 0.5;
  replay.picture(PictureKind::kKeyframe, nullptr, 0);
  const TileMap all = tiles({0, 0, kWidth, kHeight});
  int held = 0;
  int coded = 0;
  double bits = 0;
  for (int i = 0; i < 600; ++i) {
    replay.now += 16'700'000;
    replay.detail.update(replay.canvas.planes(), &all);
    const int q = replay.quantiser.choose(PictureKind::kChange, 0, replay.detail, replay.now);
    const bool hold = replay.quantiser.must_hold();
    if (hold) CHECK(q == Quantiser::kCoarsest);
    const double size = hold ? 100 : replay.bits_of(replay.detail.measured_bits(), q);
    bits += size;
    if (hold) {
      ++held;
      replay.quantiser.held(std::llround(size));
    } else {
      ++coded;
      replay.quantiser.spent(std::llround(size));
    }
  }
  CHECK(held > 0);
  CHECK(coded > 0);
  CHECK(bits / 10.02 < 1.1 * 500'000);
  Replay easy(rate(50'000'000));
  easy.picture(PictureKind::kKeyframe, nullptr, 0);
  CHECK_FALSE(easy.quantiser.must_hold());
}

TEST_CASE("after a coarse picture a small change does not pay for all of it at once") {
  Replay replay(rate(3'000'000));
  replay.picture(PictureKind::kKeyframe, nullptr, 0);
  const int coarse = replay.last_q;
  CHECK(coarse > 28);
  const TileMap cell = tiles({320, 160, 8, 16});
  const int q = replay.picture(PictureKind::kChange, &cell, 16.7);
  CHECK(q > 23);
  // With time, it does.
  for (int i = 0; i < 60; ++i) replay.picture(PictureKind::kChange, &cell, 66);
  CHECK(replay.last_q <= 23);
}

TEST_CASE("time that stands still or runs backwards does no harm") {
  Replay replay(rate(4'000'000));
  const TileMap all = tiles({0, 0, kWidth, kHeight});
  for (const double ms : {0.0, 0.0, -50.0, 0.0, 1e7, 16.7}) {
    const int q = replay.picture(PictureKind::kChange, &all, ms);
    CHECK(q >= 1);
    CHECK(q <= Quantiser::kCoarsest);
    CHECK(std::isfinite(replay.quantiser.budget()));
  }
}

}  // namespace
}  // namespace kvm
