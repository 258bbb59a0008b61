#include "encode/screen/deblock.hpp"

#include <algorithm>
#include <vector>

#include "encode/screen/deblock_edge.hpp"
#include "encode/screen/headers.hpp"
#include "encode/screen/transform.hpp"

namespace kvm::screen {
namespace {

using State = MacroblockMap::State;

constexpr std::size_t kEdges = 4;  // of a macroblock, in each direction
struct MacroblockStrengths {
  // Upright edges from the left, level ones from the top; 0 is the macroblock's own.
  std::array<BoundaryStrengths, kEdges> upright{};
  std::array<BoundaryStrengths, kEdges> level{};
};

// A macroblock that is not intra, as 8.7.2.1 asks about it.
struct Blocks4 {
  explicit Blocks4(const State& state) : vectors(&state.vectors) {
    constexpr std::array<std::uint8_t, 16> kNone{};
    if (state.luma == kNone) return;  // most of a coarse film
    for (std::size_t i = 0; i < kNone.size(); ++i) levels |= (state.luma[i] != 0 ? 1U : 0U) << i;
  }
  // Of the quarter that a 4×4 block (raster order) lies in.
  [[nodiscard]] Vector vector(std::size_t block) const noexcept {
    return (*vectors)[block / 8 * 2 + block % 4 / 2];
  }
  // Nothing inside is filtered.
  [[nodiscard]] bool even() const noexcept {
    const auto& v = *vectors;
    return levels == 0 && v[0] == v[1] && v[0] == v[2] && v[0] == v[3];
  }
  unsigned levels = 0;  // bit i: block i has levels; in 4:4:4 those of luma decide for all planes
  const std::array<Vector, 4>* vectors;
};

// Vectors are full pixels: different ones are always four quarters apart.
[[nodiscard]] std::uint8_t strength_between(const Blocks4& p, std::size_t p_block, const Blocks4& q,
                                            std::size_t q_block) noexcept {
  if (((p.levels >> p_block | q.levels >> q_block) & 1U) != 0) return 2;
  return p.vector(p_block) == q.vector(q_block) ? 0 : 1;
}

// 8.7.2.1. `left`, `top`: null outside the slice.
[[nodiscard]] MacroblockStrengths strengths_of(const State& here, const State* left,
                                               const State* top) noexcept {
  constexpr BoundaryStrengths kInside{3, 3, 3, 3};
  constexpr BoundaryStrengths kStrongest{4, 4, 4, 4};
  MacroblockStrengths out;
  const Blocks4 q(here);
  const auto fill_upright = [&](std::size_t edge, const Blocks4& p) {
    for (std::size_t i = 0; i < 4; ++i)
      out.upright[edge][i] = strength_between(p, i * 4 + (edge + 3) % 4, q, i * 4 + edge);
  };
  const auto fill_level = [&](std::size_t edge, const Blocks4& p) {
    for (std::size_t i = 0; i < 4; ++i)
      out.level[edge][i] = strength_between(p, (edge + 3) % 4 * 4 + i, q, edge * 4 + i);
  };
  if (here.intra) {
    for (std::size_t edge = 1; edge < kEdges; ++edge) out.upright[edge] = out.level[edge] = kInside;
  } else if (!q.even()) {
    for (std::size_t edge = 1; edge < kEdges; ++edge) {
      fill_upright(edge, q);
      fill_level(edge, q);
    }
  }
  if (left != nullptr) {
    if (here.intra || left->intra) {
      out.upright[0] = kStrongest;
    } else {
      fill_upright(0, Blocks4(*left));
    }
  }
  if (top != nullptr) {
    if (here.intra || top->intra) {
      out.level[0] = kStrongest;
    } else {
      fill_level(0, Blocks4(*top));
    }
  }
  return out;
}

class Deblocker {
 public:
  Deblocker(const DeblockSetup& setup, MacroblockMap& map, const Planes& picture)
      : setup_(setup), map_(map), picture_(picture), above_(static_cast<std::size_t>(map.cols())) {}

  void run() {
    int running = setup_.quantiser;  // QP_Y,PRED
    for (int row = setup_.first_row; row < setup_.end_row; ++row) {
      int left = 0;
      for (int col = 0; col < map_.cols(); ++col) {
        const State& here = map_.at(col, row);
        if (here.quantiser >= 0) running = here.quantiser;
        // 8.7.2.2: that of I_PCM is 0, and the next one's is predicted as if there was none.
        const int quantiser = here.quantiser == State::kPcm ? 0 : running;
        std::uint8_t& above = above_[static_cast<std::size_t>(col)];
        filter(col, row, here, {quantiser, left, above});
        left = quantiser;
        above = static_cast<std::uint8_t>(quantiser);
      }
    }
  }

