#include "encode/screen/cabac_writer.hpp"

namespace kvm::screen {
namespace {

constexpr std::size_t kSkip = 11;  // ctxIdxOffset of mb_skip_flag

}  // namespace

void CabacWriter::begin(const Setup& setup, SliceBits& out) {
  setup_ = setup;
  out_ = &out;
  engine_.clear();
  start_contexts(contexts_, setup.intra, setup.quantiser);
  row_.assign(static_cast<std::size_t>(setup.cols), Coded{});
  before_ = {.quantiser = setup.quantiser};
}

void CabacWriter::open(Run& out, bool skipped) {
  if (before_.any) out.terminate(false);  // end_of_slice_flag of the one before
  before_.any = true;
  if (setup_.intra) return;
  const auto counts = [](const Coded& near) { return near.there && !near.skipped ? 1U : 0U; };
  out.encode(context(kSkip + counts(left()) + counts(top())), skipped);
}

void CabacWriter::skip(int col, int count) {
  engine_.reserve(static_cast<std::size_t>(count) * 2 + kMacroblockBytes);
  Run out(engine_);
  for (int i = 0; i < count; ++i) {
    col_ = static_cast<std::size_t>(col + i);
    open(out, true);
    keep({.there = true, .skipped = true});
  }
  before_.stepped = false;
}

bool CabacWriter::write(int col, const Macroblock& macroblock, const Residual& residual,
                        const Around& /*around*/, MacroblockMap::State* state) {
  engine_.reserve(kMacroblockBytes);
  col_ = static_cast<std::size_t>(col);
  const CabacEngine::Mark mark = engine_.mark();
  const std::size_t bits = engine_.bit_count();
  const CabacContexts contexts = contexts_;
  const Before before = before_;

  Coded coded{.there = true,
              .intra = macroblock.intra(),
              .sixteen = macroblock.kind == Macroblock::Kind::kIntra16,
              .pattern = static_cast<std::uint8_t>(residual.pattern)};
  const bool has_residual = macroblock.has_residual(residual);
  {
    Run out(engine_);
    open(out, false);
    if (coded.intra) {
      write_intra_kind(out, coded.sixteen);
      if (coded.sixteen) {
        write_intra16(out, macroblock.mode, residual.pattern);
      } else {
        write_modes(out, macroblock);
      }
      if (!full_chroma()) write_chroma_mode(out, coded, macroblock.chroma_mode);
    } else {
      write_motion(out, coded, macroblock);
    }
    if (!coded.sixteen) write_pattern(out, coded);
    if (has_residual) {
      write_quantiser(out, macroblock.quantiser);
    } else {
      before_.stepped = false;
    }
  }
  if (has_residual) {
    for (std::size_t plane = 0; plane < (full_chroma() ? 3U : 1U); ++plane)
      write_luma(coded, residual, plane);
    if (!full_chroma()) write_chroma(coded, residual);
  }
  if (engine_.bit_count() - bits > most_bits(setup_.chroma)) {
    engine_.take_back(mark);
    contexts_ = contexts;
    before_ = before;
    return false;
  }
  if (has_residual) {  // for the deblocking filter
    for (std::size_t block = 0; block < 16; ++block)
      state->luma[block] = static_cast<std::uint8_t>(coded.flags[0] >> block & 1U);
  }
  keep(coded);
  return true;
}

void CabacWriter::write_dc(Coded& coded, const BlockLevels& levels, CabacKind kind,
                           std::size_t plane) {
  write_residual(engine_, contexts_, levels, kind, kind == CabacKind::kDc ? plane : 0,
                 left().dc_flag(plane, coded.intra), top().dc_flag(plane, coded.intra));
  if (levels.nonzero != 0) coded.dc_flags = static_cast<std::uint8_t>(coded.dc_flags | 1U << plane);
}

void CabacWriter::write_block(Coded& coded, const BlockLevels& levels, CabacKind kind,
                              std::size_t plane, std::size_t block, std::size_t side) {
  const bool a = block % side > 0 ? coded.flag(plane, block - 1, true)
                                  : left().flag(plane, block + side - 1, coded.intra);
  const bool b = block >= side ? coded.flag(plane, block - side, true)
                               : top().flag(plane, block + side * (side - 1), coded.intra);
  write_residual(engine_, contexts_, levels, kind, kind == CabacKind::kChromaAc ? 0 : plane, a, b);
  if (levels.nonzero != 0)
    coded.flags[plane] = static_cast<std::uint16_t>(coded.flags[plane] | 1U << block);
}

// residual_luma() (7.3.5.3.1), in 4:4:4 of Cb and Cr too.
void CabacWriter::write_luma(Coded& coded, const Residual& residual, std::size_t plane) {
  const LumaLevels& levels = residual.plane(plane);
  if (coded.sixteen)
    write_dc(coded, {levels.dc.data(), 1, marks_of(levels.dc)}, CabacKind::kDc, plane);
  const CabacKind kind = coded.sixteen ? CabacKind::kAc : CabacKind::kWhole;
  for (std::size_t i = 0; i < 16; ++i) {
    if ((residual.pattern >> i / 4 & 1U) == 0) continue;
    const std::size_t block = raster(i);
    write_block(coded, {&levels.blocks.at[0][block], 16, levels.used.nonzero[block]}, kind, plane,
                block, 4);
  }
}

void CabacWriter::write_chroma(Coded& coded, const Residual& residual) {
  if (residual.pattern >> 4 == 0) return;
  for (std::size_t plane = 1; plane < 3; ++plane) {
    const ChromaDc& dc = residual.chroma_dc[plane - 1];
    write_dc(coded, {dc.data(), 1, marks_of(dc)}, CabacKind::kChromaDc, plane);
  }
  if (residual.pattern >> 4 != 2) return;
  for (std::size_t plane = 1; plane < 3; ++plane) {
    for (std::size_t block = 0; block < 4; ++block) {
      const std::size_t at = (plane - 1) * 4 + block;
      write_block(coded, {&residual.chroma.at[0][at], 8, residual.chroma_used.nonzero[at]},
                  CabacKind::kChromaAc, plane, block, 2);
    }
  }
}

void CabacWriter::write_pixels(int col, int row, const Planes& planes) {
  engine_.reserve(kMacroblockBytes);
  col_ = static_cast<std::size_t>(col);
  {
    Run out(engine_);
    open(out, false);
    write_intra_kind(out, true);
    out.terminate(true);
  }
  engine_.flush();
  for_each_line(col, row, planes, [&](const std::uint8_t* line, int size) {
    for (int x = 0; x < size; ++x) engine_.put_byte(line[x]);
  });
  keep({.there = true,
        .intra = true,
        .sixteen = true,
        .pattern = 0x2f,
        .dc_flags = 7,
        .flags = {0xffff, 0xffff, 0xffff}});
  before_.stepped = false;
}

void CabacWriter::end() {
  engine_.reserve(kMacroblockBytes);
  {
    Run out(engine_);
    out.terminate(true);
  }
  engine_.flush();
  out_->align_with_ones();  // cabac_alignment_one_bit
  out_->append(engine_.bytes());
}

std::unique_ptr<MacroblockWriter> make_cabac_writer() {
  return std::make_unique<CabacWriter>();
}

}  // namespace kvm::screen
