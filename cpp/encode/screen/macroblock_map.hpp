// What is known of each macroblock: of the picture in hand and, as to its quality, of the one
// before.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "encode/screen/motion.hpp"
#include "encode/screen/planes.hpp"

namespace kvm::screen {

// The slices of a picture share it, each on its own thread: a slice writes what belongs to its own
// rows, and reads those and the picture before.
class MacroblockMap {
 public:
  struct State {  // of a macroblock in the picture with number `picture`; else it was skipped
    std::uint32_t picture = 0;
    bool intra = false;
    // QP_Y where the macroblock states it (7.4.5); for the deblocking filter.
    static constexpr int kAsBefore = -1;
    static constexpr int kPcm = -2;
    std::int8_t quantiser = kAsBefore;
    std::array<Vector, 4> vectors;        // of each 8×8 quarter, raster order
    std::array<std::uint8_t, 16> luma{};  // non-zero levels of each 4×4 block, raster order
    std::array<std::array<std::uint8_t, 16>, 2> chroma{};  // 4:2:0 has the first four
    // Intra4x4PredMode of each 4×4 block; DC where there is none (8.3.1.1).
    std::array<std::uint8_t, 16> modes{2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
  };

  MacroblockMap() = default;
  MacroblockMap(int cols, int rows)
      : cols_(cols), rows_(rows), states_(static_cast<std::size_t>(cols * rows)) {
    quality_.assign(states_.size(), 51);
    old_quality_ = quality_;
    histories_.resize(states_.size());
  }

  [[nodiscard]] int cols() const noexcept { return cols_; }
  [[nodiscard]] int rows() const noexcept { return rows_; }

  void begin_picture() {
    ++picture_number_;
    old_quality_ = quality_;
  }
  [[nodiscard]] std::uint32_t picture_number() const noexcept { return picture_number_; }
  [[nodiscard]] const State& at(int col, int row) const noexcept {
    const State& state = states_[index(col, row)];
    return state.picture == picture_number_ ? state : skipped();
  }
  // What at() gives for all that were skipped and rest.
  [[nodiscard]] static const State& skipped() noexcept {
    static const State skipped;
    return skipped;
  }
  // Of the macroblock when it was last coded, in this picture or an earlier one. The next row may
  // be another slice's: never ask for that of its macroblocks.
  [[nodiscard]] Vector last_vector(int col, int row) const noexcept {
    return states_[index(col, row)].vectors[0];
  }
  State& code(int col, int row, bool intra, const Motion& motion, int quality) noexcept {
    quality_[index(col, row)] = static_cast<std::uint8_t>(quality);
    State& state = states_[index(col, row)];
    state = {.picture = picture_number_, .intra = intra, .vectors = motion.quarters};
    return state;
  }
  // Filtered at an edge of this quantiser.
  void coarsen(int col, int row, int quality) noexcept {
    std::uint8_t& known = quality_[index(col, row)];
    known = std::max(known, static_cast<std::uint8_t>(quality));
  }
  // New content, not a copy of what was elsewhere (`fresh`), or a copy.
  void changed(int col, int row, bool fresh) noexcept {
    History& history = histories_[index(col, row)];
    const std::uint32_t since = picture_number_ - history.changed;
    history.changed = picture_number_;
    constexpr std::uint32_t kFilmGap = 3;  // a film of 25 Hz on a screen of 60
    if (!fresh || since > kFilmGap) history.fresh = 0;
    if (fresh) history.fresh = static_cast<std::uint8_t>(std::min(history.fresh + 1, 255));
  }
  // Shows something new in picture after picture: a film, not a desktop.
  [[nodiscard]] bool is_film(int col, int row) const noexcept {
    constexpr int kFilmPictures = 6;
    return histories_[index(col, row)].fresh >= kFilmPictures;
  }
  // Pictures since it last changed.
  [[nodiscard]] std::uint32_t rested(int col, int row) const noexcept {
    return picture_number_ - histories_[index(col, row)].changed;
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

  struct History {              // survives the picture
    std::uint32_t changed = 0;  // number of the picture
    std::uint8_t fresh = 0;     // changes without a pause that were fresh
  };

  int cols_ = 0;
  int rows_ = 0;
  std::uint32_t picture_number_ = 0;
  std::vector<State> states_;
  std::vector<History> histories_;
  std::vector<std::uint8_t> quality_;
  std::vector<std::uint8_t> old_quality_;  // of the reference
};

}  // namespace kvm::screen
