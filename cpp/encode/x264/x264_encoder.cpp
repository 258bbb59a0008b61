#include "encode/x264/x264_encoder.hpp"

#include <cstdint>
// x264.h wants <stdint.h> first.
#include <x264.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "encode/h264_sps.hpp"
#include "encode/presets.hpp"
#include "encode/quantiser.hpp"
#include "encode/rate.hpp"
#include "encode/x264/search_choice.hpp"

namespace kvm {
namespace {

constexpr std::array kFormats420{PixelFormat::kNv12, PixelFormat::kI420};
constexpr std::array kFormats444{PixelFormat::kI444};

// x264_encoder_open and _close are not safe against each other, in any instances of this process.
[[nodiscard]] std::mutex& open_close_mutex() {
  static std::mutex mutex;
  return mutex;
}

struct EncoderDeleter {
  void operator()(x264_t* encoder) const noexcept {
    const std::lock_guard lock(open_close_mutex());
    x264_encoder_close(encoder);
  }
};

class X264Encoder final : public Encoder {
 public:
  ~X264Encoder() override { X264Encoder::close(); }

  [[nodiscard]] std::string_view name() const override { return "libx264"; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma chroma) const override {
    if (chroma == Chroma::k444) return kFormats444;
    return kFormats420;
  }
  void open(const EncoderFormat& format, const StreamConfig& config,
            std::vector<std::string>& notes) override;
  [[nodiscard]] EncodeResult encode(const CpuPlanes& planes, const EncodeHints& hints) override;
  // Nothing is ever held back.
  [[nodiscard]] std::vector<AccessUnit> drain() override { return {}; }
  [[nodiscard]] UpdateResult update(const RateSettings& rate) override {
    quantiser_.set_rate(rate);
    return UpdateResult::kSeamless;
  }
  void close() override;

 private:
  static void on_log(void* self, int level, const char* format, va_list arguments);
  void set_search(int width);
  void mark_unchanged(const TileMap& damage);
  [[nodiscard]] const TileMap* owed_and(const TileMap* damage);
  void owe(const TileMap* damage);
  [[nodiscard]] std::string reason(const char* what) const;

