#include "convert/convert.hpp"

#include <doctest/doctest.h>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include "convert/bt709.hpp"
#include "tests/pixels.hpp"

using namespace kvm;
using namespace kvm::test;

namespace {

constexpr PixelFormat kFormats[] = {PixelFormat::kNv12, PixelFormat::kI420, PixelFormat::kI444};

int plane_count(PixelFormat format) {
  return format == PixelFormat::kNv12 ? 2 : 3;
}

// Bytes per row and rows of a plane of the coded picture.
std::pair<int, int> plane_size(PixelFormat format, int plane, int width, int height) {
  const int w = (width + 1) & ~1;
  const int h = (height + 1) & ~1;
  if (plane == 0 || format == PixelFormat::kI444) return {w, h};
  return {format == PixelFormat::kNv12 ? w : w / 2, h / 2};
}

bool equal(const CpuPlanes& a, const CpuPlanes& b, PixelFormat format, int width, int height) {
  for (int p = 0; p < plane_count(format); ++p) {
    const auto i = static_cast<std::size_t>(p);
    const auto [bytes, rows] = plane_size(format, p, width, height);
    for (int y = 0; y < rows; ++y) {
      if (std::memcmp(a.data[i] + y * a.stride[i], b.data[i] + y * b.stride[i],
                      static_cast<std::size_t>(bytes)) != 0) {
        return false;
      }
    }
  }
  return true;
}

// The textbook formula on 0…255 values (or means of them).
std::array<double, 3> exact(double b, double g, double r) {
  const double luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return {16 + 219.0 / 255 * luma, 128 + 224.0 / 255 * (b - luma) / 1.8556,
          128 + 224.0 / 255 * (r - luma) / 1.5748};
}

// Planes of a coded picture with marked padding and an inaccessible page behind each.
struct GuardedYuv {
  GuardedYuv(PixelFormat format, int width, int height, int padding) {
    for (int p = 0; p < plane_count(format); ++p) {
      const auto [bytes, rows] = plane_size(format, p, width, height);
      parts.push_back(std::make_unique<GuardedPlane>(bytes, rows, padding));
      planes.data[static_cast<std::size_t>(p)] = parts.back()->data();
      planes.stride[static_cast<std::size_t>(p)] = parts.back()->stride();
    }
  }
  [[nodiscard]] bool padding_intact() const {
    return std::all_of(parts.begin(), parts.end(),
                       [](const auto& part) { return part->padding_intact(); });
  }
  std::vector<std::unique_ptr<GuardedPlane>> parts;
  CpuPlanes planes;
};

}  // namespace

TEST_CASE("every colour is within 0.52 of the exact BT.709 value and inside the limited range") {
  double worst = 0;
  int low = 255;
  int high_luma = 0;
  int high_chroma = 0;
  for (int b = 0; b < 256; ++b) {
    for (int g = 0; g < 256; ++g) {
      for (int r = 0; r < 256; ++r) {
        const int y = bt709::luma(b, g, r);
        const int u = bt709::chroma(bt709::kU, b, g, r, 0);
        const int v = bt709::chroma(bt709::kV, b, g, r, 0);
        const auto want = exact(b, g, r);
        worst =
            std::max({worst, std::abs(y - want[0]), std::abs(u - want[1]), std::abs(v - want[2])});
        low = std::min({low, y, u, v});
        high_luma = std::max(high_luma, y);
        high_chroma = std::max({high_chroma, u, v});
      }
    }
  }
  CHECK(worst <= 0.52);
  CHECK(low == 16);
  CHECK(high_luma == 235);
  CHECK(high_chroma == 240);
}

TEST_CASE("black, white and every grey are exact") {
  CHECK(bt709::luma(0, 0, 0) == 16);
  CHECK(bt709::luma(255, 255, 255) == 235);
  for (int grey = 0; grey < 256; ++grey) {
    CHECK(bt709::luma(grey, grey, grey) ==
          static_cast<int>(std::floor(16 + 219.0 / 255 * grey + 0.5)));
    CHECK(bt709::chroma(bt709::kU, grey, grey, grey, 0) == 128);
    CHECK(bt709::chroma(bt709::kV, grey, grey, grey, 0) == 128);
    CHECK(bt709::chroma(bt709::kU, 4 * grey, 4 * grey, 4 * grey, 2) == 128);
    CHECK(bt709::chroma(bt709::kV, 4 * grey, 4 * grey, 4 * grey, 2) == 128);
  }
}

