// The deblocking filter of our own encoder: its edges against plain loops on every instruction set,
// and which slices it runs over. That decoders filter alike: test_screen_desktop, whose every other
// desktop is filtered as a whole.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>
#include <vector>

#include "encode/bits.hpp"
#include "encode/h264_sps.hpp"
#include "encode/screen/deblock_edge.hpp"
#include "pixels.hpp"
#include "screen_support.hpp"

namespace kvm {
namespace {

using screen::BoundaryStrengths;
using screen::Deblocking;
using screen::EdgeStrength;
using test::Canvas;
using test::Decoded;
using test::Exact;
using test::quality;
using test::tiles_of;
using test::whole;

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

struct SliceHead {  // 7.3.3
  bool intra = false;
  int row = 0;
  int quantiser = 0;
  unsigned deblocking_idc = 0;
};
std::vector<SliceHead> slices_of(const AccessUnit& unit, int cols) {
  std::vector<SliceHead> heads;
  for_each_nal(unit.data, [&](const NalUnit& nal) {
    const unsigned type = nal.bytes[0] & 31U;
    if (type != 1 && type != 5) return true;
    BitReader bits(nal.bytes.subspan(1));
    SliceHead head{.intra = type == 5};
    head.row = static_cast<int>(bits.ue()) / cols;
    (void)bits.ue();
    (void)bits.ue();
    (void)bits.bits(screen::kFrameNumBits);
    if (head.intra) (void)bits.ue();
    (void)bits.bits(head.intra ? 2 : 3);
    head.quantiser = 26 + bits.se();
    head.deblocking_idc = bits.ue();
    heads.push_back(head);
    return true;
  });
  return heads;
}

class Film {
 public:
  explicit Film(Canvas& canvas, unsigned grain = 24) : canvas_(canvas), grain_(grain) {}
  // Soft shapes that move, and grain; new in all macroblocks.
  void next(const Rect& area) {
    phase_ += 3;
    for (int y = area.y; y < area.bottom(); ++y) {
      for (int x = area.x; x < area.right(); ++x) {
        const int soft = std::abs((x + phase_) % 120 - 60) + std::abs((y * 2 + phase_) % 160 - 80);
        canvas_.set(x, y, 40 + soft + static_cast<int>(random_() % grain_));
      }
    }
  }