 private:
  struct Quantisers {
    int here = 0;
    int left = 0;
    int top = 0;
  };

  void filter(int col, int row, const State& here, const Quantisers& quantisers) {
    const State* left = col > 0 ? &map_.at(col - 1, row) : nullptr;
    const State* top = row > setup_.first_row ? &map_.at(col, row - 1) : nullptr;
    // Nothing between macroblocks that rest.
    const State* rests = &MacroblockMap::skipped();
    if (&here == rests && (left == nullptr || left == rests) && (top == nullptr || top == rests))
      return;
    const MacroblockStrengths strengths = strengths_of(here, left, top);
    if (left != nullptr)
      coarsen(strengths.upright[0], col - 1, row, quantisers.left, col, row, quantisers.here);
    if (top != nullptr)
      coarsen(strengths.level[0], col, row - 1, quantisers.top, col, row, quantisers.here);
    luma(0, col, row, strengths, quantisers);
    const auto to_chroma = [&](int quantiser) {
      return chroma_quantiser(std::min(quantiser + chroma_offset(setup_.chroma), 51));
    };
    const Quantisers of_chroma{to_chroma(quantisers.here), to_chroma(quantisers.left),
                               to_chroma(quantisers.top)};
    if (setup_.chroma == Chroma::k444) {
      luma(1, col, row, strengths, of_chroma);
      luma(2, col, row, strengths, of_chroma);
    } else {
      chroma(col, row, strengths, of_chroma);
    }
  }

  // What was sharp beside something coarse is it no longer, and refinement must know.
  void coarsen(const BoundaryStrengths& strengths, int p_col, int p_row, int p_quantiser, int q_col,
               int q_row, int q_quantiser) {
    const int mean = (p_quantiser + q_quantiser + 1) >> 1;
    if (!is_filtered(mean, strengths)) return;
    map_.coarsen(p_col, p_row, mean);
    map_.coarsen(q_col, q_row, mean);
  }

  // Calls fn(strength, edge) for each edge of one direction that is filtered.
  template <typename Fn>
  static void for_each_edge(const std::array<BoundaryStrengths, kEdges>& strengths, int here,
                            int before, Fn&& fn) {
    for (std::size_t edge = 0; edge < kEdges; ++edge) {
      const int mean = edge == 0 ? (here + before + 1) >> 1 : here;
      if (is_filtered(mean, strengths[edge]))
        fn(edge_strength(mean, strengths[edge]), static_cast<int>(edge));
    }
  }

  void luma(std::size_t plane, int col, int row, const MacroblockStrengths& strengths,
            const Quantisers& quantisers) const {
    const Plane& to = picture_[plane];
    std::uint8_t* pixels = to.at(col * kTile, row * kTile);
    for_each_edge(strengths.upright, quantisers.here, quantisers.left,
                  [&](const EdgeStrength& strength, int edge) {
                    deblock_luma_across(pixels + edge * 4, to.stride, strength);
                  });
    for_each_edge(strengths.level, quantisers.here, quantisers.top,
                  [&](const EdgeStrength& strength, int edge) {
                    deblock_luma_down(pixels + edge * 4 * to.stride, to.stride, strength);
                  });
  }

  // 4:2:0: every other edge of luma's is one of chroma's.
  void chroma(int col, int row, const MacroblockStrengths& strengths,
              const Quantisers& quantisers) const {
    const std::ptrdiff_t stride = picture_[1].stride;
    const auto at = [&](int x, int y) {
      return std::array{picture_[1].at(col * 8 + x, row * 8 + y),
                        picture_[2].at(col * 8 + x, row * 8 + y)};
    };
    for_each_edge(strengths.upright, quantisers.here, quantisers.left,
                  [&](const EdgeStrength& strength, int edge) {
                    if (edge % 2 == 0) deblock_chroma_across(at(edge * 2, 0), stride, strength);
                  });
    for_each_edge(strengths.level, quantisers.here, quantisers.top,
                  [&](const EdgeStrength& strength, int edge) {
                    if (edge % 2 == 0) deblock_chroma_down(at(0, edge * 2), stride, strength);
                  });
  }

  const DeblockSetup& setup_;
  MacroblockMap& map_;
  const Planes& picture_;
  std::vector<std::uint8_t> above_;  // quantisers of the row above
};

}  // namespace

void deblock(const DeblockSetup& setup, MacroblockMap& map, const Planes& picture) {
  Deblocker(setup, map, picture).run();
}

}  // namespace kvm::screen
