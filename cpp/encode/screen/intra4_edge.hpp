// What an Intra_4x4 block is predicted from (ITU-T H.264, 8.3.1.2): the pixels around it in one
// line, and where in it each mode looks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "encode/screen/intra4.hpp"

namespace kvm::screen {

// The pixels around a block in one line, from the left column's lowest over the corner to the
// right: L3 L2 L1 L0 M T0 … T7. Each mode's prediction is made of this line (kAsIs), of means of
// two neighbours (kMean2: place i and i + 1) and of three (kMean3: i - 1, i twice, i + 1).
constexpr std::size_t kCorner = 4;
constexpr std::size_t kTop = 5;
constexpr std::size_t kLowestLeft = 15;  // kMean2 of this place is L3 itself
enum Line : std::uint8_t { kAsIs, kMean2, kMean3 };

struct Tap {
  Line line = kAsIs;
  std::uint8_t place = 0;
};

// 8.3.1.2.1 to 8.3.1.2.9 but for DC: where the pixel of column x, row y comes from.
constexpr Tap tap_of(unsigned mode, int x, int y) {
  const auto tap = [](Line line, int place) { return Tap{line, static_cast<std::uint8_t>(place)}; };
  constexpr int kM = static_cast<int>(kCorner);
  switch (mode) {
    case 0:  // vertical
      return tap(kAsIs, kM + 1 + x);
    case 1:  // horizontal
      return tap(kAsIs, kM - 1 - y);
    case 3:  // diagonal down left
      return tap(kMean3, kM + 2 + x + y);
    case 4:  // diagonal down right
      return tap(kMean3, kM + x - y);
    case 5: {  // vertical right
      const int z = 2 * x - y;
      const int k = x - (y >> 1);
      if (z < -1) return tap(kMean3, kM + 1 - y);
      return tap(z >= 0 && z % 2 == 0 ? kMean2 : kMean3, kM + (z == -1 ? 0 : k));
    }
    case 6: {  // horizontal down
      const int z = 2 * y - x;
      const int k = y - (x >> 1);
      if (z < -1) return tap(kMean3, kM - 1 + x);
      if (z == -1) return tap(kMean3, kM);
      return z % 2 == 0 ? tap(kMean2, kM - 1 - k) : tap(kMean3, kM - k);
    }
    case 7:  // vertical left
      return y % 2 == 0 ? tap(kMean2, kM + 1 + x + (y >> 1)) : tap(kMean3, kM + 2 + x + (y >> 1));
    case 8: {  // horizontal up
      const int z = x + 2 * y;
      const int k = y + (x >> 1);
      if (z > 5) return tap(kMean2, static_cast<int>(kLowestLeft));
      return tap(z % 2 == 0 ? kMean2 : kMean3, 2 - k);
    }
    default:
      return {};
  }
}

// For each mode and line, the place for each pixel; 128 = another line's.
constexpr auto kTaps = [] {
  std::array<std::array<std::array<std::uint8_t, 16>, 3>, kIntra4Modes> taps{};
  for (unsigned mode = 0; mode < kIntra4Modes; ++mode) {
    for (auto& line : taps[mode]) line.fill(128);
    if (mode == kIntra4Dc) continue;
    for (int i = 0; i < 16; ++i) {
      const Tap tap = tap_of(mode, i % 4, i / 4);
      taps[mode][tap.line][static_cast<std::size_t>(i)] = tap.place;
    }
  }
  return taps;
}();

constexpr auto kPlaceOf = [] {  // raster order → scan
  std::array<std::uint8_t, 16> places{};
  for (std::size_t i = 0; i < 16; ++i) places[kZigzag[i]] = static_cast<std::uint8_t>(i);
  return places;
}();

// Levels that are not 0, by eights in raster order → in the scan.
constexpr auto kPlacesOf = [] {
  std::array<std::array<std::uint16_t, 256>, 2> places{};
  for (unsigned half = 0; half < 2; ++half) {
    for (unsigned bits = 0; bits < 256; ++bits) {
      for (unsigned i = 0; i < 8; ++i) {
        if ((bits >> i & 1U) != 0)
          places[half][bits] |= static_cast<std::uint16_t>(1U << kPlaceOf[half * 8 + i]);
      }
    }
  }
  return places;
}();

// The line with one place before it and some after it: `line()[-1]` … `line()[17]`.
struct EdgeLine {
  std::array<std::uint8_t, 32> bytes{};
  [[nodiscard]] std::uint8_t* line() noexcept { return bytes.data() + 1; }
  [[nodiscard]] const std::uint8_t* line() const noexcept { return bytes.data() + 1; }
};

inline EdgeLine edge_of(const Block4Task& task) noexcept {
  EdgeLine edge;
  std::uint8_t* line = edge.line();
  const std::uint8_t* pixels = task.pixels;
  const std::ptrdiff_t stride = task.stride;
  if (task.around.left) {
    for (int y = 0; y < 4; ++y) line[3 - y] = pixels[y * stride - 1];
    line[-1] = line[kLowestLeft] = line[kLowestLeft + 1] = line[0];
  }
  if (task.around.top) {
    std::memcpy(line + kTop, pixels - stride, 4);
    if (task.around.right) {
      std::memcpy(line + kTop + 4, pixels - stride + 4, 4);
    } else {
      std::memset(line + kTop + 4, line[kTop + 3], 4);
    }
    line[kTop + 8] = line[kTop + 7];
    if (task.around.left) line[kCorner] = pixels[-stride - 1];
  }
  return edge;
}

inline std::uint8_t mean_of_edge(const EdgeLine& edge, const Around4& around) noexcept {
  const std::uint8_t* line = edge.line();
  const int left = line[0] + line[1] + line[2] + line[3];
  const int top = line[kTop] + line[kTop + 1] + line[kTop + 2] + line[kTop + 3];
  if (around.left && around.top) return static_cast<std::uint8_t>((left + top + 4) >> 3);
  if (around.left) return static_cast<std::uint8_t>((left + 2) >> 2);
  if (around.top) return static_cast<std::uint8_t>((top + 2) >> 2);
  return 128;
}

// The same line in two words, its first place lowest.
struct EdgeWords {
  std::array<std::uint64_t, 2> here{};
  std::uint64_t beyond = 0;  // the lowest pixel left, which both ends repeat

