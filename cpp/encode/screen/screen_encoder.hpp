// Our own H.264 for screens, whose cost follows what changed: Constrained Baseline, Main with
// CABAC, and High 4:4:4 Predictive where chroma is as fine as luma.
#pragma once

#include <array>
#include <memory>

#include "base/workers.hpp"
#include "encode/encoder.hpp"
#include "encode/quantiser.hpp"
#include "encode/screen/displacement.hpp"
#include "encode/screen/headers.hpp"
#include "encode/screen/slice_coder.hpp"
#include "encode/screen/slicing.hpp"

namespace kvm {
namespace screen {

// When the deblocking filter runs.
enum class Deblocking {
  kByContent,  // where a coarse film would show its blocks, and nothing else is touched
  kAlways,     // for tests: after all that is coded
};

class ScreenEncoder final : public Encoder {
 public:
  explicit ScreenEncoder(Slicing slicing = slicing_of_this_machine(),
                         Deblocking deblocking = Deblocking::kByContent)
      : slicing_(slicing), deblocking_(deblocking) {}
  [[nodiscard]] std::string_view name() const override { return "screen"; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma chroma) const override;
  void open(const EncoderFormat& format, const StreamConfig& config,
            std::vector<std::string>& notes) override;
  [[nodiscard]] EncodeResult encode(const CpuPlanes& planes, const EncodeHints& hints) override;
  [[nodiscard]] std::vector<AccessUnit> drain() override { return {}; }
  [[nodiscard]] UpdateResult update(const RateSettings& rate) override;
  void close() override {
    is_open_ = false;
    workers_.reset();
  }

  // What a decoder shows after the last access unit, at whole macroblocks. For tests.
  [[nodiscard]] CpuPlanes decoded() const;

 private:
  struct Slice {
    SliceCoder coder;
    SliceBits bits;
    bool deblocked = false;  // in this picture
  };

  // Calls fn(piece, rows) for each range, on several threads.
  template <typename Fn>
  void share(const std::vector<Rows>& ranges, Fn&& fn);
  // Bring changed tiles into a picture of whole macroblocks.
  void take_source(const CpuPlanes& planes, const TileMap& tiles, const Planes& to) const;
  void repeat_edges(const TileMap& tiles, const Planes& to) const;
  // Whether so much of what changed is film that it gets a quantiser of its own.
  [[nodiscard]] bool has_film(const TileMap& tiles) const;
  // Codes the picture and appends it to `annexb`.
  void code_picture(bool idr, bool refine, const TileMap& tiles, int quantiser,
                    std::vector<std::uint8_t>& annexb);
  void code_rows(Slice& slice, const SliceSetup& setup, Rows rows, bool refine,
                 const TileMap& tiles);
  // Whether the deblocking filter runs over these rows, a slice.
  [[nodiscard]] bool deblocks(const SliceSetup& setup, Rows rows, bool refine,
                              const TileMap& tiles) const;
  void choose_sharpened(const TileMap& tiles);
  [[nodiscard]] int sharp_quantiser() const;

  bool is_open_ = false;
  EncoderFormat format_;
  StreamHeader header_;
  int cols_ = 0;
  int rows_ = 0;
  bool has_reference_ = false;
  int frame_num_ = 0;
  int idr_pic_id_ = 0;
  // Two of each, taking turns: [current_] is the newest that was coded.
  std::array<Planes, 2> source_;
  std::array<Planes, 2> decoded_;
  std::size_t current_ = 0;
  TileMap last_changed_;  // tiles that may differ between the two
  TileMap owed_;          // changed, but held back to keep under the ceiling
  TileMap sharpened_;     // unchanged, coded again in this picture
  int next_sharpened_ = 0;
  RateSettings rate_;
  DetailMap detail_;
  Quantiser quantiser_;
  DisplacementSearch displacement_;
  MacroblockMap map_;
  Slicing slicing_;
  Deblocking deblocking_;
  std::vector<Slice> slices_;
  std::unique_ptr<Workers> workers_;
};

}  // namespace screen

[[nodiscard]] std::unique_ptr<Encoder> make_screen_encoder();

}  // namespace kvm
