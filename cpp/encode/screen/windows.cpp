#include "encode/screen/windows.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

// Compiled once for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode/screen/windows.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep; must come before highway.h

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace kvm::screen::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using Pairs = hn::ScalableTag<std::uint16_t>;

// Which pixels at every second place from `at` on begin a window: a hash of eight of them, and an
// edge between the first two, as flat ground says nothing.
HWY_INLINE hn::Mask<Pairs> chosen(const std::uint8_t* at) {
  const Pairs d;
  const auto two = [&](std::ptrdiff_t offset) {
#if HWY_TARGET == HWY_SCALAR
    std::uint16_t pair = 0;
    std::memcpy(&pair, at + offset, 2);
    return hn::Set(d, pair);
#else
    return hn::BitCast(d, hn::LoadU(hn::Repartition<std::uint8_t, Pairs>(), at + offset));
#endif
  };
  const auto first = two(0);
  // Odd numbers without a pattern; the high bits of the product depend on all below.
  const auto hash =
      hn::Add(hn::Add(hn::Mul(first, hn::Set(d, 0x9E37)), hn::Mul(two(2), hn::Set(d, 0x79B9))),
              hn::Add(hn::Mul(two(4), hn::Set(d, 0x7F4B)), hn::Mul(two(6), hn::Set(d, 0xC2B3))));
  constexpr int kHashBits = 16 - std::countr_zero(unsigned{kWindowShare});
  const auto edge = hn::And(hn::Xor(first, hn::ShiftRight<8>(first)), hn::Set(d, 0xFF));
  return hn::And(hn::Eq(hn::ShiftRight<kHashBits>(hash), hn::Zero(d)), hn::Ne(edge, hn::Zero(d)));
}

std::size_t choose_windows_impl(const std::uint8_t* row, std::size_t count, std::uint16_t* places) {
  const Pairs d;
  const std::size_t step = 2 * hn::Lanes(d);
  std::size_t found = 0;
  for (std::size_t x = 0; x < count; x += step) {
    for (std::size_t odd = 0; odd < 2; ++odd) {
      std::uint8_t bits[8] = {};
      hn::StoreMaskBits(d, chosen(row + x + odd), bits);
      std::uint64_t rest = 0;
      std::memcpy(&rest, bits, 8);
      for (; rest != 0; rest &= rest - 1) {
        const std::size_t place = x + odd + 2 * static_cast<std::size_t>(std::countr_zero(rest));
        places[found] = static_cast<std::uint16_t>(place);
        found += place < count ? 1 : 0;
      }
    }
  }
  return found;
}

}  // namespace kvm::screen::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvm::screen {

HWY_EXPORT(choose_windows_impl);

std::span<const std::uint16_t> choose_windows(const std::uint8_t* row, int count) noexcept {
  thread_local std::array<std::uint16_t, kMostPlaces> places;
  if (count <= 0) return {};
  const auto some = std::min(static_cast<std::size_t>(count), kMostPlaces - 1);
  return {places.data(), HWY_DYNAMIC_DISPATCH(choose_windows_impl)(row, some, places.data())};
}

}  // namespace kvm::screen
#endif
