// Everything a stream can be asked for. Python validates for good messages; validate() guards the
// core itself.
#pragma once

#include <optional>
#include <string>

#include "frame/geometry.hpp"

namespace kvm {

enum class Chroma { k420, k444 };
enum class CursorMode { kEmbedded, kMetadata, kHidden };
enum class SourceKind { kScreen, kPattern };

inline constexpr int kMaxSide = 8192;  // pixels; H.264 level 6.2 and common texture limits

struct StreamConfig {
  SourceKind source = SourceKind::kScreen;
  std::string display;         // "" = primary monitor of $DISPLAY; "HDMI-1"; "1"; ":7"; ":7/HDMI-1"
  std::optional<Rect> region;  // inside the display, in its pixels
  int width = 0;               // wanted picture size; 0 = as captured
  int height = 0;
  double fps = 60.0;        // upper bound
  int bitrate = 6'000'000;  // bit/s, a ceiling
  double crf = 23.0;        // x264's scale 0…51, aimed at below the ceiling
  std::string preset = "ultrafast";
  std::string tune = "zerolatency";
  bool use_hardware_encoder = true;
  std::string encoder = "auto";
  Chroma chroma = Chroma::k420;
  CursorMode cursor = CursorMode::kEmbedded;
  double keyframe_interval = 0.0;  // seconds; 0 = only on demand
};

// Throws Error{kConfig} naming field, value and limit.
void validate(const StreamConfig& config);

}  // namespace kvm
