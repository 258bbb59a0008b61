// slice_data() in CAVLC (ITU-T H.264, 7.3.4, 7.3.5 and 9.2).
#include <algorithm>

#include "encode/screen/cavlc_residual.hpp"
#include "encode/screen/macroblock_writer.hpp"
#include "encode/screen/patterns.hpp"

namespace kvm::screen {
namespace {

using State = MacroblockMap::State;

// How many levels of each block of a plane are not 0.
template <std::size_t kPlane, typename S>
[[nodiscard]] auto& counts_of(S& state) noexcept {
  if constexpr (kPlane == 0) {
    return state.luma;
  } else {
    return state.chroma[kPlane - 1];
  }
}

// 9.2.1: nC from the numbers left and above; -1 = that block is outside the picture.
[[nodiscard]] int mean_of(int left, int top) noexcept {
  if (left >= 0 && top >= 0) return (left + top + 1) >> 1;
  return std::max({left, top, 0});
}

class CavlcWriter final : public MacroblockWriter {
 public:
  void begin(const Setup& setup, SliceBits& out) override {
    setup_ = setup;
    out_ = &out;
    skipped_ = 0;
    quantiser_ = setup.quantiser;
  }
  void skip(int /*col*/, int count) override { skipped_ += static_cast<std::uint32_t>(count); }
  [[nodiscard]] bool write(int col, const Macroblock& macroblock, const Residual& residual,
                           const Around& around, State* state) override;
  void write_pixels(int col, int row, const Planes& planes) override;
  void end() override {
    out_->reserve(kMacroblockBytes);
    if (skipped_ > 0) write_skip_run();
    out_->put(1, 1);
    out_->align();
  }

 private:
  [[nodiscard]] bool full_chroma() const noexcept { return setup_.chroma == Chroma::k444; }
  void write_skip_run();
  void write_inter(const Macroblock& macroblock, unsigned pattern);
  void write_intra4(const Macroblock& macroblock, unsigned pattern);
  void write_intra16(const Macroblock& macroblock, unsigned pattern);
  void write_residual_blocks(const Residual& residual, const Around& around, State& state,
                             bool intra16);
  template <std::size_t kPlane>
  void write_luma(const Residual& residual, const Around& around, State& state, bool intra16);
  template <std::size_t kPlane>
  void write_luma_block(const LumaLevels& levels, const Around& around, State& state,
                        std::size_t block, BlockKind kind);
  void write_chroma_block(const Residual& residual, const Around& around, State& state,
                          std::size_t plane, std::size_t block);

