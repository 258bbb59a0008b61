#include "frame/config.hpp"

#include <cmath>

#include "base/error.hpp"

namespace kvm {
namespace {

[[noreturn]] void refuse(const std::string& field, const std::string& value,
                         const std::string& limit) {
  throw Error(ErrorKind::kConfig, field + " = " + value + ": " + limit);
}

void check_range(const char* field, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value <= high) return;
  refuse(field, std::to_string(value),
         "must be from " + std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace

void validate(const StreamConfig& config) {
  check_range("fps", config.fps, 0.1, 1000);
  check_range("bitrate", config.bitrate, 10'000, 2'000'000'000);
  check_range("crf", config.crf, 0, 51);
  check_range("keyframe_interval", config.keyframe_interval, 0, 86'400);
  if (config.width != 0) check_range("width", config.width, 2, kMaxSide);
  if (config.height != 0) check_range("height", config.height, 2, kMaxSide);
  if (config.region) {
    if (config.region->empty() || config.region->x < 0 || config.region->y < 0) {
      refuse("region",
             "(" + std::to_string(config.region->x) + ", " + std::to_string(config.region->y) +
                 ", " + std::to_string(config.region->width) + ", " +
                 std::to_string(config.region->height) + ")",
             "x and y must be at least 0, width and height at least 1");
    }
  }
}

}  // namespace kvm
