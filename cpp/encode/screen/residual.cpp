#include "encode/screen/residual.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "encode/screen/cavlc_tables.hpp"

namespace kvm::screen {
namespace {

constexpr int kChromaDc = -1;

[[nodiscard]] std::size_t context_of(int neighbours) noexcept {
  if (neighbours < 2) return 0;
  if (neighbours < 4) return 1;
  return neighbours < 8 ? 2 : 3;
}

// 9.2.2.1, the other way round. Returns the next suffix length.
int write_level(SliceBits& out, int level, int suffix_length, bool never_one) noexcept {
  const int magnitude = std::abs(level);
  int code = level > 0 ? 2 * level - 2 : -2 * level - 1;
  if (never_one) code -= 2;
  const auto value = static_cast<std::uint32_t>(code);
  constexpr std::uint32_t kEscapeBits = 12;
  if (suffix_length == 0) {
    if (value < 14) {
      out.put(1, static_cast<int>(value) + 1);
    } else if (value < 30) {
      out.put(1, 15);
      out.put(value - 14, 4);
    } else {
      out.put(1, 16);
      out.put(value - 30, kEscapeBits);
    }
    suffix_length = 1;
  } else {
    const std::uint32_t limit = 15U << suffix_length;
    if (value < limit) {
      out.put(1, static_cast<int>(value >> suffix_length) + 1);
      out.put(value & ((1U << suffix_length) - 1), suffix_length);
    } else {
      out.put(1, 16);
      out.put(value - limit, kEscapeBits);
    }
  }
  if (magnitude > 3 << (suffix_length - 1) && suffix_length < 6) ++suffix_length;
  return suffix_length;
}

}  // namespace

void write_residual(SliceBits& out, const Levels& levels, int count, int neighbours) noexcept {
  const int total = levels.total;
  const auto value = [&](int from_highest) {
    return levels.value[static_cast<std::size_t>(total - 1 - from_highest)];
  };
  int ones = 0;
  std::uint32_t signs = 0;
  while (ones < std::min(total, 3) && std::abs(value(ones)) == 1) {
    signs = signs << 1 | (value(ones) < 0 ? 1U : 0U);
    ++ones;
  }
  const auto ones_index = static_cast<std::size_t>(ones);
  const auto total_index = static_cast<std::size_t>(total);
  out.put(neighbours == kChromaDc ? kChromaDcCoeffToken[ones_index][total_index]
                                  : kCoeffToken[context_of(neighbours)][ones_index][total_index]);
  if (total == 0) return;
  out.put(signs, ones);
  int suffix_length = total > 10 && ones < 3 ? 1 : 0;
  for (int i = ones; i < total; ++i) {
    suffix_length = write_level(out, value(i), suffix_length, i == ones && ones < 3);
  }

  const auto place = [&](int from_highest) {
    return static_cast<int>(levels.place[static_cast<std::size_t>(total - 1 - from_highest)]);
  };
  int zeros_left = place(0) + 1 - total;
  if (total < count) {
    const auto zeros_index = static_cast<std::size_t>(zeros_left);
    out.put(neighbours == kChromaDc ? kChromaDcTotalZeros[total_index - 1][zeros_index]
                                    : kTotalZeros[total_index - 1][zeros_index]);
  }
  for (int i = 0; i < total - 1 && zeros_left > 0; ++i) {
    const int run = place(i) - place(i + 1) - 1;
    out.put(kRunBefore[static_cast<std::size_t>(std::min(zeros_left, 7) - 1)]
                      [static_cast<std::size_t>(run)]);
    zeros_left -= run;
  }
}

}  // namespace kvm::screen
