// Windows of one row of pixels that choose themselves by their content: the same ones are found in
// two pictures wherever they went.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kvm::screen {

inline constexpr int kWindow = 16;       // pixels
inline constexpr int kWindowShare = 32;  // one place in so many is chosen
inline constexpr std::size_t kMostPlaces = 8192;

// Where windows begin among the first `count` pixels of a row, in no particular order; kMostPlaces
// pixels at most are looked at. Reads up to 64 pixels more. Valid until the thread's next call.
[[nodiscard]] std::span<const std::uint16_t> choose_windows(const std::uint8_t* row,
                                                            int count) noexcept;

}  // namespace kvm::screen
