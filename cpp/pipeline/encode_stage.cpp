#include "pipeline/encode_stage.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.hpp"
#include "base/error.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kSilenceNs =
    500 * kNsPerMs;  // a picture inside the encoder for longer = it is dead
constexpr std::size_t kMaxInside = 16;

}  // namespace

EncodeStage::EncodeStage(Ladder ladder, StreamConfig config, std::int64_t start_ns,
                         std::shared_ptr<LogRing> log)
    : ladder_(std::move(ladder)),
      config_(std::move(config)),
      start_ns_(start_ns),
      log_(std::move(log)) {}

void EncodeStage::choose_size(int source_width, int source_height) {
  source_width_ = source_width;
  source_height_ = source_height;
  width_ = config_.width;
  height_ = config_.height;
  const double aspect = static_cast<double>(source_width) / source_height;
  if (width_ == 0 && height_ == 0) {
    width_ = source_width;
    height_ = source_height;
  } else if (width_ == 0) {
    width_ = std::clamp(static_cast<int>(std::lround(height_ * aspect)), 2, kMaxSide);
  } else if (height_ == 0) {
    height_ = std::clamp(static_cast<int>(std::lround(width_ / aspect)), 2, kMaxSide);
  }
  if (width_ > kMaxSide || height_ > kMaxSide) {
    throw Error(ErrorKind::kEncoder, "the picture is " + std::to_string(width_) + "x" +
                                         std::to_string(height_) + "; H.264 ends at " +
                                         std::to_string(kMaxSide) +
                                         " pixels a side: set width/height or a region");
  }
  scaler_.reset();
  if (width_ != source_width || height_ != source_height) {
    scaler_.emplace(source_width, source_height, width_, height_);
  }
}

void EncodeStage::prepare(int source_width, int source_height,
                          std::shared_ptr<GpuDevice> textures) {
  offered_ = std::move(textures);
  choose_size(source_width, source_height);
  open_encoder();
}

void EncodeStage::open_encoder() {
  if (encoder_) encoder_->close();
  encoder_.reset();
  inside_.clear();
  format_.width = (width_ + 1) & ~1;
  format_.height = (height_ + 1) & ~1;
  format_.bgra_width = width_;
  format_.bgra_height = height_;
  format_.textures = scaler_ || textures_refused_ ? nullptr : offered_;
  std::vector<std::string> notes;
  encoder_ = ladder_.open(format_, config_, notes);
  for (const std::string& note : notes) {
    if (std::find(notes_.begin(), notes_.end(), note) != notes_.end()) continue;
    log_->add(LogLevel::kWarning, "encode", note);
    notes_.push_back(note);
  }
  if (format_.pixel_format == PixelFormat::kBgra) {
    yuv_ = YuvPicture();
  } else if (yuv_.format() != format_.pixel_format || yuv_.width() != width_ ||
             yuv_.height() != height_) {
    yuv_ = YuvPicture(format_.pixel_format, width_, height_);
  }
  if (encoder_->takes_textures())
    log_->add(LogLevel::kInfo, "encode", encoder_name() + " reads pictures on the GPU");
  convert_all_ = true;
  force_keyframe_ = true;
  ++generation_;
}

bool EncodeStage::consider(const std::shared_ptr<GpuDevice>& textures) {
  if (textures == offered_) return false;
  offered_ = textures;
  textures_refused_ = false;
  return takes_textures() || (offered_ && !scaler_);
}

void EncodeStage::refuse_textures(const std::string& reason) {
  const std::string note = encoder_name() + ": pictures take the way through memory: " + reason;
  log_->add(LogLevel::kWarning, "encode", note);
  notes_.push_back(note);
  textures_refused_ = true;
  open_encoder();
}

bool EncodeStage::bring_to_memory(const Frame& frame, bool whole) {
  const GpuPicture* gpu = frame.on_gpu();
  if (gpu == nullptr) {
    from_gpu_.clear();
    source_planes_ = frame.planes();
    return true;
  }
  const auto row = static_cast<std::size_t>(frame.width) * 4;
  const std::size_t size = row * static_cast<std::size_t>(frame.height);
  TileMap tiles = frame.damage;
  if (whole || from_gpu_.size() != size) tiles.set_all();
  from_gpu_.resize(size);
  source_planes_ = {};
  source_planes_.data[0] = from_gpu_.data();
  source_planes_.stride[0] = static_cast<std::ptrdiff_t>(row);
  return gpu->read(tiles, source_planes_);
}

bool EncodeStage::convert(const Frame& frame, bool whole) {
  TileMap damage(frame.width, frame.height);
  if (whole) {
    damage.set_all();
  } else {
    damage = frame.damage;
  }
  if (takes_textures()) {
    encode_damage_ = std::move(damage);
    return true;
  }
  if (!bring_to_memory(frame, whole)) return false;
  encode_damage_ = scaler_ ? scaler_->scale(source_planes_, damage) : std::move(damage);
  if (format_.pixel_format != PixelFormat::kBgra)
    convert_tiles(bgra_planes(), encode_damage_, yuv_);
  return true;
}