 private:
  Canvas& canvas_;
  unsigned grain_;
  std::mt19937 random_{3};
  int phase_ = 0;
};

// From here on coarse, as under a low ceiling, but always alike.
void make_coarse(Exact& exact) {
  exact.update({60, 200'000'000, 40});
}
void sharpen(Exact& exact, const Canvas& canvas) {
  const TileMap none(canvas.width(), canvas.height());
  for (int step = 1; step <= 6; ++step) exact.encode(canvas, &none, false, step);
}

TEST_CASE("a coarse film is filtered, in all of its slices, and a good one is not") {
  for (const PixelFormat format : test::kPlanar) {
    CAPTURE(format);
    for (int most = 1; most <= 8; ++most) {
      CAPTURE(most);
      Canvas canvas(format, 640, 368);
      Film film(canvas);
      film.next(whole(canvas));
      Exact exact(canvas, quality(23), {.most = most, .least_tiles = 4});
      exact.encode(canvas);
      const TileMap all = tiles_of(canvas, whole(canvas));
      for (int i = 0; i < 24; ++i) {
        CAPTURE(i);
        if (i == 10) make_coarse(exact);
        film.next(whole(canvas));
        exact.encode(canvas, &all);
        const auto slices = slices_of(exact.unit, 40);
        REQUIRE(slices.size() == static_cast<std::size_t>(most));
        for (const auto& slice : slices) {
          // What is known as a film, and no picture before that is still fine.
          if (i >= 10) CHECK(slice.quantiser >= 30);
          if (i < 10) CHECK(slice.deblocking_idc == 1);
          if (i >= 12) CHECK(slice.deblocking_idc == 2);
        }
      }
    }
  }
}

TEST_CASE("text beside a coarse film stays exact, at rest and in motion") {
  for (const PixelFormat format : test::kPlanar) {
    CAPTURE(format);
    constexpr Rect kFilm{0, 0, 640, 368};  // 920 tiles
    constexpr Rect kText{640, 0, 320, 368};
    Canvas canvas(format, 960, 368);
    Film film(canvas);
    film.next(kFilm);
    canvas.draw_text(kText, 4);
    Exact exact(canvas, quality(23), {.most = 2, .least_tiles = 4});
    exact.encode(canvas);
    sharpen(exact, canvas);
    make_coarse(exact);
    const TileMap none(960, 368);
    Decoded before = exact.encode(canvas, &none);
    for (int i = 0; i < 30; ++i) {
      CAPTURE(i);
      film.next(kFilm);
      // It turns: what leaves above returns below.
      constexpr int kRows = 16;
      const bool scrolls = i % 3 == 2;
      if (scrolls) {
        const CpuPlanes& planes = canvas.planes();
        std::vector<std::uint8_t> old;
        for (int y = 0; y < 368; ++y) {
          const std::uint8_t* row = planes.data[0] + y * planes.stride[0] + 640;
          old.insert(old.end(), row, row + 320);
        }
        for (int y = 0; y < 368; ++y) {
          std::copy_n(old.begin() + (y + kRows) % 368 * 320, 320,
                      planes.data[0] + y * planes.stride[0] + 640);
        }
      }
      TileMap damage = tiles_of(canvas, kFilm);
      if (scrolls) damage.merge(tiles_of(canvas, kText));
      const Decoded now = exact.encode(canvas, &damage);
      for (const auto& slice : slices_of(exact.unit, 60)) {
        CHECK(slice.quantiser >= 30);
        CHECK(slice.deblocking_idc == 1);
      }
      // What has not come in from below meanwhile.
      const int sharp_rows = 368 - 16 * (i / 3 + 1);
      for (int y = 0; y < sharp_rows; ++y) {
        const auto at = [&](const Decoded& decoded, int line) {
          return decoded.luma.data() + line * 960 + 640;
        };
        REQUIRE(std::equal(at(now, y), at(now, y) + 320, at(before, scrolls ? y + kRows : y)));
      }
      before = now;
    }
  }
}

TEST_CASE("between its bars a coarse film is filtered, and the bars stay exact") {
  constexpr Rect kFilm{0, 64, 640, 256};
  Canvas canvas(PixelFormat::kI420, 640, 368);
  Film film(canvas);
  canvas.draw_text(whole(canvas), 2);
  film.next(kFilm);
  Exact exact(canvas, quality(23), {.most = 2, .least_tiles = 4});
  exact.encode(canvas);
  sharpen(exact, canvas);
  make_coarse(exact);
  const TileMap none(640, 368);
  const TileMap damage = tiles_of(canvas, kFilm);
  const Decoded before = exact.encode(canvas, &none);
  for (int i = 0; i < 16; ++i) {
    CAPTURE(i);
    film.next(kFilm);
    const Decoded now = exact.encode(canvas, &damage);
    for (const auto& slice : slices_of(exact.unit, 40)) {
      const bool bar = slice.row < 4 || slice.row >= 20;
      if (i >= 8) CHECK(slice.deblocking_idc == (bar ? 1U : 2U));
    }
    for (int y = 0; y < 368; ++y) {
      if (y >= kFilm.y && y < kFilm.bottom()) continue;
      REQUIRE(std::equal(now.luma.begin() + y * 640, now.luma.begin() + (y + 1) * 640,
                         before.luma.begin() + y * 640));
    }
  }
}

TEST_CASE("a coarse keyframe is filtered, a good one is not, and refinement ends alike") {
  for (const PixelFormat format : test::kPlanar) {
    CAPTURE(format);
    for (const int crf : {23, 31, 32, 40, 51}) {
      CAPTURE(crf);
      Canvas canvas(format, 320, 208);
      canvas.draw_text(whole(canvas), 2);
      Exact exact(canvas, quality(crf), {.most = 2, .least_tiles = 4});
      exact.encode(canvas);
      for (const auto& slice : slices_of(exact.unit, 20)) {
        CHECK(slice.intra);
        CHECK(slice.quantiser == crf);
        CHECK(slice.deblocking_idc == (crf >= 32 ? 2U : 1U));
      }
      exact.update({60, 200'000'000, 23});
      sharpen(exact, canvas);
      const TileMap none(320, 208);
      const Decoded sharp = exact.encode(canvas, &none, false, 6);
      int worst = 0;
      for (int y = 0; y < 208; ++y) {
        for (int x = 0; x < 320; ++x) {
          worst = std::max(worst, std::abs(canvas.luma(x, y) -
                                           sharp.luma[static_cast<std::size_t>(y * 320 + x)]));
        }
      }
      CHECK(worst < 12);
    }
  }
}

TEST_CASE("what the filter made coarser is sharpened like anything else") {
  Canvas canvas(PixelFormat::kI420, 320, 208);
  canvas.draw_text(whole(canvas), 2);
  Exact exact(canvas, quality(23), {.most = 1}, Deblocking::kAlways);
  exact.encode(canvas);
  sharpen(exact, canvas);
  // Without grain: what is smooth is filtered most.
  constexpr Rect kNew{160, 0, 160, 208};
  Film film(canvas, 1);
  film.next(whole(canvas));
  TileMap damage = tiles_of(canvas, whole(canvas));
  exact.encode(canvas, &damage);
  sharpen(exact, canvas);
  const TileMap none(320, 208);
  const Decoded fine = exact.encode(canvas, &none);
  make_coarse(exact);
  for (int y = kNew.y; y < kNew.bottom(); ++y) {
    for (int x = kNew.x; x < kNew.right(); ++x) canvas.set(x, y, canvas.luma(x, y) + 40);
  }
  damage = tiles_of(canvas, kNew);
  const Decoded coarse = exact.encode(canvas, &damage);
  // The filter reached the last sharp column.
  const auto column = [](const Decoded& decoded) {
    std::vector<std::uint8_t> pixels;
    for (std::size_t y = 0; y < 208; ++y) {
      const auto row = decoded.luma.begin() + static_cast<std::ptrdiff_t>(y * 320);
      pixels.insert(pixels.end(), row + 144, row + 160);
    }
    return pixels;
  };
  REQUIRE(column(fine) != column(coarse));
  // So refinement goes over it, filtered or not, until it is as near as before.
  exact.update({60, 200'000'000, 23});
  for (int i = 0; i < 4; ++i) sharpen(exact, canvas);
  const Decoded again = exact.encode(canvas, &none);
  const auto error = [&](const Decoded& decoded) {
    int sum = 0;
    for (int y = 0; y < 208; ++y) {
      for (int x = 144; x < 160; ++x) {
        const int d = canvas.luma(x, y) - decoded.luma[static_cast<std::size_t>(y * 320 + x)];
        sum += d * d;
      }
    }
    return sum;
  };
  CHECK(error(coarse) > 2 * error(fine));
  CHECK(2 * error(again) < 3 * error(fine));
}

}  // namespace
}  // namespace kvm