  // Of one place earlier, and later.
  [[nodiscard]] std::array<std::uint64_t, 2> before() const noexcept {
    return {here[0] << 8 | beyond, here[1] << 8 | here[0] >> 56};
  }
  [[nodiscard]] std::array<std::uint64_t, 2> after() const noexcept {
    return {here[0] >> 8 | here[1] << 56, here[1] >> 8 | beyond << 56};
  }
  [[nodiscard]] std::uint8_t mean(const Around4& around) const noexcept {
    const auto sum = [](std::uint64_t four) {
      const std::uint64_t pairs = (four & 0x00FF00FF) + (four >> 8 & 0x00FF00FF);
      return static_cast<unsigned>((pairs + (pairs >> 16)) & 0xFFFF);
    };
    const unsigned left = sum(here[0] & 0xFFFFFFFF);
    const unsigned top = sum((here[0] >> 40 | here[1] << 24) & 0xFFFFFFFF);
    if (around.left && around.top) return static_cast<std::uint8_t>((left + top + 4) >> 3);
    if (around.left) return static_cast<std::uint8_t>((left + 2) >> 2);
    if (around.top) return static_cast<std::uint8_t>((top + 2) >> 2);
    return 128;
  }
};

inline EdgeWords edge_words_of(const Block4Task& task) noexcept {
  EdgeWords edge;
  const std::uint8_t* pixels = task.pixels;
  const std::ptrdiff_t stride = task.stride;
  if (task.around.left) {
    const auto left = [&](std::ptrdiff_t y) { return std::uint64_t{pixels[y * stride - 1]}; };
    edge.beyond = left(3);
    edge.here[0] = left(3) | left(2) << 8 | left(1) << 16 | left(0) << 24;
    edge.here[1] = edge.beyond << 56;
  }
  if (task.around.top) {
    const auto four = [](const std::uint8_t* bytes) {
      return std::uint64_t{bytes[0]} | std::uint64_t{bytes[1]} << 8 |
             std::uint64_t{bytes[2]} << 16 | std::uint64_t{bytes[3]} << 24;
    };
    const std::uint64_t top = four(pixels - stride);
    const std::uint64_t right =
        task.around.right ? four(pixels - stride + 4) : (top >> 24) * 0x01010101;
    edge.here[0] |= top << 40;
    edge.here[1] |= top >> 24 | right << 8 | right >> 24 << 40;
    if (task.around.left) edge.here[0] |= std::uint64_t{pixels[-stride - 1]} << 32;
  }
  return edge;
}

// Bit n: mode n may be used (8.3.1.2).
inline unsigned allowed_modes(const Around4& around) noexcept {
  constexpr unsigned kFromTop = 1U << 0 | 1U << 3 | 1U << 7;
  constexpr unsigned kFromLeft = 1U << 1 | 1U << 8;
  constexpr unsigned kFromBoth = 1U << 4 | 1U << 5 | 1U << 6;
  return 1U << kIntra4Dc | (around.top ? kFromTop : 0) | (around.left ? kFromLeft : 0) |
         (around.top && around.left ? kFromBoth : 0);
}

}  // namespace kvm::screen
