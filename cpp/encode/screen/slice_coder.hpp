// Codes the macroblocks of one slice (ITU-T H.264, 7.3.4 and 7.3.5): decides how each is predicted,
// writes it, and keeps what the decoder will show.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "encode/screen/headers.hpp"
#include "encode/screen/intra4.hpp"
#include "encode/screen/macroblock.hpp"
#include "encode/screen/macroblock_map.hpp"
#include "encode/screen/macroblock_writer.hpp"
#include "encode/screen/planes.hpp"
#include "encode/screen/predict.hpp"
#include "encode/screen/slice_bits.hpp"
#include "encode/screen/transform.hpp"

namespace kvm::screen {

// The pixels of one macroblock as they should look.
struct SourceBlock {
  const std::uint8_t* luma = nullptr;
  std::ptrdiff_t luma_stride = 0;
  std::array<const std::uint8_t*, 2> chroma{};
  std::ptrdiff_t chroma_stride = 0;
};

struct SliceSetup {
  int first_row = 0;   // the slice begins with this row of macroblocks
  bool intra = false;  // an IDR picture
  int quantiser = 26;
  bool film = false;       // a part of the picture is one, large enough for a quantiser of its own
  int vertical_reach = 0;  // of vectors, full pixels: what the level allows
  Chroma chroma = Chroma::k420;
  const Planes* source = nullptr;      // as the picture should look
  const Planes* old_source = nullptr;  // what the reference was coded from
  const Planes* reference = nullptr;   // the decoder's last picture
  Planes* picture = nullptr;  // the decoder's next picture; unchanged parts are there already
  std::span<const Vector> displacements;  // where content seems to have come from, likeliest first
};

// Macroblocks must be given in raster order, each once: code(), refine() or skip(). `col` to `end`
// are macroblocks of one row. Several slices of a picture may be coded at once: nothing that one
// reads is written by another.
class SliceCoder {
 public:
  // `map` is shared by the slices and outlives them.
  SliceCoder(MacroblockMap& map, Entropy entropy);
  // `out` holds the slice header already, and has all of the slice after end().
  void begin(const SliceSetup& setup, SliceBits& out);
  // Content that changed, in any way.
  void code(int col, int end, int row);
  // Content that did not move, to be brought closer to the source with a quantiser of its own.
  void refine(int col, int row, int quantiser);
  // Unchanged macroblocks.
  void skip(int col, int end, int row);
  void end() { writer_->end(); }

 private:
  static constexpr int kFewestTogether = 8;  // two cache lines of each row

  using State = MacroblockMap::State;
  struct Inter {
    Motion motion;
    bool exact_luma = false;  // the source itself is found there
    bool exact_chroma = false;
    int cost = 0;
    // CodedBlockPatternLuma, where the levels of luma stand in `residual_` already.
    std::optional<unsigned> luma_pattern = std::nullopt;
  };
  struct Intra {
    IntraMode mode = IntraMode::kDc;
    int cost = 0;
  };

  class Candidates {  // vectors to try, each once
   public:
    void add(Vector vector) noexcept {
      if (count_ == list_.size()) return;
      for (std::size_t i = 0; i < count_; ++i) {
        if (list_[i] == vector) return;
      }
      list_[count_++] = vector;
    }
    [[nodiscard]] std::span<const Vector> list() const noexcept { return {list_.data(), count_}; }

   private:
    std::array<Vector, 16> list_;
    std::size_t count_ = 0;
  };

  [[nodiscard]] Around around(int col, int row) const noexcept;
  [[nodiscard]] static Vector predicted_vector(const Around& around) noexcept;
  // Of each part of `motion`, in their order.
  [[nodiscard]] static std::array<Vector, 4> predicted_parts(const Around& around,
                                                             const Motion& motion) noexcept;
  [[nodiscard]] static Vector skip_vector(const Around& around) noexcept;
  [[nodiscard]] bool full_chroma() const noexcept { return setup_.chroma == Chroma::k444; }
  // Planes that are coded as luma is.
  [[nodiscard]] std::size_t luma_planes() const noexcept { return full_chroma() ? 3 : 1; }
  [[nodiscard]] int quantiser_of(std::size_t plane) const noexcept {
    return plane == 0 ? quantiser_
                      : chroma_quantiser(std::min(quantiser_ + chroma_offset(setup_.chroma), 51));
  }
  // Vectors that a macroblock may have: inside the picture, and as far as the level allows.
  struct Reach {
    int left = 0;
    int right = 0;
    int up = 0;
    int down = 0;
    [[nodiscard]] bool holds(Vector vector) const noexcept {
      return vector.x >= left && vector.x <= right && vector.y >= up && vector.y <= down;
    }
  };
  [[nodiscard]] Reach reach_of(int col, int row) const noexcept;
  [[nodiscard]] SourceBlock source_at(int col, int row) const noexcept;
  [[nodiscard]] bool exact_chroma(int col, int row, Vector vector) const noexcept;
  [[nodiscard]] bool exact_full_chroma(int col, int row, Vector vector) const noexcept;
  [[nodiscard]] std::optional<Vector> find_exact(int col, int row,
                                                 std::span<const Vector> candidates) const noexcept;
  [[nodiscard]] std::optional<Inter> find_parts(int col, int row, const Around& near,
                                                std::span<const Vector> candidates) const noexcept;
  [[nodiscard]] int moved_together(int col, int end, int row, Vector vector) noexcept;
  // Of Cb and Cr in 4:4:4, between source and reference.
  [[nodiscard]] int full_chroma_difference(int col, int row, Vector vector) const noexcept;
  [[nodiscard]] Inter search(int col, int row, std::span<const Vector> candidates,
                             Vector predicted) const noexcept;
  [[nodiscard]] Intra choose_intra(int col, int row) const noexcept;
  [[nodiscard]] IntraMode choose_chroma_intra(int col, int row,
                                              const Around& around) const noexcept;
  [[nodiscard]] int chroma_difference(int col, int row, const SourceBlock& source) const noexcept;
  [[nodiscard]] int inherited_quality(int col, int row, Vector vector) const noexcept;

