// The seam between what SliceCoder decides and the bits of slice_data() (ITU-T H.264, 7.3.4): CAVLC
// or CABAC.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "encode/screen/headers.hpp"
#include "encode/screen/macroblock.hpp"
#include "encode/screen/planes.hpp"
#include "encode/screen/slice_bits.hpp"
#include "frame/config.hpp"

namespace kvm::screen {

// Macroblocks must be given in raster order, each once, from the slice's first to its last.
class MacroblockWriter {
 public:
  struct Setup {
    bool intra = false;  // an I slice
    int quantiser = 26;  // SliceQP_Y
    Chroma chroma = Chroma::k420;
    int cols = 0;  // macroblocks of a row
  };

  virtual ~MacroblockWriter() = default;
  MacroblockWriter() = default;
  MacroblockWriter(const MacroblockWriter&) = delete;
  MacroblockWriter& operator=(const MacroblockWriter&) = delete;

  // `out` holds the slice's header, and has all of it after end().
  virtual void begin(const Setup& setup, SliceBits& out) = 0;
  // P_Skip, `count` of them in a row from `col` on.
  virtual void skip(int col, int count) = 0;
  // False: it took more bits than a decoder must bear, and nothing of it is written. `state`: gets
  // the numbers of its levels; null where it has none.
  [[nodiscard]] virtual bool write(int col, const Macroblock& macroblock, const Residual& residual,
                                   const Around& around, MacroblockMap::State* state) = 0;
  // I_PCM: the macroblock's pixels in `planes`.
  virtual void write_pixels(int col, int row, const Planes& planes) = 0;
  // Also writes the slice's trailing bits.
  virtual void end() = 0;

 protected:
  // A.3.1: 128 bits more than a macroblock's pixels have.
  [[nodiscard]] static constexpr std::size_t most_bits(Chroma chroma) noexcept {
    return 128 + 8 * kTile * kTile * (chroma == Chroma::k444 ? 6 : 3) / 2;
  }
  // More bytes than any macroblock can take.
  static constexpr std::size_t kMacroblockBytes = 4096;

  // mb_qp_delta, by which the quantiser goes on from that of the last macroblock that stated one:
  // -26 … 25, further ones go round (7.4.5).
  [[nodiscard]] static constexpr int quantiser_delta(int quantiser, int before) noexcept {
    const int delta = quantiser - before;
    if (delta < -26) return delta + 52;
    return delta > 25 ? delta - 52 : delta;
  }
  // Calls fn(line, size) for each row of pixels of each plane, in the order of 7.3.5.
  template <typename Fn>
  static void for_each_line(int col, int row, const Planes& planes, Fn&& fn) {
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const int size = planes.tile(plane);
      for (int y = row * size; y < (row + 1) * size; ++y) fn(planes[plane].at(col * size, y), size);
    }
  }
  // Which levels of a block that has no marks are not 0: bit i = level i of its scan.
  [[nodiscard]] static std::uint32_t marks_of(const Block4& dc) noexcept {
    std::uint32_t nonzero = 0;
    for (std::uint32_t i = 0; i < 16; ++i) nonzero |= dc[kZigzag[i]] != 0 ? 1U << i : 0U;
    return nonzero;
  }
  [[nodiscard]] static std::uint32_t marks_of(const ChromaDc& dc) noexcept {
    std::uint32_t nonzero = 0;
    for (std::uint32_t i = 0; i < 4; ++i) nonzero |= dc[i] != 0 ? 1U << i : 0U;
    return nonzero;
  }
};

[[nodiscard]] std::unique_ptr<MacroblockWriter> make_cavlc_writer();
[[nodiscard]] std::unique_ptr<MacroblockWriter> make_cabac_writer();

}  // namespace kvm::screen
