// Writes the bits of one slice (ITU-T H.264, 7.2 and 9.1): fast, as it sees every coefficient.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace kvm::screen {

// A code word, right-aligned.
struct Code {
  std::uint16_t bits = 0;
  std::uint8_t length = 0;
};

class SliceBits {
 public:
  void clear() noexcept {
    used_ = 0;
    pending_ = 0;
    pending_count_ = 0;
  }
  // Where writing stands; what is written later can be taken back.
  struct Mark {
    std::size_t used = 0;
    std::uint64_t pending = 0;
    int pending_count = 0;
  };
  [[nodiscard]] Mark mark() const noexcept { return {used_, pending_, pending_count_}; }
  void take_back(const Mark& mark) noexcept {
    used_ = mark.used;
    pending_ = mark.pending;
    pending_count_ = mark.pending_count;
  }
  [[nodiscard]] std::size_t bits_since(const Mark& mark) const noexcept {
    return bit_count() - mark.used * 8 - static_cast<std::size_t>(mark.pending_count);
  }
  // The next `bytes` bytes may be written without a further check. Once for each macroblock.
  void reserve(std::size_t bytes) {
    if (used_ + bytes + kSlack > bytes_.size()) bytes_.resize(2 * (used_ + bytes + kSlack));
  }
  // Writes many code words: keeps what is pending in registers until it ends. Stores eight bytes
  // each time and never asks whether it must: that would be guessed wrong half the time.
  class Cursor {
   public:
    explicit Cursor(SliceBits& bits) noexcept
        : bits_(bits),
          at_(bits.bytes_.data() + bits.used_),
          pending_(bits.pending_),
          count_(bits.pending_count_) {}
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;
    ~Cursor() {
      bits_.used_ = static_cast<std::size_t>(at_ - bits_.bytes_.data());
      bits_.pending_ = pending_;
      bits_.pending_count_ = count_;
    }
    static constexpr int kMost = 56;  // with up to seven that are pending
    // count: 0 … kMost; `value` has no bits above it.
    void put(std::uint64_t value, int count) noexcept {
      pending_ |= value << (63 - count_ - count) << 1;
      store(at_, pending_);
      count_ += count;
      at_ += count_ >> 3;
      pending_ <<= count_ & ~7;
      count_ &= 7;
    }
    void put(Code code) noexcept { put(code.bits, code.length); }

   private:
    // The high byte first. Without a loop: where a compiler unrolls none, it would not see that all
    // this is one store.
    static void store(std::uint8_t* to, std::uint64_t word) noexcept {
      [&]<std::size_t... kIndex>(std::index_sequence<kIndex...>) {
        ((to[kIndex] = static_cast<std::uint8_t>(word >> (56 - 8 * kIndex))), ...);
      }(std::make_index_sequence<8>());
    }

    SliceBits& bits_;
    std::uint8_t* at_;
    std::uint64_t pending_;
    int count_;
  };
  void put(std::uint32_t value, int count) noexcept { Cursor(*this).put(value, count); }
  // Exp-Golomb, unsigned.
  void ue(std::uint32_t value) noexcept {
    const auto length = static_cast<int>(std::bit_width(value + 1U));
    if (length > 16) put(0, length - 1);  // a macroblock count of 8K
    put(value + 1U, length > 16 ? length : 2 * length - 1);
  }
  void se(int value) noexcept {
    ue(value > 0 ? 2U * static_cast<std::uint32_t>(value) - 1U
                 : 2U * static_cast<std::uint32_t>(-value));
  }
  void align() noexcept { put(0, (8 - pending_count_) % 8); }
  void align_with_ones() noexcept {
    const int count = (8 - pending_count_) % 8;
    put((1U << count) - 1, count);
  }
  [[nodiscard]] std::size_t bit_count() const noexcept {
    return used_ * 8 + static_cast<std::size_t>(pending_count_);
  }
  // Whole bytes, after align().
  void append(std::span<const std::uint8_t> bytes) {
    reserve(bytes.size());
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(used_));
    used_ += bytes.size();
  }
  // Those that are complete; valid until the next call.
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept {
    return {bytes_.data(), used_};
  }

 private:
  static constexpr std::size_t kSlack = 16;

  std::vector<std::uint8_t> bytes_;
  std::size_t used_ = 0;
  std::uint64_t pending_ = 0;  // the high pending_count_ bits, fewer than 8 between calls
  int pending_count_ = 0;
};

}  // namespace kvm::screen
