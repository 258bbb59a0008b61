// The arithmetic encoder of CABAC (ITU-T H.264, 9.3.4): bins become bits.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "encode/screen/cabac_tables.hpp"

namespace kvm::screen {

// pStateIdx << 1 | valMPS
using CabacContext = std::uint8_t;

// 9.3.1.1
[[nodiscard]] constexpr CabacContext start_context(ContextStart start, int quantiser) noexcept {
  const int before = ((start.m * quantiser) >> 4) + start.n;
  const int state = before < 1 ? 1 : before > 126 ? 126 : before;
  return static_cast<CabacContext>(state <= 63 ? (63 - state) << 1 : (state - 64) << 1 | 1);
}

class CabacEngine {
 public:
  void clear() noexcept {
    used_ = 0;
    start();
  }
  // The next `bytes` bytes may be written without a further check.
  void reserve(std::size_t bytes) {
    if (used_ + bytes + kSlack > bytes_.size()) bytes_.resize(2 * (used_ + bytes + kSlack));
  }
  [[nodiscard]] std::size_t bit_count() const noexcept {
    return used_ * 8 + static_cast<std::size_t>(queued_);
  }

  // Where coding stands; what is coded later can be taken back.
  struct Mark {
    std::uint64_t low = 0;
    std::uint32_t range = 0;
    int queued = 0;
    std::size_t used = 0;
    std::size_t steady = 0;    // the last byte that a carry may change, not all ones
    std::uint8_t byte = 0xff;  // what it is
  };
  [[nodiscard]] Mark mark() const noexcept {
    Mark mark{low_, range_, queued_, used_};
    mark.steady = used_;
    while (mark.steady > 0 && bytes_[mark.steady - 1] == 0xff) --mark.steady;
    if (mark.steady > 0) mark.byte = bytes_[--mark.steady];
    return mark;
  }
  void take_back(const Mark& mark) noexcept {
    low_ = mark.low;
    range_ = mark.range;
    queued_ = mark.queued;
    used_ = mark.used;
    // A carry turns ones into zeros up to the byte that it ends in.
    for (std::size_t i = mark.steady; i < used_; ++i) bytes_[i] = 0xff;
    if (used_ > 0 && mark.steady < used_) bytes_[mark.steady] = mark.byte;
  }

  // Codes many bins: keeps the interval in registers until it ends.
  class Run {
   public:
    explicit Run(CabacEngine& engine) noexcept
        : engine_(engine), low_(engine.low_), range_(engine.range_), queued_(engine.queued_) {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
      engine_.low_ = low_;
      engine_.range_ = range_;
      engine_.queued_ = queued_;
    }

    void encode(CabacContext& context, bool bin) noexcept {  // 9.3.4.2
      const unsigned state = context;
      const std::uint32_t less = kRangeLps[state >> 1][range_ >> 6 & 3];
      range_ -= less;
      // Without a branch, which would be guessed wrong too often.
      const std::uint32_t unlikely = 0U - ((state ^ (bin ? 1U : 0U)) & 1U);
      low_ += range_ & unlikely;
      range_ ^= (range_ ^ less) & unlikely;
      context = kNext[bin ? 1 : 0][state];
      shift(std::countl_zero(range_) - kFree);
    }
    // The bits of `value`, each as likely as not (9.3.4.4). count: 0 … 16.
    void bypass(std::uint32_t value, int count) noexcept {
      low_ = (low_ << count) + std::uint64_t{value} * range_;
      queued_ += count;
      if (queued_ >= kWord) write_word();
    }
    // Exp-Golomb of that order: how suffixes are written (9.3.2.3).
    void exp_golomb(std::uint32_t value, int order) noexcept {
      value += 1U << order;
      const int length = std::bit_width(value) - 1;
      bypass((1U << (length - order)) - 1, length - order);
      bypass(0, 1);
      bypass(value & ((1U << length) - 1), length);
    }
    void terminate(bool bin) noexcept {  // 9.3.4.5, without the flush
      range_ -= 2;
      if (bin) {
        low_ += range_;
        range_ = 2;
      }
      shift(std::countl_zero(range_) - kFree);
    }

   private:
    static constexpr int kFree = 32 - 9;  // of the range's register

    // 9.3.4.3: the range is 9 bits again.
    void shift(int count) noexcept {
      range_ <<= count;
      low_ <<= count;
      queued_ += count;
      if (queued_ >= kWord) write_word();
    }
    void write_word() noexcept {
      queued_ -= kWord;
      engine_.append(low_ >> (queued_ + kLowBits), kWord);
      low_ &= (std::uint64_t{1} << (queued_ + kLowBits)) - 1;
    }

    CabacEngine& engine_;
    std::uint64_t low_;
    std::uint32_t range_;
    int queued_;
  };

  // 9.3.4.5, EncodeFlush, after terminate(true): the last bit is 1, and zeros follow up to a whole
  // byte.
  void flush() noexcept {
    constexpr int kLeft = 7;  // bits that no decoder reads
    const int count = queued_ + kLowBits - kLeft;
    const int whole = (count + 7) & ~7;
    append((low_ >> kLeft | 1U) << (whole - count), whole);
    start();
  }
  // Whole bytes, after flush().
  void put_byte(std::uint8_t byte) noexcept { bytes_[used_++] = byte; }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept {
    return {bytes_.data(), used_};
  }

 private:
  static constexpr int kLowBits = 9;  // of codILow, below those that are decided up to a carry
  static constexpr int kWord = 32;    // as many are written at once
  static constexpr std::size_t kSlack = 16;
  // By bin and context: 9.3.4.2.1.
  static constexpr auto kNext = [] {
    std::array<std::array<CabacContext, 128>, 2> next{};
    for (unsigned context = 0; context < 128; ++context) {
      const unsigned state = context >> 1;
      const unsigned likely = context & 1;
      const unsigned up = state < 62 ? state + 1 : state;
      next[likely][context] = static_cast<CabacContext>(up << 1 | likely);
      const unsigned other = state == 0 ? 1 - likely : likely;
      next[1 - likely][context] = static_cast<CabacContext>(kNextLps[state] << 1 | other);
    }
    return next;
  }();

  void start() noexcept {  // 9.3.4.1; the first bit, which is always 0, is left out
    low_ = 0;
    range_ = 510;
    queued_ = 0;
  }
  // The low `count` bits, whole bytes; the bit above them is a carry.
  void append(std::uint64_t bits, int count) noexcept {
    if ((bits >> count & 1U) != 0) {
      std::size_t at = used_;
      while (++bytes_[--at] == 0) {
      }
    }
    for (int left = count - 8; left >= 0; left -= 8)
      bytes_[used_++] = static_cast<std::uint8_t>(bits >> left);
  }

  std::vector<std::uint8_t> bytes_;
  std::size_t used_ = 0;
  std::uint64_t low_ = 0;  // kLowBits, `queued_` above them, and a carry
  std::uint32_t range_ = 510;
  int queued_ = 0;
};

}  // namespace kvm::screen