TEST_CASE(
    "the reference takes 4:2:0 chroma from the unrounded mean, repeating the last column and row") {
  std::mt19937 random(1);
  for (const auto& size : {std::pair{8, 6}, {7, 6}, {8, 5}, {7, 5}, {1, 1}}) {
    const int width = size.first;
    const int height = size.second;
    BgraPicture source(width, height, 12);
    for (int round = 0; round < 50; ++round) {
      source.randomize(random);
      YuvPicture nv12(PixelFormat::kNv12, width, height);
      YuvPicture i420(PixelFormat::kI420, width, height);
      YuvPicture i444(PixelFormat::kI444, width, height);
      for (YuvPicture* out : {&nv12, &i420, &i444})
        convert_reference(source.planes(), width, height, *out);
      const auto pixel = [&](int x, int y) {
        return source.at(std::min(x, width - 1), std::min(y, height - 1));
      };
      double worst = 0;
      const auto check = [&](const YuvPicture& picture, std::size_t plane, int x, int y,
                             double want) {
        const CpuPlanes& p = picture.planes();
        worst = std::max(worst, std::abs(p.data[plane][y * p.stride[plane] + x] - want));
      };
      for (int y = 0; y < nv12.coded_height(); ++y) {
        for (int x = 0; x < nv12.coded_width(); ++x) {
          const std::uint8_t* p = pixel(x, y);
          const auto want = exact(p[0], p[1], p[2]);
          for (const YuvPicture* picture : {&nv12, &i420, &i444}) check(*picture, 0, x, y, want[0]);
          check(i444, 1, x, y, want[1]);
          check(i444, 2, x, y, want[2]);
          if (x % 2 != 0 || y % 2 != 0) continue;
          double mean[3] = {};
          for (int i = 0; i < 4; ++i) {
            for (int c = 0; c < 3; ++c) mean[c] += pixel(x + i % 2, y + i / 2)[c] / 4.0;
          }
          const auto quad = exact(mean[0], mean[1], mean[2]);
          check(nv12, 1, x, y / 2, quad[1]);
          check(nv12, 1, x + 1, y / 2, quad[2]);
          check(i420, 1, x / 2, y / 2, quad[1]);
          check(i420, 2, x / 2, y / 2, quad[2]);
        }
      }
      CHECK(worst <= 0.52);
    }
  }
}

TEST_CASE(
    "every instruction set gives the reference's bytes and touches nothing else, all sizes 1…67") {
  std::mt19937 random(2);
  std::set<std::string> names;
  for (int width = 1; width <= 67; ++width) {
    for (int height = 1; height <= 67; height += height < 19 ? 1 : uniform(random, 1, 9)) {
      BgraPicture source(width, height, uniform(random, 0, 3) * 4);
      source.randomize(random);
      for (const PixelFormat format : kFormats) {
        YuvPicture want(format, width, height);
        convert_reference(source.planes(), width, height, want);
        const int padding = uniform(random, 0, 70);
        on_every_target(
            [&] {
              names.insert(convert_target());
              GuardedYuv got(format, width, height, padding);
              kernels::convert_rect(format, source.planes().data[0], source.planes().stride[0],
                                    width, height, got.planes);
              const bool same = equal(got.planes, want.planes(), format, width, height);
              if (!same || !got.padding_intact()) {
                FAIL(convert_target()
                     << ": " << width << "x" << height << " format " << static_cast<int>(format)
                     << (same ? ": wrote beyond the rows" : ": differs from the reference"));
              }
            });
      }
    }
  }
  CHECK(names.size() == kernels::targets().size());  // each was really run
}

