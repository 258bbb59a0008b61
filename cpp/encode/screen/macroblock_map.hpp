// What is known of each macroblock: of the picture in hand and, as to its quality, of the one
// before.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "encode/screen/planes.hpp"

namespace kvm::screen {

// The slices of a picture share it, each on its own thread: a slice writes what belongs to its own
// rows, and reads those and the picture before.
class MacroblockMap {
 public:
  struct State {  // of a macroblock in the picture with number `picture`; else it was skipped
    std::uint32_t picture = 0;
    bool intra = false;
    Vector vector;
    std::array<std::uint8_t, 16> luma{};  // non-zero levels of each 4×4 block, raster order
    std::array<std::array<std::uint8_t, 4>, 2> chroma{};
    // Intra4x4PredMode of each 4×4 block; DC where there is none (8.3.1.1).
    std::array<std::uint8_t, 16> modes{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
  };

  MacroblockMap() = default;
  MacroblockMap(int cols, int rows)
      : cols_(cols), rows_(rows), states_(static_cast<std::size_t>(cols * rows)) {
    quality_.assign(states_.size(), 51);
    old_quality_ = quality_;
  }

  [[nodiscard]] int cols() const noexcept { return cols_; }
  [[nodiscard]] int rows() const noexcept { return rows_; }

  void begin_picture() {
    ++picture_number_;
    old_quality_ = quality_;
  }
  [[nodiscard]] const State& at(int col, int row) const noexcept {
    static const State skipped;
    const State& state = states_[index(col, row)];
    return state.picture == picture_number_ ? state : skipped;
  }
  State& code(int col, int row, bool intra, Vector vector, int quality) noexcept {
    quality_[index(col, row)] = static_cast<std::uint8_t>(quality);
    State& state = states_[index(col, row)];
    state = {.picture = picture_number_, .intra = intra, .vector = vector};
    return state;
  }
  // Quantiser that the content of a macroblock was last coded with; it moves with the content.
  [[nodiscard]] int quality(int col, int row) const noexcept { return quality_[index(col, row)]; }
  [[nodiscard]] int old_quality(int col, int row) const noexcept {
    return old_quality_[index(col, row)];
  }

 private:
  [[nodiscard]] std::size_t index(int col, int row) const noexcept {
    return static_cast<std::size_t>(row) * static_cast<std::size_t>(cols_) +
           static_cast<std::size_t>(col);
  }

  int cols_ = 0;
  int rows_ = 0;
  std::uint32_t picture_number_ = 0;
  std::vector<State> states_;
  std::vector<std::uint8_t> quality_;
  std::vector<std::uint8_t> old_quality_;  // of the reference
};

}  // namespace kvm::screen
