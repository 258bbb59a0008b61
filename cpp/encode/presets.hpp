// x264's names for speed and purpose, which StreamConfig uses for every encoder.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace kvm {

inline constexpr std::array<const char*, 10> kX264Presets{
    "ultrafast", "superfast", "veryfast", "faster",   "fast",
    "medium",    "slow",      "slower",   "veryslow", "placebo"};
// Those that the screen encoder knows, as x264 has them: the quickest has CAVLC, the next CABAC.
inline constexpr std::array<const char*, 2> kScreenPresets{"ultrafast", "superfast"};
inline constexpr std::array<const char*, 8> kX264Tunes{
    "film", "animation", "grain", "stillimage", "psnr", "ssim", "fastdecode", "zerolatency"};

template <typename Names>
[[nodiscard]] bool contains_name(const Names& names, std::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](const char* each) { return name == each; });
}

template <typename Names>
[[nodiscard]] std::string join_names(const Names& names) {
  std::string text;
  for (const char* name : names) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

// Throws Error{kConfig} naming the valid ones.
inline void check_preset_and_tune(const std::string& preset, const std::string& tune) {
  if (!contains_name(kX264Presets, preset)) {
    throw Error(ErrorKind::kConfig,
                "preset = \"" + preset + "\": must be one of " + join_names(kX264Presets));
  }
  // x264 takes several tunes at once, with these separators.
  for (std::size_t begin = 0; begin < tune.size();) {
    const std::size_t end = std::min(tune.find_first_of(",./-+", begin), tune.size());
    if (!contains_name(kX264Tunes, std::string_view(tune).substr(begin, end - begin))) {
      throw Error(ErrorKind::kConfig,
                  "tune = \"" + tune + "\": must be one of " + join_names(kX264Tunes));
    }
    begin = end + 1;
  }
}

// "film" → "film,zerolatency": a tune chosen for the look must not bring delay back.
[[nodiscard]] inline std::string low_delay_tune(const std::string& tune) {
  if (tune.empty() || tune.find("zerolatency") != std::string::npos) return "zerolatency";
  return tune + ",zerolatency";
}

}  // namespace kvm