TEST_CASE("wide rows: every instruction set gives the reference's bytes") {
  std::mt19937 random(3);
  for (const int width : {127, 128, 129, 130, 191, 255, 256, 318, 641, 1366, 1920}) {
    const int height = uniform(random, 3, 6);
    BgraPicture source(width, height);
    source.randomize(random);
    for (const PixelFormat format : kFormats) {
      YuvPicture want(format, width, height);
      convert_reference(source.planes(), width, height, want);
      on_every_target([&] {
        YuvPicture got(format, width, height);
        convert_tiles(source.planes(), all_tiles(width, height), got);
        CHECK(equal(got.planes(), want.planes(), format, width, height));
      });
    }
  }
}

TEST_CASE("only damaged tiles change, and they change completely") {
  std::mt19937 random(4);
  for (int round = 0; round < 150; ++round) {
    const int width = uniform(random, 1, 300);
    const int height = uniform(random, 1, 120);
    const TileMap damage =
        random_tiles(width, height, static_cast<unsigned>(uniform(random, 0, 100)), random);
    BgraPicture before(width, height);
    BgraPicture after(width, height, 8);
    before.randomize(random);
    after.randomize(random);
    BgraPicture mixed(width, height);
    mixed.copy_from(before);
    copy_tiles(after.planes(), mixed.planes(), damage);
    for (const PixelFormat format : kFormats) {
      YuvPicture want(format, width, height);
      convert_reference(mixed.planes(), width, height, want);
      on_every_target([&] {
        YuvPicture got(format, width, height);
        convert_reference(before.planes(), width, height, got);
        convert_tiles(after.planes(), damage, got);
        CHECK(equal(got.planes(), want.planes(), format, width, height));
      });
    }
  }
}

TEST_CASE("the unused fourth byte has no influence") {
  std::mt19937 random(5);
  BgraPicture a(70, 20);
  a.randomize(random);
  BgraPicture b(70, 20);
  b.copy_from(a);
  for (int y = 0; y < 20; ++y) {
    for (int x = 0; x < 70; ++x) b.at(x, y)[3] = static_cast<std::uint8_t>(~a.at(x, y)[3]);
  }
  for (const PixelFormat format : kFormats) {
    on_every_target([&] {
      YuvPicture from_a(format, 70, 20);
      YuvPicture from_b(format, 70, 20);
      convert_tiles(a.planes(), all_tiles(70, 20), from_a);
      convert_tiles(b.planes(), all_tiles(70, 20), from_b);
      CHECK(equal(from_a.planes(), from_b.planes(), format, 70, 20));
    });
  }
}

TEST_CASE("a new picture is black, aligned, and keeps its planes when moved") {
  for (const PixelFormat format : kFormats) {
    for (const auto& [width, height] : {std::pair{1, 1}, {641, 359}, {1920, 1080}}) {
      YuvPicture picture(format, width, height);
      CHECK(picture.coded_width() == (width + 1) / 2 * 2);
      CHECK(picture.coded_height() == (height + 1) / 2 * 2);
      BgraPicture source(width, height);
      source.fill(0, 0, 0, 0);
      YuvPicture black(format, width, height);
      convert_tiles(source.planes(), all_tiles(width, height), black);
      CHECK(equal(picture.planes(), black.planes(), format, width, height));
      for (std::size_t p = 0; p < 3; ++p) {
        CHECK(reinterpret_cast<std::uintptr_t>(picture.planes().data[p]) % 64 == 0);
        CHECK(picture.planes().stride[p] % 64 == 0);
        CHECK((picture.planes().data[p] != nullptr) == (static_cast<int>(p) < plane_count(format)));
      }
      const std::uint8_t* luma = picture.planes().data[0];
      const YuvPicture moved = std::move(picture);
      CHECK(moved.planes().data[0] == luma);
      CHECK(luma[0] == 16);
    }
  }
  CHECK_THROWS_AS(YuvPicture(PixelFormat::kBgra, 16, 16), std::invalid_argument);
  CHECK_THROWS_AS(YuvPicture(PixelFormat::kNv12, 0, 16), std::invalid_argument);
  CHECK_THROWS_AS(YuvPicture(PixelFormat::kI444, 16, -1), std::invalid_argument);
}

