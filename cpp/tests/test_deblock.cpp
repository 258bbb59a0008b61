// Which slices the deblocking filter of our own encoder runs over, and that it spoils nothing. That
// decoders filter alike: test_screen_desktop, half of whose desktops are filtered as a whole.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>
#include <vector>

#include "encode/bits.hpp"
#include "encode/h264_sps.hpp"
#include "encode/screen/deblock.hpp"
#include "encode/screen/deblock_choice.hpp"
#include "screen_support.hpp"

namespace kvm {
namespace {

using screen::Deblocking;
using test::Canvas;
using test::Decoded;
using test::Exact;
using test::quality;
using test::tiles_of;
using test::whole;

TEST_CASE("an edge has the mean of both quantisers, rounded up, and I_PCM has 0") {
  using State = screen::MacroblockMap::State;
  // Intra macroblocks in a row, each flat. The third states no quantiser: it has that of the first,
  // for I_PCM has none.
  constexpr std::array kStated{33, State::kPcm, State::kAsBefore, 40};
  constexpr int kMeanOfLast = 37;
  const auto filtered_edges = [&](int step) {
    screen::MacroblockMap map(4, 1);
    map.begin_picture();
    const screen::Planes picture(4, 1, Chroma::k420);
    for (int col = 0; col < 4; ++col) {
      map.code(col, 0, true, {}, 10).quantiser =
          static_cast<std::int8_t>(kStated[static_cast<std::size_t>(col)]);
      for (std::size_t plane = 0; plane < 3; ++plane) {
        const int tile = picture.tile(plane);
        for (int y = 0; y < tile; ++y)
          std::fill_n(picture[plane].at(col * tile, y), tile,
                      static_cast<std::uint8_t>(col * step));
      }
    }
    screen::deblock({.first_row = 0, .end_row = 1, .quantiser = 20, .chroma = Chroma::k420}, map,
                    picture);
    unsigned edges = 0;
    for (int col = 1; col < 4; ++col) {
      if (*picture[0].at(col * 16, 7) != col * step) edges |= 1U << (col - 1);
    }
    // As coarse as their edges: what lies beside I_PCM is 17, the mean of 33 and 0.
    CHECK(map.quality(0, 0) == 17);
    CHECK(map.quality(1, 0) == 17);
    CHECK(map.quality(2, 0) == kMeanOfLast);
    CHECK(map.quality(3, 0) == kMeanOfLast);
    return edges;
  };
  // Table 8-16: alpha is 4 at 17, 50 at 36, 56 at 37.
  CHECK(filtered_edges(3) == 7);
  CHECK(filtered_edges(4) == 4);
  CHECK(filtered_edges(55) == 4);
  CHECK(filtered_edges(56) == 0);
}

TEST_CASE("one fine macroblock within reach of the filter keeps it off") {
  // A film of 8×6 macroblocks in the middle of a slice of 16×10 that is coarse all over.
  constexpr int kCols = 16;
  constexpr int kRows = 12;
  const auto ask = [](auto&& spoil) {
    screen::MacroblockMap map(kCols, kRows);
    TileMap changed(kCols * kTile, kRows * kTile);
    for (int picture = 0; picture < 7; ++picture) {
      map.begin_picture();
      for (int row = 0; row < kRows; ++row) {
        for (int col = 0; col < kCols; ++col) {
          const bool film = col >= 4 && col < 12 && row >= 3 && row < 9;
          if (picture == 0) (void)map.code(col, row, false, {}, 30);
          if (film && picture < 6) map.changed(col, row, true);
          if (film) changed.set(col, row);
        }
      }
    }
    TileMap sharpened(kCols * kTile, kRows * kTile);
    std::vector<screen::Vector> displacements{{.x = -3, .y = 17}, {.x = 500, .y = -500}};
    spoil(map, changed, sharpened, displacements);
    return is_coarse_film(map, {.first_row = 1,
                                .end_row = 11,
                                .changed = changed,
                                .sharpened = sharpened,
                                .displacements = displacements});
  };
  const auto ask_with_fine = [&](int col, int row, bool changes) {
    return ask([&](screen::MacroblockMap& map, TileMap& changed, TileMap&, auto&) {
      (void)map.code(col, row, false, {}, 29);
      map.begin_picture();
      if (changes) changed.set(col, row);
    });
  };
  CHECK(ask([](auto&, auto&, auto&, auto&) {}));
  // Beside the film, on each of its sides; a fine macroblock of the film itself is written over.
  for (const auto& [col, row] : {std::pair{3, 5}, {12, 5}, {6, 2}, {6, 9}}) {
    CAPTURE(col);
    CAPTURE(row);
    CHECK_FALSE(ask_with_fine(col, row, false));
  }
  for (const auto& [col, row] : {std::pair{3, 2}, {2, 5}, {13, 5}, {6, 1}, {6, 10}, {6, 5}}) {
    CAPTURE(col);
    CAPTURE(row);
    CHECK(ask_with_fine(col, row, false));
  }
  // What changes without being film.
  CHECK_FALSE(ask_with_fine(0, 1, true));
  CHECK(ask([](auto&, TileMap& changed, auto&, auto&) { changed.set(15, 10); }));
  // Beyond the slice nothing is touched.
  CHECK(ask_with_fine(6, 0, false));
  CHECK(ask([](screen::MacroblockMap& map, TileMap& changed, TileMap&, auto&) {
    (void)map.code(6, 0, false, {}, 10);
    map.begin_picture();
    changed.set(6, 1);
  }));
  // It may be a copy: of two macroblocks by two, -3 and 17 pixels away.
  for (const auto& [col, row] : {std::pair{0, 5}, {1, 5}, {0, 6}, {1, 6}, {1, 4}, {2, 5}}) {
    CAPTURE(col);
    CAPTURE(row);
    const bool beside = col == 1 && row == 4;  // it changes itself
    const bool reached = col <= 1 && row >= 5;
    CHECK(ask([&](screen::MacroblockMap& map, TileMap& changed, TileMap&, auto&) {
            changed.set(1, 4);
            (void)map.code(col, row, false, {}, 15);
            map.begin_picture();
          }) == !(beside || reached));
  }
  // In sharpened ones there are new levels.
  CHECK_FALSE(ask([](auto&, auto&, TileMap& sharpened, auto&) { sharpened.set(0, 1); }));
  CHECK(ask([](auto&, auto&, TileMap& sharpened, auto&) { sharpened.set(0, 11); }));
  // Nothing that changes, and too little of it film.
  CHECK_FALSE(ask([](auto&, TileMap& changed, auto&, auto&) { changed.clear(); }));
  CHECK_FALSE(ask([](screen::MacroblockMap& map, auto&, auto&, auto&) {
    for (int row = 3; row < 9; ++row) {
      for (int col = 4; col < 12; ++col) {
        if (col > 4 || row > 8) map.changed(col, row, false);
      }
    }
  }));
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