  // At the beginning of each macroblock that is coded.
  void use_quantiser(int quantiser) noexcept;
  bool go_easy_on_noise(int col, int row) noexcept;  // whether it was noise
  // Part of a film, and none of the lines at the end of a scroll, which are new all the time, too.
  [[nodiscard]] bool in_large_film(int col, int row) const noexcept {
    return setup_.film && map_->is_film(col, row);
  }
  int code_changed(int col, int end, int row);
  int code_fresh(int col, int row, const Around& near, Candidates& candidates, Vector predicted,
                 const std::optional<Inter>& in_parts);
  void predict_inter(int col, int row, int count, Vector vector) const noexcept;
  void predict_inter(int col, int row, const Motion& motion) const noexcept;
  // What lies at `vector` of the luma pixels `to`, with its chroma.
  void bring(const Rect& to, Vector vector) const noexcept;
  void code_inter(int col, int row, const Inter& inter, const Around& around);
  // As P_Skip, when what differs at its vector is not worth a bit: false leaves nothing but pixels
  // to be written over, and in `luma_pattern` that of the levels of luma, if it came to them.
  [[nodiscard]] bool code_skip(int col, int row, Vector vector,
                               std::optional<unsigned>& luma_pattern);
  void code_intra(int col, int row, const Intra& intra, const Around& around);
  // Intra_4x4, when it is better than `rival`, by the difference of its prediction and by what it
  // costs in the end: false leaves nothing but pixels to be written over.
  struct Rival {
    explicit Rival(const Inter& moved) : difference(moved.cost), motion(moved.motion) {}
    explicit Rival(const Intra& still) : difference(still.cost), intra(&still) {}
    int difference;  // and bits, as all costs in the search
    const Intra* intra = nullptr;
    Motion motion;            // when there is no `intra`
    std::optional<int> cost;  // luma_cost(), where it is known
  };
  [[nodiscard]] bool code_intra4(int col, int row, const Rival& rival, const Around& around);
  // Squared error and bits of luma as `rival` would be coded, about.
  [[nodiscard]] int luma_cost(int col, int row, const Rival& rival, const Around& around);
  // Levels from source and the prediction that stands in the picture; then adds them to it. Luma,
  // and in 4:4:4 any plane.
  void luma_inter(std::size_t plane, int col, int row, std::optional<unsigned> pattern = {});
  // The 8×8 blocks whose levels are kept, as CodedBlockPatternLuma; all others hold none.
  [[nodiscard]] unsigned luma_levels(std::size_t plane, int col, int row,
                                     const std::uint8_t* prediction, std::ptrdiff_t stride,
                                     LumaLevels& levels) const;
  // Intra_16x16. `pixels` hold the prediction, and get what a decoder shows.
  void luma_intra(std::size_t plane, int col, int row);
  void luma_intra(std::size_t plane, int col, int row, std::uint8_t* pixels, std::ptrdiff_t stride,
                  LumaLevels& levels) const;
  void chroma(int col, int row, const SourceBlock& source, Rounding rounding);
  void chroma_intra(int col, int row, IntraMode mode, const Around& around);
  // With the levels in `residual_`. Noise at a fine quantiser may take more bits than its pixels
  // do, and more than a decoder must bear: then it is sent as it is.
  void write(int col, int row, const Macroblock& macroblock, const Around& around, State& state);
  void send_pixels(int col, int row);

  MacroblockMap* map_;
  std::unique_ptr<MacroblockWriter> writer_;
  SliceSetup setup_;
  int quantiser_ = 0;       // of the macroblock in hand, as the two lambdas: use_quantiser()
  int lambda_ = 1;          // differences that one bit is worth
  int squared_lambda_ = 1;  // squared differences that one bit is worth
  int together_ = kFewestTogether;  // macroblocks that moved_together() tries next
  Residual residual_;               // levels of the macroblock in hand
  LumaLevels trial_;
};

}  // namespace kvm::screen
