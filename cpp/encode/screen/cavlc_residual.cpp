#include "encode/screen/cavlc_residual.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>

#include "encode/screen/cavlc_tables.hpp"
#include "encode/screen/transform.hpp"

namespace kvm::screen {
namespace {

[[nodiscard]] std::size_t context_of(int neighbours) noexcept {
  if (neighbours < 2) return 0;
  if (neighbours < 4) return 1;
  return neighbours < 8 ? 2 : 3;
}

// 9.2.2.1, the other way round: the code word of `value` = levelCode.
[[nodiscard]] constexpr Code level_code(std::uint32_t value, std::uint32_t suffix_length) noexcept {
  constexpr std::uint32_t kEscapeBits = 12;
  const auto word = [](std::uint32_t suffix, std::uint32_t suffix_bits, std::uint32_t prefix) {
    return Code{static_cast<std::uint16_t>(1U << suffix_bits | suffix),
                static_cast<std::uint8_t>(prefix + 1 + suffix_bits)};
  };
  if (suffix_length == 0) {
    if (value < 14) return word(0, 0, value);
    if (value < 30) return word(value - 14, 4, 14);
    return word(value - 30, kEscapeBits, 15);
  }
  const std::uint32_t limit = 15U << suffix_length;
  if (value >= limit) return word(value - limit, kEscapeBits, 15);
  return word(value & ((1U << suffix_length) - 1), suffix_length, value >> suffix_length);
}
// Those of which none is an escape, whatever the suffix.
constexpr std::uint32_t kTableValues = 30;
constexpr int kLongestLevel = 19;  // of those in the table
constexpr auto kLevelCodes = [] {
  std::array<std::array<Code, kTableValues>, 7> codes{};
  for (std::uint32_t length = 0; length < 7; ++length) {
    for (std::uint32_t value = 0; value < kTableValues; ++value)
      codes[length][value] = level_code(value, length);
  }
  return codes;
}();

// Code words side by side, to be written at once.
class Joined {
 public:
  explicit Joined(SliceBits& out) noexcept : out_(out) {}
  void add(std::uint32_t bits, int length) noexcept {
    bits_ = bits_ << length | bits;
    length_ += length;
  }
  void add(Code code) noexcept { add(code.bits, code.length); }
  [[nodiscard]] bool has_room(int bits) const noexcept {
    return length_ + bits <= SliceBits::Cursor::kMost;
  }
  void write() noexcept {
    out_.put(bits_, length_);
    bits_ = 0;
    length_ = 0;
  }

 private:
  SliceBits::Cursor out_;
  std::uint64_t bits_ = 0;
  int length_ = 0;
};

}  // namespace

int write_residual(SliceBits& out, const BlockLevels& block, BlockKind kind,
                   int neighbours) noexcept {
  // Highest frequency first, as they are written.
  std::array<std::int16_t, 16> levels;
  std::array<std::uint8_t, 16> places;
  std::size_t total = 0;
  const bool chroma_dc = kind == BlockKind::kChromaDc;
  for (std::uint32_t rest = block.nonzero; rest != 0; ++total) {
    const auto place = static_cast<std::uint32_t>(std::bit_width(rest)) - 1;
    rest ^= 1U << place;
    places[total] = static_cast<std::uint8_t>(place);
    levels[total] = block.levels[(chroma_dc ? static_cast<std::ptrdiff_t>(place) : kZigzag[place]) *
                                 block.stride];
  }
  std::size_t ones = 0;
  std::uint32_t signs = 0;
  while (ones < std::min<std::size_t>(total, 3) && std::abs(levels[ones]) == 1) {
    signs = signs << 1 | (levels[ones] < 0 ? 1U : 0U);
    ++ones;
  }
  Joined bits(out);
  bits.add(chroma_dc ? kChromaDcCoeffToken[ones][total]
                     : kCoeffToken[context_of(neighbours)][ones][total]);
  if (total == 0) {
    bits.write();
    return 0;
  }
  bits.add(signs, static_cast<int>(ones));
  std::uint32_t suffix_length = total > 10 && ones < 3 ? 1 : 0;
  for (std::size_t i = ones; i < total; ++i) {
    const int level = levels[i];
    const auto magnitude = static_cast<std::uint32_t>(std::abs(level));
    std::uint32_t value = 2 * magnitude - (level > 0 ? 2 : 1);
    if (i == ones && ones < 3) value -= 2;  // it cannot be ±1
    if (value < kTableValues) {
      if (!bits.has_room(kLongestLevel)) bits.write();
      bits.add(kLevelCodes[suffix_length][value]);
    } else {
      bits.write();
      bits.add(level_code(value, suffix_length));
    }
    if (suffix_length == 0) suffix_length = 1;
    if (magnitude > 3U << (suffix_length - 1) && suffix_length < 6) ++suffix_length;
  }

  // The scan's places from the first that the block may have.
  const std::size_t count = chroma_dc ? 4 : kind == BlockKind::kAc ? 15 : 16;
  const std::size_t first = kind == BlockKind::kAc ? 1 : 0;
  std::size_t zeros_left = places[0] - first + 1 - total;
  // total_zeros takes at most 9 bits, a run 3, and one more for each zero beyond six in it.
  if (!bits.has_room(3 * static_cast<int>(total) + 14)) bits.write();
  if (total < count) {
    bits.add(chroma_dc ? kChromaDcTotalZeros[total - 1][zeros_left]
                       : kTotalZeros[total - 1][zeros_left]);
  }
  for (std::size_t i = 0; i + 1 < total && zeros_left > 0; ++i) {
    const std::size_t run = std::size_t{places[i]} - places[i + 1] - 1;
    bits.add(kRunBefore[std::min<std::size_t>(zeros_left, 7) - 1][run]);
    zeros_left -= run;
  }
  bits.write();
  return static_cast<int>(total);
}

}  // namespace kvm::screen
