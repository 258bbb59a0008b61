// Intra_4x4 (ITU-T H.264, 8.3.1): one 4×4 block predicted, coded and reconstructed at a time, as
// each is predicted from those before it. All instruction sets give the same bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "encode/screen/transform.hpp"

namespace kvm::screen {

// Intra4x4PredMode (table 8-2).
inline constexpr unsigned kIntra4Modes = 9;
inline constexpr std::uint8_t kIntra4Dc = 2;
// Of its code: the one that is predicted from the neighbours, any other (7.3.5.1).
inline constexpr int kKnownModeBits = 1;
inline constexpr int kOtherModeBits = 4;

// Which pixels around a 4×4 block may be used.
struct Around4 {
  bool left = false;
  bool top = false;
  bool right = false;  // the four above to the right
};

struct Block4Task {
  const std::uint8_t* source = nullptr;
  std::ptrdiff_t source_stride = 0;
  std::uint8_t* pixels = nullptr;  // the block's place in the picture; its neighbours are done
  std::ptrdiff_t stride = 0;
  Around4 around;
  std::uint8_t predicted_mode = kIntra4Dc;
  int lambda = 1;  // differences that one bit is worth
  int quantiser = 26;
};

struct Coded4 {
  std::uint8_t mode = kIntra4Dc;
  std::uint16_t nonzero = 0;  // bit i = level i of the scan is not 0
  int cost = 0;               // difference of the prediction, and its mode's bits
};

// Chooses the mode, leaves the levels (raster order) and what a decoder shows in `task.pixels`.
[[nodiscard]] Coded4 code_intra4(const Block4Task& task, Block4& levels) noexcept;
// The same in a mode that is chosen already, and that `task.around` allows. It costs no bits.
[[nodiscard]] Coded4 code_intra4_as(std::uint8_t mode, const Block4Task& task,
                                    Block4& levels) noexcept;

}  // namespace kvm::screen