TEST_CASE("trim_equal_tiles keeps exactly the tiles with a changed byte") {
  std::mt19937 random(6);
  for (int round = 0; round < 300; ++round) {
    // Now and then wider than 64 tiles, the most that one kernel call takes.
    const int width = round % 5 == 0 ? uniform(random, 1000, 1300) : uniform(random, 1, 140);
    const int height = uniform(random, 1, 50);
    BgraPicture a(width, height, 4 * uniform(random, 0, 2));
    BgraPicture b(width, height, 4 * uniform(random, 0, 2));
    a.randomize(random);
    b.copy_from(a);
    TileMap changed(width, height);
    for (int i = uniform(random, 0, 30); i > 0; --i) {
      const int x = uniform(random, 0, width - 1);
      const int y = uniform(random, 0, height - 1);
      b.at(x, y)[random() % 4] ^= static_cast<std::uint8_t>(1u << random() % 8);
      changed.set(x / kTile, y / kTile);
    }
    // A byte changed twice may be as before: ask the pictures, tile by tile.
    for (int row = 0; row < changed.rows(); ++row) {
      for (int col = 0; col < changed.cols(); ++col) {
        if (!changed.at(col, row)) continue;
        const Rect rect = changed.run_rect(row, col, col + 1);
        bool differs = false;
        for (int y = rect.y; y < rect.bottom(); ++y) {
          differs |= std::memcmp(a.at(rect.x, y), b.at(rect.x, y),
                                 static_cast<std::size_t>(4 * rect.width)) != 0;
        }
        changed.set(col, row, differs);
      }
    }
    const TileMap marked = random_tiles(width, height, round % 2 == 0 ? 100 : 60, random);
    on_every_target([&] {
      TileMap tiles = marked;
      trim_equal_tiles(a.planes(), b.planes(), tiles);
      for (int row = 0; row < tiles.rows(); ++row) {
        for (int col = 0; col < tiles.cols(); ++col) {
          const bool want = marked.at(col, row) && changed.at(col, row);
          if (tiles.at(col, row) != want)
            FAIL(convert_target() << ": tile " << col << "," << row << " of " << width);
        }
      }
    });
  }
}

TEST_CASE("trim_equal_tiles sees every single byte of a tile") {
  BgraPicture a(32, 16);
  BgraPicture b(32, 16);
  a.fill(1, 2, 3, 4);
  b.fill(1, 2, 3, 4);
  on_every_target([&] {
    for (int y = 0; y < 16; ++y) {
      for (int i = 0; i < 128; ++i) {
        std::uint8_t& byte = b.at(0, y)[i];
        byte ^= 0x80;
        TileMap tiles = all_tiles(32, 16);
        trim_equal_tiles(a.planes(), b.planes(), tiles);
        byte ^= 0x80;
        if (tiles.at(0, 0) != (i < 64) || tiles.at(1, 0) != (i >= 64))
          FAIL("row " << y << " byte " << i);
      }
    }
  });
}

TEST_CASE("copy_tiles copies the marked tiles and nothing else") {
  std::mt19937 random(7);
  for (int round = 0; round < 100; ++round) {
    const int width = uniform(random, 1, 200);
    const int height = uniform(random, 1, 100);
    const TileMap tiles =
        random_tiles(width, height, static_cast<unsigned>(uniform(random, 0, 100)), random);
    BgraPicture from(width, height, 4);
    BgraPicture to(width, height, 20);
    BgraPicture before(width, height);
    from.randomize(random);
    before.randomize(random);
    to.copy_from(before);
    copy_tiles(from.planes(), to.planes(), tiles);
    bool right = true;
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) {
        const BgraPicture& want = tiles.at(x / kTile, y / kTile) ? from : before;
        right &= std::memcmp(to.at(x, y), want.at(x, y), 4) == 0;
      }
    }
    CHECK(right);
    CHECK(to.padding_intact());
  }
}
