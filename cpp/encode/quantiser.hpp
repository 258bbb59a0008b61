// Rate control of our own for encoders that take one quantiser per picture: quality as asked for,
// under a bit rate ceiling that counts real time. A screen is not a film: pictures come when
// something changes, most changes are tiny, and a picture may be sharpened later while nothing
// happens.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "encode/encoder.hpp"

namespace kvm {

// How much detail each macroblock of the newest picture holds, measured on the damaged ones only.
class DetailMap {
 public:
  DetailMap() = default;
  DetailMap(int width, int height, Chroma chroma = Chroma::k420);

  // Measures the tiles of `damage` (null = all) on the luma plane.
  void update(const CpuPlanes& planes, const TileMap* damage);
  // Expected bits of an intra picture at quantiser 25: of the tiles just measured, and of all.
  [[nodiscard]] double measured_bits() const noexcept { return measured_; }
  [[nodiscard]] double total_bits() const noexcept { return total_; }
  [[nodiscard]] double tiles() const noexcept { return static_cast<double>(bits_.size()); }
  // Share of the picture that was measured, 0…1.
  [[nodiscard]] double measured_share() const noexcept { return share_; }

 private:
  [[nodiscard]] float measure(const std::uint8_t* luma, std::ptrdiff_t stride, int col,
                              int row) const;

  int width_ = 0;
  int height_ = 0;
  int cols_ = 0;
  int rows_ = 0;
  float bits_per_root_detail_ = 0;
  std::vector<float> bits_;  // one for each tile
  int turn_ = 0;             // which tiles of a large change are measured
  double total_ = 0;
  double measured_ = 0;
  double share_ = 0;
};

enum class PictureKind { kKeyframe, kChange, kRefinement };

// Chooses the quantiser. Times are CLOCK_MONOTONIC ns, sizes bits. No clock of its own: tests
// replay any history.
class Quantiser {
 public:
  static constexpr int kFinest =
      10;  // visually lossless; finer doubles the bits for nothing that can be seen
  static constexpr int kCoarsest = 51;

  // What the encoder does with undamaged parts that are coarser than the picture's quantiser.
  enum class Unchanged { kCodedAgain, kLeftAlone };

  Quantiser() = default;
  // `coarser_per_doubling`: steps that a busy picture is coded coarser than crf itself, for each
  // doubling of its bits.
  explicit Quantiser(const RateSettings& rate, Unchanged unchanged = Unchanged::kCodedAgain,
                     double coarser_per_doubling = 0.7)
      : unchanged_(unchanged), coarser_per_doubling_(coarser_per_doubling) {
    set_rate(rate);
  }
  void set_rate(const RateSettings& rate);

  // The quantiser for the picture that `detail` was just updated with. `refine_step`: see
  // EncodeHints.
  [[nodiscard]] int choose(PictureKind kind, int refine_step, const DetailMap& detail,
                           std::int64_t wall_ns);
  // What the picture that was chosen for last came to.
  void spent(std::int64_t bits);

  // Even at the coarsest quantiser the change just chosen for is more than the debt allows: the
  // encoder should repeat the old picture, then call held() instead of spent(), and code the change
  // with the next picture.
  [[nodiscard]] bool must_hold() const;
  void held(std::int64_t bits) { budget_ -= static_cast<double>(bits); }

  // Bits of a change relative to the same pixels coded intra, of the newest one: near 1 =
  // prediction is useless.
  [[nodiscard]] double last_inter_ratio() const noexcept { return last_ratio_; }
  // Bits that may still be sent at once.
  [[nodiscard]] double budget() const noexcept { return budget_; }

 private:
  // What experience says about pictures of one kind: their bits relative to DetailMap's estimate.
  struct Experience {
    double ratio = 1.0;
    int quantiser = 0;  // of the last one; 0 = not known
    std::int64_t learned_ns = 0;
  };
  static constexpr int kSizeClasses = 6;

  struct Chosen {  // a picture and what is expected of it
    PictureKind kind = PictureKind::kKeyframe;
    int quantiser = kCoarsest;
    double share = 0;         // of the picture that changed
    double detail_bits = 0;   // DetailMap's estimate for it
    double changed_bits = 0;  // by experience, at quantiser 25
    double kept_bits = 0;     // DetailMap's estimate for the rest
  };

  void refill(std::int64_t wall_ns);
  [[nodiscard]] Experience& change_experience(double share);
  [[nodiscard]] int aim(const Chosen& change, double tiles) const;
  [[nodiscard]] double sharpening_bits(double detail_bits, int quantiser) const;
  [[nodiscard]] double expected_bits(const Chosen& picture, int quantiser) const;
  // Bits that `picture` may take.
  [[nodiscard]] double allowance(const Chosen& picture) const;

  Unchanged unchanged_ = Unchanged::kCodedAgain;
  double coarser_per_doubling_ = 0.7;
  double ceiling_ = 6e6;  // bit/s
  int wanted_ = 23;
  double budget_ = 0;  // may be negative after a picture that came out larger than expected
  double interval_ = 1.0 / 60;  // seconds between changes, smoothed
  bool started_ = false;
  std::int64_t last_ns_ = 0;
  int picture_quantiser_ =
      kCoarsest;           // coarsest that parts of the decoder's picture may still have
  double usual_bits_ = 0;  // at quantiser 25, of recent changes
  double last_ratio_ = 1.0;
  std::array<Experience, kSizeClasses> change_;
  Experience keyframe_;
  Experience sharpening_;  // for each step of the quantiser
  Chosen chosen_;
};

// Bits at `quantiser` relative to quantiser 25, for typical screen content.
[[nodiscard]] double bits_factor(double quantiser);

}  // namespace kvm
