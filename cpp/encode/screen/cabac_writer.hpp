// slice_data() in CABAC (ITU-T H.264, 7.3.4, 7.3.5 and 9.3). Frames only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "encode/screen/cabac_residual.hpp"
#include "encode/screen/macroblock_writer.hpp"

namespace kvm::screen {

class CabacWriter final : public MacroblockWriter {
 public:
  void begin(const Setup& setup, SliceBits& out) override;
  void skip(int col, int count) override;
  [[nodiscard]] bool write(int col, const Macroblock& macroblock, const Residual& residual,
                           const Around& around, MacroblockMap::State* state) override;
  void write_pixels(int col, int row, const Planes& planes) override;
  void end() override;

 private:
  using Run = CabacEngine::Run;

  // What the macroblocks right of one and below it ask of it (9.3.3.1.1).
  struct Coded {
    bool there = false;  // in the slice
    bool skipped = false;
    bool intra = false;
    bool sixteen = false;       // Intra_16x16 or I_PCM
    bool chroma_mode = false;   // other than DC
    std::uint8_t pattern = 0;   // CodedBlockPatternLuma | CodedBlockPatternChroma << 4
    std::uint8_t dc_flags = 0;  // coded_block_flag of DC blocks: bit 0 luma, 1 Cb, 2 Cr
    // coded_block_flag of 4×4 blocks, raster order: luma, Cb, Cr; chroma of 4:2:0 has four of each.
    std::array<std::uint16_t, 3> flags{};
    struct Difference {  // absMvdComp, quarters of a pixel, as far as it matters
      std::uint8_t x = 0;
      std::uint8_t y = 0;
    };
    std::array<Difference, 4> differences{};  // of each 8×8 quarter

    // 9.3.3.1.1.9: outside the slice a flag counts as that of an intra macroblock's kind.
    [[nodiscard]] bool flag(std::size_t plane, std::size_t block, bool for_intra) const noexcept {
      return there ? (flags[plane] >> block & 1U) != 0 : for_intra;
    }
    [[nodiscard]] bool dc_flag(std::size_t plane, bool for_intra) const noexcept {
      return there ? (dc_flags >> plane & 1U) != 0 : for_intra;
    }
  };

  [[nodiscard]] bool full_chroma() const noexcept { return setup_.chroma == Chroma::k444; }
  [[nodiscard]] const Coded& left() const noexcept { return col_ > 0 ? row_[col_ - 1] : absent_; }
  [[nodiscard]] const Coded& top() const noexcept { return row_[col_]; }
  // Takes the place of what was above.
  void keep(const Coded& coded) noexcept { row_[col_] = coded; }
  [[nodiscard]] CabacContext& context(std::size_t index) noexcept { return contexts_[index]; }
  // At the beginning of each macroblock, skipped or not.
  void open(Run& out, bool skipped);

  // cabac_elements.cpp: what a macroblock says before its levels.
  void write_intra_kind(Run& out, bool sixteen);
  void write_intra16(Run& out, IntraMode mode, unsigned pattern);
  void write_modes(Run& out, const Macroblock& macroblock);
  void write_chroma_mode(Run& out, Coded& coded, IntraMode mode);
  void write_motion(Run& out, Coded& coded, const Macroblock& macroblock);
  void write_difference(Run& out, std::size_t first, int sum, int difference);
  void write_pattern(Run& out, const Coded& coded);
  void write_quantiser(Run& out, int quantiser);

  void write_luma(Coded& coded, const Residual& residual, std::size_t plane);
  void write_chroma(Coded& coded, const Residual& residual);
  void write_dc(Coded& coded, const BlockLevels& levels, CabacKind kind, std::size_t plane);
  // `side`: blocks of a side of the plane.
  void write_block(Coded& coded, const BlockLevels& levels, CabacKind kind, std::size_t plane,
                   std::size_t block, std::size_t side);

  Setup setup_;
  SliceBits* out_ = nullptr;
  CabacEngine engine_;
  CabacContexts contexts_;
  std::vector<Coded> row_;  // left of the macroblock in hand those of its row, else above
  Coded absent_;
  std::size_t col_ = 0;
  struct Before {
    bool any = false;      // something of the slice is coded
    bool stepped = false;  // the last macroblock had an mb_qp_delta other than 0
    int quantiser = 0;     // QP_Y,PRED
  };
  Before before_;
};

}  // namespace kvm::screen
