// Bit by bit through a raw byte sequence payload (ITU-T H.264, 7.2 and 9.1).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace kvm {

// Reads a raw byte sequence payload bit by bit. Past the end it returns zeros and stays failed: a
// damaged SPS ends in one check of ok() instead of one for each field.
class BitReader {
 public:
  explicit BitReader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  void fail() noexcept { ok_ = false; }

  bool flag() { return bits(1) != 0; }
  std::uint32_t bits(int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) {
      if (position_ >= bytes_.size() * 8) {
        ok_ = false;
        return 0;
      }
      const unsigned bit = (bytes_[position_ / 8] >> (7 - position_ % 8)) & 1U;
      value = (value << 1) | bit;
      ++position_;
    }
    return value;
  }
  // Exp-Golomb codes; no field of an SPS needs more than 32 bits.
  std::uint32_t ue() {
    int zeros = 0;
    while (ok_ && !flag()) {
      if (++zeros > 31) {
        ok_ = false;
        return 0;
      }
    }
    return ((1U << zeros) - 1U) + bits(zeros);
  }
  std::int32_t se() {
    const std::uint32_t code = ue();
    const auto magnitude = static_cast<std::int32_t>((code >> 1) + (code & 1U));
    return (code & 1U) != 0 ? magnitude : -magnitude;
  }
  // ue() that must not pass `limit`.
  int ue_max(std::uint32_t limit) {
    const std::uint32_t value = ue();
    if (value > limit) ok_ = false;
    return ok_ ? static_cast<int>(value) : 0;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t position_ = 0;
  bool ok_ = true;
};

class BitWriter {
 public:
  void bit(bool value) {
    if (used_ % 8 == 0) bytes_.push_back(0);
    if (value) bytes_.back() = static_cast<std::uint8_t>(bytes_.back() | (0x80U >> (used_ % 8)));
    ++used_;
  }
  void bits(std::uint32_t value, int count) {
    for (int i = count - 1; i >= 0; --i) bit(((value >> i) & 1U) != 0);
  }
  void ue(std::uint32_t value) {
    int length = 0;
    while (((value + 1U) >> (length + 1)) != 0) ++length;
    bits(0, length);
    bits(value + 1U, length + 1);
  }
  // Copies the bits [begin, end) of `source`.
  void copy(std::span<const std::uint8_t> source, std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) bit(((source[i / 8] >> (7 - i % 8)) & 1U) != 0);
  }
  [[nodiscard]] std::vector<std::uint8_t> finish() {
    bit(true);  // rbsp_stop_one_bit; the rest of the byte is zero already
    return std::move(bytes_);
  }

 private:
  std::vector<std::uint8_t> bytes_;
  std::size_t used_ = 0;
};

}  // namespace kvm
