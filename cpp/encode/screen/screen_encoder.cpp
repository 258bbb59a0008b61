#include "encode/screen/screen_encoder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "convert/convert.hpp"
#include "encode/presets.hpp"
#include "encode/screen/deblock.hpp"
#include "encode/screen/deblock_choice.hpp"

namespace kvm {
namespace screen {
namespace {

constexpr std::array kFormats420{PixelFormat::kBgra, PixelFormat::kI420};
constexpr std::array kFormats444{PixelFormat::kBgra, PixelFormat::kI444};
// Finer needs levels that CAVLC cannot write in Baseline.
constexpr int kFinestQuantiser = 10;

[[nodiscard]] Entropy entropy_of(const StreamConfig& config) {
  const bool quick = config.preset == kScreenPresets.front() ||
                     config.tune.find("fastdecode") != std::string::npos;
  return quick ? Entropy::kCavlc : Entropy::kCabac;
}

// Brings `tiles` of the older picture of a pair up to the newer one.
void bring_up(const Planes& from, Planes& to, const TileMap& tiles) {
  for (std::size_t plane = 0; plane < 3; ++plane) {
    const int tile = to.tile(plane);
    tiles.for_each_run([&](int row, int begin, int end) {
      for (int y = row * tile; y < (row + 1) * tile; ++y) {
        std::memcpy(to[plane].at(begin * tile, y), from[plane].at(begin * tile, y),
                    static_cast<std::size_t>((end - begin) * tile));
      }
    });
  }
}

}  // namespace

UpdateResult ScreenEncoder::update(const RateSettings& rate) {
  rate_ = rate;
  quantiser_.set_rate(rate);
  return UpdateResult::kSeamless;
}

std::span<const PixelFormat> ScreenEncoder::accepts(Chroma chroma) const {
  if (chroma == Chroma::k444) return kFormats444;
  return kFormats420;
}

void ScreenEncoder::open(const EncoderFormat& format, const StreamConfig& config,
                         std::vector<std::string>& notes) {
  check_preset_and_tune(config.preset, config.tune);
  if (!contains_name(kScreenPresets, config.preset)) {
    notes.push_back("preset = \"" + config.preset +
                    "\": the screen encoder goes no further than \"" + kScreenPresets.back() +
                    "\"");
  }
  format_ = format;
  header_ = {.width = format.width,
             .height = format.height,
             .fps = config.fps,
             .bitrate = config.bitrate,
             .chroma = config.chroma,
             .entropy = entropy_of(config)};
  choose_level(header_);
  cols_ = (format.width + kTile - 1) / kTile;
  rows_ = (format.height + kTile - 1) / kTile;
  for (Planes& planes : source_) planes = Planes(cols_, rows_, config.chroma);
  for (Planes& planes : decoded_) planes = Planes(cols_, rows_, config.chroma);
  const bool bgra = format.pixel_format == PixelFormat::kBgra;
  last_changed_ =
      TileMap(bgra ? format.bgra_width : format.width, bgra ? format.bgra_height : format.height);
  owed_ = last_changed_;
  sharpened_ = last_changed_;
  next_sharpened_ = 0;
  map_ = MacroblockMap(cols_, rows_);
  const int pieces = slicing_.most_of(rows_);
  constexpr int kStillPieces = 2;  // above and below a film
  slices_.clear();
  for (int i = 0; i < pieces + kStillPieces; ++i)
    slices_.push_back({.coder = SliceCoder(map_, header_.entropy), .bits = {}});
  workers_ = std::make_unique<Workers>(pieces - 1, "kvm-slice");
  detail_ = DetailMap(format.width, format.height, config.chroma);
  rate_ = {config.fps, config.bitrate, config.crf};
  quantiser_ = Quantiser(rate_, Quantiser::Unchanged::kLeftAlone);
  has_reference_ = false;
  is_open_ = true;
}

void ScreenEncoder::take_source(const CpuPlanes& planes, const TileMap& tiles,
                                const Planes& to) const {
  if (format_.pixel_format == PixelFormat::kBgra) {
    const PixelFormat own =
        header_.chroma == Chroma::k444 ? PixelFormat::kI444 : PixelFormat::kI420;
    convert_tiles(planes, tiles, own, to.as_cpu_planes());
  } else {
    for (std::size_t plane = 0; plane < 3; ++plane) {
      const int divide = kTile / to.tile(plane);
      tiles.for_each_run([&](int row, int begin, int end) {
        const Rect rect = tiles.run_rect(row, begin, end);
        for (int y = rect.y / divide; y < rect.bottom() / divide; ++y) {
          std::memcpy(to[plane].at(rect.x / divide, y),
                      planes.data[plane] + y * planes.stride[plane] + rect.x / divide,
                      static_cast<std::size_t>(rect.width / divide));
        }
      });
    }
  }
  repeat_edges(tiles, to);
}

// The last column and row, up to whole macroblocks.
void ScreenEncoder::repeat_edges(const TileMap& tiles, const Planes& to) const {
  const bool right = format_.width % kTile != 0;
  const bool below = format_.height % kTile != 0;
  if (!right && !below) return;
  for (std::size_t plane = 0; plane < 3; ++plane) {
    const int tile = to.tile(plane);
    const int width = format_.width * tile / kTile;
    const int height = format_.height * tile / kTile;
    tiles.for_each_run([&](int row, int begin, int end) {
      if (right && end == cols_) {
        for (int y = row * tile; y < std::min((row + 1) * tile, height); ++y) {
          std::uint8_t* line = to[plane].at(0, y);
          std::fill(line + width, line + cols_ * tile, line[width - 1]);
        }
      }
      if (below && row == rows_ - 1) {
        const std::uint8_t* last = to[plane].at(begin * tile, height - 1);
        for (int y = height; y < rows_ * tile; ++y) {
          std::memcpy(to[plane].at(begin * tile, y), last,
                      static_cast<std::size_t>((end - begin) * tile));
        }
      }
    });
  }
}

template <typename Fn>
void ScreenEncoder::share(const std::vector<Rows>& ranges, Fn&& fn) {
  workers_->run(static_cast<int>(ranges.size()), [&](int piece) {
    const auto i = static_cast<std::size_t>(piece);
    fn(i, ranges[i]);
  });
}

bool ScreenEncoder::has_film(const TileMap& tiles) const {
  constexpr std::size_t kLeast = 480;  // tiles: a film of 480×256
  if (tiles.count() < kLeast) return false;
  std::size_t count = 0;
  tiles.for_each_run([&](int row, int begin, int end) {
    for (int col = begin; col < end; ++col) count += map_.is_film(col, row) ? 1U : 0U;
  });
  return count >= kLeast;
}

void ScreenEncoder::code_picture(bool idr, bool refine, const TileMap& tiles, int quantiser,
                                 std::vector<std::uint8_t>& annexb) {
  const std::size_t old = 1 - current_;
  SliceSetup setup{.intra = idr,
                   .quantiser = quantiser,
                   .film = has_film(tiles),
                   .vertical_reach = header_.vertical_reach,
                   .chroma = header_.chroma,
                   .source = &source_[current_],
                   .old_source = &source_[old],
                   .reference = &decoded_[old],
                   .picture = &decoded_[current_],
                   .displacements = {}};
  if (!idr && !refine) {
    setup.displacements =
        displacement_.find(source_[current_][0], source_[old][0], tiles, header_.vertical_reach);
  }
  map_.begin_picture();
  for (Slice& slice : slices_) slice.deblocked = false;
  std::vector<Rows> ranges = cut_rows(tiles, slicing_);
  // A film's black bars, or a panel, are no part of a slice that may be deblocked.
  if (setup.film && !idr && quantiser >= kCoarseFilm) cut_off_still_rows(ranges, tiles);
  share(ranges,
        [&](std::size_t i, Rows rows) { code_rows(slices_[i], setup, rows, refine, tiles); });
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    append_slice(annexb, slices_[i].bits.bytes(), idr);
  }
}

bool ScreenEncoder::deblocks(const SliceSetup& setup, Rows rows, bool refine,
                             const TileMap& tiles) const {
  if (deblocking_ == Deblocking::kAlways) return true;
  // There is nothing yet that it could spoil.
  if (setup.intra) return setup.quantiser >= kCoarseKeyframe;
  return !refine && setup.film && setup.quantiser >= kCoarseFilm &&
         is_coarse_film(map_, {.first_row = rows.begin,
                               .end_row = rows.end,
                               .changed = tiles,
                               .sharpened = sharpened_,
                               .displacements = setup.displacements});
}

void ScreenEncoder::code_rows(Slice& slice, const SliceSetup& picture, Rows rows, bool refine,
                              const TileMap& tiles) {
  SliceSetup setup = picture;
  setup.first_row = rows.begin;
  slice.deblocked = deblocks(setup, rows, refine, tiles);
  slice.bits.clear();
  write_slice_header(slice.bits, {.first_macroblock = static_cast<std::uint32_t>(rows.begin) *
                                                      static_cast<std::uint32_t>(cols_),
                                  .idr = setup.intra,
                                  .frame_num = frame_num_,
                                  .idr_pic_id = idr_pic_id_,
                                  .quantiser = setup.quantiser,
                                  .deblocked = slice.deblocked,
                                  .entropy = header_.entropy});
  SliceCoder& coder = slice.coder;
  coder.begin(setup, slice.bits);
  for (int row = rows.begin; row < rows.end; ++row) {
    const std::uint8_t* changed = tiles.row_ptr(row);
    const std::uint8_t* coarse = sharpened_.row_ptr(row);
    for (int col = 0; col < cols_;) {
      int end = col;
      if (coarse[col] != 0 || (refine && changed[col] != 0)) {
        coder.refine(col, row, coarse[col] != 0 ? sharp_quantiser() : setup.quantiser);
        ++end;
      } else if (changed[col] != 0) {
        while (end < cols_ && changed[end] != 0 && coarse[end] == 0) ++end;
        coder.code(col, end, row);
      } else {
        end = std::min(tiles.find(row, col), sharpened_.find(row, col));
        coder.skip(col, end, row);
      }
      col = end;
    }
  }
  coder.end();
  if (slice.deblocked) {
    deblock({.first_row = rows.begin,
             .end_row = rows.end,
             .quantiser = setup.quantiser,
             .chroma = setup.chroma},
            map_, *setup.picture);
  }
}

int ScreenEncoder::sharp_quantiser() const {
  constexpr int kFinerThanAsked = 8;
  const int asked = static_cast<int>(std::lround(rate_.crf));
  return std::clamp(asked - kFinerThanAsked, kFinestQuantiser, 51);
}

// While something large moves there are no spare pictures to refine what stands still beside it: so
// every picture takes a few macroblocks along.
void ScreenEncoder::choose_sharpened(const TileMap& tiles) {
  constexpr std::size_t kLargeChange = 64;  // tiles; after a smaller one refinement follows soon
  constexpr int kMost = 40;                 // the whole of a 1080p screen in some three seconds
  constexpr std::uint32_t kRested = 15;     // pictures; what changes sooner is not worth it
  constexpr double kReserve = 0.1;          // seconds of the ceiling
  if (tiles.count() < kLargeChange || quantiser_.budget() < kReserve * rate_.bitrate) return;
  const int sharp = sharp_quantiser();
  int col = next_sharpened_ % cols_;
  int row = next_sharpened_ / cols_;
  int chosen = 0;
  // Mostly there is nothing left to do: that is found quickly.
  for (int seen = 0; seen < cols_ * rows_ && chosen < kMost; ++seen) {
    if (++col == cols_) {
      col = 0;
      row = (row + 1) % rows_;
    }
    if (map_.quality(col, row) <= sharp || tiles.at(col, row) || map_.rested(col, row) < kRested)
      continue;
    sharpened_.set(col, row);
    ++chosen;
  }
  next_sharpened_ = row * cols_ + col;
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
  // The older pictures become the newest: they catch up with what changed since and is not written
  // anew now.
  const std::size_t old = current_;
  const std::size_t next = 1 - current_;
  last_changed_.subtract(tiles);
  share(cut_rows(tiles, slicing_), [&](std::size_t, Rows rows) {
    bring_up(source_[old], source_[next], last_changed_.rows_only(rows.begin, rows.end));
    take_source(planes, tiles.rows_only(rows.begin, rows.end), source_[next]);
  });
  detail_.update(source_[next].as_cpu_planes(), idr ? nullptr : &tiles);
  const int quantiser = std::max(
      kFinestQuantiser, quantiser_.choose(kind, hints.refine_step, detail_, hints.wall_ns));
  const bool hold = kind == PictureKind::kChange && quantiser_.must_hold();
  sharpened_.clear();
  if (hold) {
    // The picture before is shown once more; what was taken stays in the older source picture.
    owed_ = tiles;
    last_changed_.merge(tiles);
    tiles.clear();
  } else {
    owed_.clear();
    if (refine) {
      for (int row = 0; row < rows_; ++row) {
        for (int col = 0; col < cols_; ++col) {
          if (map_.quality(col, row) > quantiser) tiles.set(col, row);
        }
      }
    } else if (!idr) {
      choose_sharpened(tiles);
    }
    bring_up(decoded_[old], decoded_[next], last_changed_);
    last_changed_ = tiles;
    last_changed_.merge(sharpened_);
    current_ = next;
  }

  if (idr) frame_num_ = 0;
  AccessUnit unit;
  unit.pts_us = hints.pts_us;
  unit.keyframe = idr;
  if (idr) unit.data = parameter_sets(header_);
  code_picture(idr, refine, tiles, quantiser, unit.data);
  // The filter reaches into macroblocks beside those that were coded.
  if (std::any_of(slices_.begin(), slices_.end(), [](const Slice& one) { return one.deblocked; }))
    last_changed_.grow();
  if (idr) idr_pic_id_ = 1 - idr_pic_id_;
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
  return decoded_[current_].as_cpu_planes();
}

}  // namespace screen

std::unique_ptr<Encoder> make_screen_encoder() {
  return std::make_unique<screen::ScreenEncoder>();
}

}  // namespace kvm
