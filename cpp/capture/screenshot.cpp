#include <cstring>
#include <optional>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/time_limit.hpp"
#include "capture/source.hpp"
#include "convert/convert.hpp"

namespace kvm {
namespace {

constexpr std::int64_t kPatienceNs = 5 * kNsPerSec;

Frame first_frame(FrameSource& source, const StreamConfig& config) {
  const std::int64_t deadline = now_ns() + kPatienceNs;
  while (now_ns() < deadline) {
    SourceEvent event = source.wait(0, deadline);
    if (auto* frame = std::get_if<Frame>(&event)) return std::move(*frame);
    if (const auto* lost = std::get_if<SourceLost>(&event))
      throw Error(ErrorKind::kCapture, lost->reason);
    if (std::holds_alternative<GeometryChanged>(event)) {
      source.open(config);
      if (const auto gpu = source.textures()) source.refuse_textures(*gpu);
    }
  }
  throw Error(ErrorKind::kCapture, "the screen gave no picture within 5 s");
}

}  // namespace

Screenshot take_screenshot(const StreamConfig& config, std::shared_ptr<LogRing> log) {
  validate(config);
  const std::unique_ptr<FrameSource> source = make_source(config, std::move(log));
  const TimeLimit limit(kPatienceNs, [&source] { source->cancel(); });
  source->open(config);
  if (const auto gpu = source->textures()) source->refuse_textures(*gpu);
  const Frame frame = first_frame(*source, config);
  CpuPlanes planes = frame.planes();
  Screenshot shot;
  shot.width = config.width != 0 ? config.width : frame.width;
  shot.height = config.height != 0 ? config.height : frame.height;
  std::optional<Scaler> scaler;
  if (shot.width != frame.width || shot.height != frame.height) {
    scaler.emplace(frame.width, frame.height, shot.width, shot.height);
    TileMap all(frame.width, frame.height);
    all.set_all();
    static_cast<void>(scaler->scale(planes, all));
    planes = scaler->planes();
  }
  const std::size_t row = static_cast<std::size_t>(shot.width) * 4;
  shot.bgra.resize(row * static_cast<std::size_t>(shot.height));
  for (int y = 0; y < shot.height; ++y) {
    std::memcpy(shot.bgra.data() + static_cast<std::size_t>(y) * row,
                planes.data[0] + y * planes.stride[0], row);
  }
  return shot;
}

}  // namespace kvm