const CpuPlanes& EncodeStage::bgra_planes() const {
  return scaler_ ? scaler_->planes() : source_planes_;
}

EncodeResult EncodeStage::encode_by(const Frame& frame, const EncodeHints& hints) {
  if (takes_textures()) return encoder_->encode_texture(*frame.on_gpu(), hints);
  return encoder_->encode(
      format_.pixel_format == PixelFormat::kBgra ? bgra_planes() : yuv_.planes(), hints);
}

std::optional<Packet> EncodeStage::encode(const Frame& frame, const Request& request) {
  picture_lost_ = false;
  const bool other_gpu = consider(request.textures);
  if (frame.width != source_width_ || frame.height != source_height_) {
    choose_size(frame.width, frame.height);
    open_encoder();
    epoch_ = request.epoch;
  } else if (other_gpu) {
    open_encoder();
    epoch_ = request.epoch;
  } else if (request.epoch != epoch_) {
    // Same size, another picture: what the pointer's coordinates mean has changed, so it is a new
    // generation.
    epoch_ = request.epoch;
    ++generation_;
    force_keyframe_ = true;
    convert_all_ = true;
  }
  if (takes_textures() && (frame.on_gpu() == nullptr || frame.on_gpu()->device() != offered_))
    refuse_textures("the capture gives them there");
  while (true) {
    FrameTimes times = frame.times;
    const bool whole = std::exchange(convert_all_, false);
    if (whole || request.fresh) {
      if (!convert(frame, whole)) {
        picture_lost_ = convert_all_ = force_keyframe_ = true;
        return std::nullopt;
      }
    } else {
      encode_damage_.clear();
    }
    times.converted = now_ns();
    if (!request.fresh) times.damaged = times.captured = times.converted;

    EncodeHints hints;
    hints.keyframe = request.keyframe || force_keyframe_;
    hints.damage = &encode_damage_;
    hints.refine_step = hints.keyframe ? 0 : request.refine_step;
    hints.pts_us = std::max(last_pts_us_ + 1, (times.captured - start_ns_) / kNsPerUs);
    hints.wall_ns = times.converted;
    last_pts_us_ = hints.pts_us;
    inside_.push_back({hints.pts_us, times.converted, times, request.refine_step > 0});

    EncodeResult result = encode_by(frame, hints);
    if (auto* unit = std::get_if<AccessUnit>(&result)) {
      force_keyframe_ = false;
      return make_packet(std::move(*unit));
    }
    std::string failure;
    if (const auto* failed = std::get_if<Failed>(&result)) {
      failure = failed->reason;
    } else {
      force_keyframe_ = false;
      if (inside_.size() < kMaxInside && now_ns() - inside_.front().submitted_ns < kSilenceNs)
        return std::nullopt;
      failure =
          "took " + std::to_string(inside_.size()) + " pictures and gave no packet for 500 ms";
    }
    give_up_on_encoder(failure);
  }
}

void EncodeStage::give_up_on_encoder(const std::string& reason) {
  if (takes_textures()) {  // the same encoder may well go on with pictures from memory
    refuse_textures(reason);
    return;
  }
  const std::string name = encoder_name();
  log_->add(LogLevel::kWarning, "encode", name + " failed: " + reason + "; rebuilding");
  notes_.push_back(name + ": " + reason);
  ladder_.report_failure(name, reason);
  open_encoder();
}

Packet EncodeStage::make_packet(AccessUnit unit) {
  Packet packet;
  packet.data = std::move(unit.data);
  packet.keyframe = unit.keyframe;
  packet.pts_us = unit.pts_us;
  packet.generation = generation_;
  packet.width = width_;
  packet.height = height_;
  // Access units leave in the order of their pictures; one that the encoder skipped goes with its
  // successor.
  while (inside_.size() > 1 && inside_.front().pts_us < unit.pts_us) inside_.pop_front();
  if (!inside_.empty()) {
    packet.times = inside_.front().times;
    packet.refinement = inside_.front().refinement;
    inside_.pop_front();
  }
  packet.times.encoded = now_ns();
  return packet;
}

void EncodeStage::update(const RateSettings& rate) {
  config_.fps = rate.fps;
  config_.bitrate = rate.bitrate;
  config_.crf = rate.crf;
  if (!encoder_) return;
  switch (encoder_->update(rate)) {
    case UpdateResult::kSeamless:
      break;
    case UpdateResult::kKeyframe:
      force_keyframe_ = true;
      break;
    case UpdateResult::kNeedsReopen:
      open_encoder();
      break;
  }
}

std::optional<std::int64_t> EncodeStage::silence_deadline() const {
  if (inside_.empty()) return std::nullopt;
  return inside_.front().submitted_ns + kSilenceNs;
}

std::string EncodeStage::encoder_name() const {
  return encoder_ ? std::string(encoder_->name()) : "";
}

}  // namespace kvm
