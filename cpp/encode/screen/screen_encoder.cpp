#include "encode/screen/screen_encoder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "encode/presets.hpp"

namespace kvm {
namespace screen {
namespace {

constexpr std::array kFormats{PixelFormat::kI420};
// Finer needs levels that Baseline cannot write.
constexpr int kFinestQuantiser = 10;

// Brings `tiles` of the older picture of a pair up to the newer one.
void bring_up(const Planes& from, Planes& to, const TileMap& tiles) {
  for (std::size_t plane = 0; plane < 3; ++plane) {
    const int tile = plane == 0 ? kTile : kTile / 2;
    tiles.for_each_run([&](int row, int begin, int end) {
      for (int y = row * tile; y < (row + 1) * tile; ++y) {
        std::memcpy(to[plane].at(begin * tile, y), from[plane].at(begin * tile, y),
                    static_cast<std::size_t>((end - begin) * tile));
      }
    });
  }
}

// Copies cost nothing and keep what they copy: what is coded is worth one step more.
[[nodiscard]] RateSettings aim_of(RateSettings rate) {
  rate.crf = std::max(1.0, rate.crf - 1);
  return rate;
}

}  // namespace

UpdateResult ScreenEncoder::update(const RateSettings& rate) {
  rate_ = rate;
  quantiser_.set_rate(aim_of(rate));
  return UpdateResult::kSeamless;
}

std::span<const PixelFormat> ScreenEncoder::accepts(Chroma chroma) const {
  if (chroma == Chroma::k444) return {};
  return kFormats;
}

void ScreenEncoder::open(const EncoderFormat& format, const StreamConfig& config,
                         std::vector<std::string>& notes) {
  check_preset_and_tune(config.preset, config.tune);
  if (config.preset != kX264Presets.front()) {
    notes.push_back("preset = \"" + config.preset + "\" has no counterpart in the screen encoder");
  }
  format_ = format;
  header_ = {
      .width = format.width, .height = format.height, .fps = config.fps, .bitrate = config.bitrate};
  choose_level(header_);
  cols_ = (format.width + kTile - 1) / kTile;
  rows_ = (format.height + kTile - 1) / kTile;
  for (Planes& planes : source_) planes = Planes(cols_, rows_);
  for (Planes& planes : decoded_) planes = Planes(cols_, rows_);
  last_changed_ = TileMap(cols_ * kTile, rows_ * kTile);
  owed_ = last_changed_;
  sharpened_ = last_changed_;
  next_sharpened_ = 0;
  coder_ = SliceCoder(cols_, rows_);
  detail_ = DetailMap(format.width, format.height);
  rate_ = {config.fps, config.bitrate, config.crf};
  quantiser_ = Quantiser(aim_of(rate_), Quantiser::Unchanged::kLeftAlone);
  has_reference_ = false;
  is_open_ = true;
}

// Copies changed tiles into the newest source picture; the last row and column are repeated.
void ScreenEncoder::take_source(const CpuPlanes& planes, const TileMap& tiles) {
  for (std::size_t plane = 0; plane < 3; ++plane) {
    const Plane& to = source_[current_][plane];
    const int tile = plane == 0 ? kTile : kTile / 2;
    const int width = plane == 0 ? format_.width : format_.width / 2;
    const int height = plane == 0 ? format_.height : format_.height / 2;
    const std::uint8_t* from = planes.data[plane];
    const std::ptrdiff_t stride = planes.stride[plane];
    tiles.for_each_run([&](int row, int begin, int end) {
      const int x = begin * tile;
      const int right = std::min(end * tile, width);
      for (int y = row * tile; y < (row + 1) * tile; ++y) {
        std::uint8_t* line = to.at(0, y);
        std::memcpy(line + x, from + std::min(y, height - 1) * stride + x,
                    static_cast<std::size_t>(right - x));
        std::fill(line + right, line + end * tile, line[right - 1]);
      }
    });
  }
}

SourceBlock ScreenEncoder::block_at(int col, int row) const {
  const Planes& source = source_[current_];
  return {.luma = source[0].at(col * kTile, row * kTile),
          .luma_stride = source[0].stride,
          .chroma = {source[1].at(col * 8, row * 8), source[2].at(col * 8, row * 8)},
          .chroma_stride = source[1].stride};
}

void ScreenEncoder::code_picture(bool idr, bool refine, const TileMap& tiles, int quantiser) {
  const std::size_t old = 1 - current_;
  const SliceHeader header{
      .idr = idr, .frame_num = frame_num_, .idr_pic_id = idr_pic_id_, .quantiser = quantiser};
  bits_.clear();
  write_slice_header(bits_, header);
  SliceSetup setup{.intra = idr,
                   .quantiser = quantiser,
                   .vertical_reach = header_.vertical_reach,
                   .old_source = &source_[old],
                   .reference = &decoded_[old],
                   .picture = &decoded_[current_],
                   .displacements = {}};
  if (!idr && !refine) {
    setup.displacements =
        displacement_.find(source_[current_][0], source_[old][0], tiles, header_.vertical_reach);
  }
  coder_.begin(setup, bits_);
  for (int row = 0; row < rows_; ++row) {
    const std::uint8_t* changed = tiles.row_ptr(row);
    const std::uint8_t* coarse = sharpened_.row_ptr(row);
    for (int col = 0; col < cols_;) {
      int end = col;
      while (end < cols_ && (changed[end] | coarse[end]) == 0) ++end;
      coder_.skip(col, end, row);
      for (col = end; col < cols_ && (changed[col] | coarse[col]) != 0; ++col) {
        const SourceBlock source = block_at(col, row);
        if (coarse[col] != 0) {
          coder_.refine(col, row, source, sharp_quantiser());
        } else if (refine) {
          coder_.refine(col, row, source, quantiser);
        } else {
          coder_.code(col, row, source);
        }
      }
    }
  }
  coder_.end();
}

int ScreenEncoder::sharp_quantiser() const {
  constexpr int kFinerThanAsked = 4;
  const int asked = static_cast<int>(std::lround(rate_.crf));
  return std::clamp(asked - kFinerThanAsked, kFinestQuantiser, 51);
}

// While something large moves there are no spare pictures to refine what stands still beside it: so
// every picture takes a few macroblocks along.
void ScreenEncoder::choose_sharpened(const TileMap& tiles) {
  sharpened_.clear();
  constexpr std::size_t kLargeChange = 64;  // tiles; after a smaller one refinement follows soon
  constexpr int kMost = 64;
  constexpr double kReserve = 0.1;  // seconds of the ceiling
  if (tiles.count() < kLargeChange || quantiser_.budget() < kReserve * rate_.bitrate) return;
  const int count = cols_ * rows_;
  int chosen = 0;
  for (int seen = 0; seen < count && chosen < kMost; ++seen) {
    next_sharpened_ = (next_sharpened_ + 1) % count;
    const int col = next_sharpened_ % cols_;
    const int row = next_sharpened_ / cols_;
    if (tiles.at(col, row) || coder_.quality(col, row) <= sharp_quantiser()) continue;
    sharpened_.set(col, row);
    ++chosen;
  }
}

EncodeResult ScreenEncoder::encode(const CpuPlanes& planes, const EncodeHints& hints) {
  if (!is_open_) return Failed{"the screen encoder is not open"};
  const bool idr = hints.keyframe || !has_reference_;
  const bool refine = !idr && hints.refine_step > 0;
  const PictureKind kind = idr      ? PictureKind::kKeyframe
                           : refine ? PictureKind::kRefinement
                                    : PictureKind::kChange;
  TileMap tiles = owed_;
  if (idr || hints.damage == nullptr) {
    tiles.set_all();
  } else {
    tiles.merge(*hints.damage);
  }
  detail_.update(planes, idr ? nullptr : &tiles);
  const int quantiser = std::max(
      kFinestQuantiser, quantiser_.choose(kind, hints.refine_step, detail_, hints.wall_ns));
  const bool hold = kind == PictureKind::kChange && quantiser_.must_hold();
  if (hold) {
    owed_ = tiles;
    tiles.clear();
  } else {
    owed_.clear();
  }
  if (refine) {
    for (int row = 0; row < rows_; ++row) {
      for (int col = 0; col < cols_; ++col) {
        if (coder_.quality(col, row) > quantiser) tiles.set(col, row);
      }
    }
  }

  // The older pictures become the newest: they catch up with what changed since and is not written
  // anew now.
  const std::size_t old = current_;
  current_ = 1 - current_;
  last_changed_.subtract(tiles);
  bring_up(source_[old], source_[current_], last_changed_);
  bring_up(decoded_[old], decoded_[current_], last_changed_);
  take_source(planes, tiles);
  sharpened_.clear();
  if (kind == PictureKind::kChange && !hold) choose_sharpened(tiles);
  last_changed_ = tiles;
  last_changed_.merge(sharpened_);

  if (idr) frame_num_ = 0;
  code_picture(idr, refine, tiles, quantiser);
  AccessUnit unit;
  unit.pts_us = hints.pts_us;
  unit.keyframe = idr;
  if (idr) {
    unit.data = parameter_sets(header_);
    idr_pic_id_ = 1 - idr_pic_id_;
  }
  append_slice(unit.data, bits_.finish(), idr);
  frame_num_ = (frame_num_ + 1) % (1 << kFrameNumBits);
  has_reference_ = true;
  const auto bits = static_cast<std::int64_t>(unit.data.size()) * 8;
  if (hold) {
    quantiser_.held(bits);
  } else {
    quantiser_.spent(bits);
  }
  return unit;
}

CpuPlanes ScreenEncoder::decoded() const {
  const Planes& picture = decoded_[current_];
  return {{picture[0].data, picture[1].data, picture[2].data},
          {picture[0].stride, picture[1].stride, picture[2].stride}};
}

}  // namespace screen

std::unique_ptr<Encoder> make_screen_encoder() {
  return std::make_unique<screen::ScreenEncoder>();
}

}  // namespace kvm