  Setup setup_;
  SliceBits* out_ = nullptr;
  std::uint32_t skipped_ = 0;  // macroblocks since the last one written
  int quantiser_ = 0;          // QP_Y,PRED: that of the last macroblock that stated one
};

void CavlcWriter::write_skip_run() {
  if (setup_.intra) return;
  out_->ue(skipped_);
  skipped_ = 0;
}

bool CavlcWriter::write(int /*col*/, const Macroblock& macroblock, const Residual& residual,
                        const Around& around, State* state) {
  out_->reserve(kMacroblockBytes);
  const SliceBits::Mark mark = out_->mark();
  const std::uint32_t skipped = skipped_;
  write_skip_run();
  switch (macroblock.kind) {
    case Macroblock::Kind::kInter:
      write_inter(macroblock, residual.pattern);
      break;
    case Macroblock::Kind::kIntra4:
      write_intra4(macroblock, residual.pattern);
      break;
    case Macroblock::Kind::kIntra16:
      write_intra16(macroblock, residual.pattern);
      break;
  }
  if (!macroblock.has_residual(residual)) return true;
  out_->se(quantiser_delta(macroblock.quantiser, quantiser_));
  write_residual_blocks(residual, around, *state, macroblock.kind == Macroblock::Kind::kIntra16);
  if (out_->bits_since(mark) > most_bits(setup_.chroma)) {
    out_->take_back(mark);
    skipped_ = skipped;
    return false;
  }
  quantiser_ = macroblock.quantiser;
  return true;
}

void CavlcWriter::write_inter(const Macroblock& macroblock, unsigned pattern) {
  const Motion& motion = macroblock.motion;
  out_->ue(static_cast<std::uint32_t>(motion.shape));
  if (motion.shape == Motion::Shape::kQuarters) out_->put(0b1111, 4);  // sub_mb_type: four times 0
  std::size_t i = 0;
  for (const Motion::Part& part : motion.parts()) {
    const Vector vector = motion.vector_of(part);
    const Vector predicted = macroblock.predicted[i++];
    out_->se(4 * (vector.x - predicted.x));
    out_->se(4 * (vector.y - predicted.y));
  }
  out_->ue(inter_code(pattern, setup_.chroma));
}

void CavlcWriter::write_intra4(const Macroblock& macroblock, unsigned pattern) {
  out_->ue(setup_.intra ? 0 : 5);  // I_NxN
  for (std::size_t i = 0; i < 16; ++i) {
    const std::uint8_t mode = macroblock.modes[raster(i)];
    const std::uint8_t predicted = macroblock.predicted_modes[raster(i)];
    if (mode == predicted) {
      out_->put(1, 1);  // prev_intra4x4_pred_mode_flag
    } else {
      out_->put(mode < predicted ? mode : mode - 1U, 4);  // 0, rem_intra4x4_pred_mode
    }
  }
  if (!full_chroma()) out_->ue(chroma_mode_number(macroblock.chroma_mode));
  out_->ue(intra4_code(pattern, setup_.chroma));
}

void CavlcWriter::write_intra16(const Macroblock& macroblock, unsigned pattern) {
  // Table 7-11: 1 + mode + 4 × chroma's pattern + 12 when there are luma AC levels.
  const std::uint32_t type = 1 + static_cast<std::uint32_t>(macroblock.mode) + 4 * (pattern >> 4) +
                             ((pattern & 15U) != 0 ? 12U : 0U);
  out_->ue(setup_.intra ? type : type + 5);
  if (!full_chroma()) out_->ue(chroma_mode_number(macroblock.chroma_mode));
}

void CavlcWriter::write_pixels(int col, int row, const Planes& planes) {
  out_->reserve(kMacroblockBytes);
  write_skip_run();
  constexpr std::uint32_t kPcm = 25;  // table 7-11
  out_->ue(setup_.intra ? kPcm : kPcm + 5);
  out_->align();
  for_each_line(col, row, planes, [&](const std::uint8_t* line, int size) {
    for (int x = 0; x < size; ++x) out_->put(line[x], 8);
  });
}

// 9.2.1: contexts count levels of the same plane.
template <std::size_t kPlane>
void CavlcWriter::write_luma_block(const LumaLevels& levels, const Around& around, State& state,
                                   std::size_t block, BlockKind kind) {
  std::array<std::uint8_t, 16>& counts = counts_of<kPlane>(state);
  const int left = block % 4 > 0            ? counts[block - 1]
                   : around.left != nullptr ? counts_of<kPlane>(*around.left)[block + 3]
                                            : -1;
  const int top = block >= 4              ? counts[block - 4]
                  : around.top != nullptr ? counts_of<kPlane>(*around.top)[block + 12]
                                          : -1;
  counts[block] = static_cast<std::uint8_t>(
      write_residual(*out_, {&levels.blocks.at[0][block], 16, levels.used.nonzero[block]}, kind,
                     mean_of(left, top)));
}

// residual_luma() (7.3.5.3.1), in 4:4:4 of Cb and Cr too.
template <std::size_t kPlane>
void CavlcWriter::write_luma(const Residual& residual, const Around& around, State& state,
                             bool intra16) {
  const LumaLevels& levels = residual.plane(kPlane);
  if (intra16) {
    const int left = around.left != nullptr ? counts_of<kPlane>(*around.left)[3] : -1;
    const int top = around.top != nullptr ? counts_of<kPlane>(*around.top)[12] : -1;
    write_residual(*out_, {levels.dc.data(), 1, marks_of(levels.dc)}, BlockKind::kWhole,
                   mean_of(left, top));
  }
  const BlockKind kind = intra16 ? BlockKind::kAc : BlockKind::kWhole;
  for (std::size_t i = 0; i < 16; ++i) {
    if ((residual.pattern >> i / 4 & 1U) != 0)
      write_luma_block<kPlane>(levels, around, state, raster(i), kind);
  }
}

void CavlcWriter::write_chroma_block(const Residual& residual, const Around& around, State& state,
                                     std::size_t plane, std::size_t block) {
  std::array<std::uint8_t, 16>& counts = state.chroma[plane];
  const int left = block % 2 > 0            ? counts[block - 1]
                   : around.left != nullptr ? around.left->chroma[plane][block + 1]
                                            : -1;
  const int top = block >= 2              ? counts[block - 2]
                  : around.top != nullptr ? around.top->chroma[plane][block + 2]
                                          : -1;
  const std::size_t at = plane * 4 + block;
  counts[block] = static_cast<std::uint8_t>(
      write_residual(*out_, {&residual.chroma.at[0][at], 8, residual.chroma_used.nonzero[at]},
                     BlockKind::kAc, mean_of(left, top)));
}

void CavlcWriter::write_residual_blocks(const Residual& residual, const Around& around,
                                        State& state, bool intra16) {
  write_luma<0>(residual, around, state, intra16);
  if (full_chroma()) {
    write_luma<1>(residual, around, state, intra16);
    write_luma<2>(residual, around, state, intra16);
    return;
  }
  if (residual.pattern >> 4 == 0) return;
  for (const ChromaDc& dc : residual.chroma_dc)
    write_residual(*out_, {dc.data(), 1, marks_of(dc)}, BlockKind::kChromaDc, 0);
  if (residual.pattern >> 4 != 2) return;
  for (std::size_t plane = 0; plane < 2; ++plane) {
    for (std::size_t block = 0; block < 4; ++block)
      write_chroma_block(residual, around, state, plane, block);
  }
}

}  // namespace

std::unique_ptr<MacroblockWriter> make_cavlc_writer() {
  return std::make_unique<CavlcWriter>();
}

}  // namespace kvm::screen