  EncoderFormat format_;
  x264_param_t parameters_{};
  std::unique_ptr<x264_t, EncoderDeleter> encoder_;
  std::vector<std::uint8_t> unchanged_;  // x264's flags, one for each macroblock
  TileMap owed_;                         // changed, but held back to keep under the ceiling
  DetailMap detail_;
  Quantiser quantiser_;
  SearchChoice search_;
  bool adaptive_search_ = false;
  int search_width_ = 0;
  bool has_reference_ = false;  // the last picture went through, so "unchanged" has a meaning
  std::int64_t next_picture_ = 0;
  std::array<char, 256> last_line_{};
};

void X264Encoder::on_log(void* self, int level, const char* format, va_list arguments) {
  if (level > X264_LOG_WARNING) return;
  auto& line = static_cast<X264Encoder*>(self)->last_line_;
  std::vsnprintf(line.data(), line.size(), format, arguments);
  line[std::strcspn(line.data(), "\n")] = '\0';
}

std::string X264Encoder::reason(const char* what) const {
  std::string text = std::string("libx264: ") + what;
  if (last_line_[0] != '\0') text += " (" + std::string(last_line_.data()) + ")";
  return text;
}

void X264Encoder::open(const EncoderFormat& format, const StreamConfig& config,
                       std::vector<std::string>& /*notes: all settings are x264's own*/) {
  close();
  check_preset_and_tune(config.preset, config.tune);
  x264_param_t& p = parameters_;
  if (x264_param_default_preset(&p, config.preset.c_str(), low_delay_tune(config.tune).c_str()) <
      0) {
    throw Error(ErrorKind::kEncoder, "libx264 refuses preset \"" + config.preset +
                                         "\" with tune \"" + config.tune + "\"");
  }
  // The same bits without them, for less CPU: docs/tuning.md has the figures.
  p.cpu &= ~static_cast<std::uint32_t>(X264_CPU_AVX512);
  p.pf_log = &X264Encoder::on_log;
  p.p_log_private = this;
  p.i_log_level = X264_LOG_WARNING;
  p.i_width = format.width;
  p.i_height = format.height;
  switch (format.pixel_format) {
    case PixelFormat::kNv12:
      p.i_csp = X264_CSP_NV12;
      break;
    case PixelFormat::kI420:
      p.i_csp = X264_CSP_I420;
      break;
    case PixelFormat::kI444:
      p.i_csp = X264_CSP_I444;
      break;
    case PixelFormat::kBgra:
      throw Error(ErrorKind::kEncoder, "libx264 does not take BGRA");
  }
  // Pictures are counted, not timed: x264 delays each by one when told that the rate varies.
  p.b_vfr_input = 0;
  p.i_fps_num = static_cast<std::uint32_t>(std::lround(config.fps * 1000));
  p.i_fps_den = 1000;

  p.b_annexb = 1;
  p.b_repeat_headers = 1;
  p.b_aud = 0;
  p.i_keyint_max = X264_KEYINT_MAX_INFINITE;
  p.i_scenecut_threshold = 0;
  p.b_intra_refresh = 0;
  p.i_bframe = 0;
  p.i_frame_reference = 1;
  p.i_threads = std::min(software_threads(), std::max(1, format.height / 128));
  p.b_sliced_threads = 1;
  p.i_sync_lookahead = 0;
  p.i_lookahead_threads = 1;
  p.rc.i_lookahead = 0;
  p.rc.b_mb_tree = 0;
  p.analyse.i_weighted_pred = X264_WEIGHTP_NONE;  // with it "unchanged" is ignored
  p.analyse.b_mb_info = 1;
  // Scrolled and dragged content lands between chroma's rows and is coded again: at luma's
  // quantiser that would be most of the bits.
  p.analyse.i_chroma_qp_offset = 2;
  p.analyse.b_psnr = 0;
  p.analyse.b_ssim = 0;

  // Constant quantiser saves x264's own look at a half-size copy of each picture, a third of all
  // its work. These factors widen the range that a picture's own quantiser may take to 6 … 51.
  p.rc.i_rc_method = X264_RC_CQP;
  p.rc.i_qp_constant = 30;
  p.rc.f_ip_factor = 16;
  p.rc.f_pb_factor = 16;

  p.vui.i_vidformat = 5;
  p.vui.b_fullrange = 0;
  p.vui.i_colorprim = ColourDescription{}.primaries;
  p.vui.i_transfer = ColourDescription{}.transfer;
  p.vui.i_colmatrix = ColourDescription{}.matrix;

  // The wide search pays only where the preset's own is a poor one.
  adaptive_search_ = config.preset == kX264Presets.front();
  search_width_ = 0;
  search_ = {};

  last_line_[0] = '\0';
  {
    const std::lock_guard lock(open_close_mutex());
    encoder_.reset(x264_encoder_open(&p));
  }
  if (!encoder_) throw Error(ErrorKind::kEncoder, reason("cannot be opened"));
  format_ = format;
  owed_ = TileMap(format.width, format.height);
  detail_ = DetailMap(format.width, format.height, config.chroma);
  // A film is coded at crf itself: a step coarser, PSNR-Y was 0.1 … 0.4 dB below that of x264's own
  // rate control.
  constexpr double kCoarserPerDoubling = 0.25;
  quantiser_ = Quantiser({config.fps, config.bitrate, config.crf},
                         Quantiser::Unchanged::kCodedAgain, kCoarserPerDoubling);
  unchanged_.assign(static_cast<std::size_t>((format.width + kTile - 1) / kTile) *
                        static_cast<std::size_t>((format.height + kTile - 1) / kTile),
                    0);
}

void X264Encoder::close() {
  encoder_.reset();
  has_reference_ = false;
  next_picture_ = 0;
}

void X264Encoder::set_search(int width) {
  if (width == search_width_) return;
  struct Search {
    int method;
    int range;  // pixels
  };
  // On text scrolled by a line or two, 32 saves a quarter of the bits; the wheel scrolls further.
  static constexpr std::array<Search, SearchChoice::kWidest + 1> kSearches{
      {{X264_ME_DIA, 16}, {X264_ME_UMH, 32}, {X264_ME_UMH, 96}}};
  const Search& search = kSearches[static_cast<std::size_t>(width)];
  parameters_.analyse.i_me_method = search.method;
  parameters_.analyse.i_me_range = search.range;
  // A refused change leaves the search as it was, which only costs time.
  if (x264_encoder_reconfig(encoder_.get(), &parameters_) == 0) search_width_ = width;
}

void X264Encoder::mark_unchanged(const TileMap& damage) {
  std::fill(unchanged_.begin(), unchanged_.end(), std::uint8_t{X264_MBINFO_CONSTANT});
  const auto cols = static_cast<std::size_t>((format_.width + kTile - 1) / kTile);
  damage.for_each_run([&](int row, int begin, int end) {
    const std::size_t first =
        static_cast<std::size_t>(row) * cols + static_cast<std::size_t>(begin);
    if (first >= unchanged_.size()) return;
    std::memset(unchanged_.data() + first, 0,
                std::min(static_cast<std::size_t>(end - begin), unchanged_.size() - first));
  });
}

// What changed since the decoder's picture: `damage` and what was held back before. Null = all.
const TileMap* X264Encoder::owed_and(const TileMap* damage) {
  if (damage == nullptr || !owed_.any()) return damage;
  owe(damage);
  return &owed_;
}

void X264Encoder::owe(const TileMap* damage) {
  const bool same_size =
      damage != nullptr && damage->cols() == owed_.cols() && damage->rows() == owed_.rows();
  if (same_size) {
    owed_.merge(*damage);
  } else {
    owed_.set_all();
  }
}

EncodeResult X264Encoder::encode(const CpuPlanes& planes, const EncodeHints& hints) {
  if (!encoder_) return Failed{"libx264 is not open"};
  const bool keyframe = hints.keyframe || !has_reference_;
  const PictureKind kind = keyframe                ? PictureKind::kKeyframe
                           : hints.refine_step > 0 ? PictureKind::kRefinement
                                                   : PictureKind::kChange;
  const TileMap* damage = owed_and(has_reference_ ? hints.damage : nullptr);
  detail_.update(planes, damage);
  const double changed = detail_.measured_share();
  if (adaptive_search_) set_search(search_.width());

  x264_picture_t picture;
  x264_picture_init(&picture);
  picture.i_pts = next_picture_++;
  picture.i_type = keyframe ? X264_TYPE_IDR : X264_TYPE_P;
  picture.i_qpplus1 = 1 + quantiser_.choose(kind, hints.refine_step, detail_, hints.wall_ns);
  picture.img.i_csp = parameters_.i_csp;
  picture.img.i_plane = format_.pixel_format == PixelFormat::kNv12 ? 2 : 3;
  for (int i = 0; i < picture.img.i_plane; ++i) {
    const auto plane = static_cast<std::size_t>(i);
    picture.img.plane[i] = planes.data[plane];
    picture.img.i_stride[i] = static_cast<int>(planes.stride[plane]);
  }
  const bool hold = kind == PictureKind::kChange && quantiser_.must_hold();
  if (!keyframe && (damage != nullptr || hold)) {
    mark_unchanged(hold ? TileMap() : *damage);
    picture.prop.mb_info = unchanged_.data();
  }

  last_line_[0] = '\0';
  x264_nal_t* nals = nullptr;
  int nal_count = 0;
  x264_picture_t out;
  const int size = x264_encoder_encode(encoder_.get(), &nals, &nal_count, &picture, &out);
  if (size <= 0) {
    has_reference_ = false;
    return Failed{reason(size < 0 ? "encoding failed" : "a picture gave no access unit")};
  }
  has_reference_ = true;
  if (hold) {
    quantiser_.held(static_cast<std::int64_t>(size) * 8);
    owe(damage);
  } else {
    quantiser_.spent(static_cast<std::int64_t>(size) * 8);
    owed_.clear();
  }
  constexpr double kLargeChange = 0.1;
  if (kind == PictureKind::kChange && !hold && changed >= kLargeChange) {
    search_.learn(quantiser_.last_inter_ratio(), hints.wall_ns);
  }

  AccessUnit unit;
  unit.pts_us = hints.pts_us;
  unit.keyframe = out.b_keyframe != 0;
  // x264 lays the NAL units out one after the other.
  unit.data.assign(nals[0].p_payload, nals[0].p_payload + size);
  if (keyframe) {
    mend_access_unit(unit.data, ColourDescription{});
    if (!unit.keyframe || !is_idr_access_unit(unit.data)) {
      return Failed{reason("asked for a keyframe, got another picture")};
    }
  }
  return unit;
}

}  // namespace

std::unique_ptr<Encoder> make_x264_encoder() {
  return std::make_unique<X264Encoder>();
}

std::string x264_linked_version() {
  return X264_POINTVER;
}

}  // namespace kvm
