// The rungs of the product: which encoders, in which order, and what must hold before each is
// tried.
#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <string>

#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/gpus.hpp"
#include "encode/ladder.hpp"
#include "encode/presets.hpp"
#include "encode/probe_cache.hpp"
#include "encode/probe_process.hpp"
#include "encode/screen/screen_encoder.hpp"
#if defined(KVM_HAS_X264)
#include "encode/x264/x264_encoder.hpp"
#endif

namespace kvm {
namespace {

namespace fs = std::filesystem;

[[nodiscard]] std::optional<std::string> missing_vendor(GpuVendor vendor, const char* name) {
  const auto gpus = list_gpus();
  const auto is_his = [vendor](const Gpu& gpu) { return gpu.vendor == vendor; };
  if (std::any_of(gpus.begin(), gpus.end(), is_his)) return std::nullopt;
  return "no " + std::string(name) + " GPU in this machine";
}

#if defined(__linux__)
[[nodiscard]] bool exists(const char* path) {
  std::error_code error;
  return fs::exists(path, error);
}

[[nodiscard]] bool has_render_node() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/dev/dri", error)) {
    if (entry.path().filename().string().starts_with("renderD")) return true;
  }
  return false;
}
#endif

// Drivers of absent GPUs are not even loaded: some crash.
[[nodiscard]] std::optional<std::string> missing_hardware([[maybe_unused]] std::string_view name) {
#if defined(__linux__)
  // NVIDIA's needs its device node, which containers may lack and WSL has of another name.
  if (name == "h264_nvenc") {
    if (exists("/dev/nvidiactl") || exists("/dev/dxg")) return std::nullopt;
    const auto missing = missing_vendor(GpuVendor::kNvidia, "NVIDIA");
    if (missing) return missing;
    return "an NVIDIA GPU is there, but its driver is not loaded (no /dev/nvidiactl); install "
           "the NVIDIA driver";
  }
  if (name == "h264_qsv") {
    if (auto missing = missing_vendor(GpuVendor::kIntel, "Intel")) return missing;
  }
  if ((name == "h264_vaapi" || name == "h264_qsv") && !has_render_node())
    return "no GPU with a render node (/dev/dri/renderD*)";
#elif defined(_WIN32)
  if (name == "h264_nvenc") return missing_vendor(GpuVendor::kNvidia, "NVIDIA");
  if (name == "h264_qsv") return missing_vendor(GpuVendor::kIntel, "Intel");
#endif
  if (name == "h264_amf") return missing_vendor(GpuVendor::kAmd, "AMD");
  return std::nullopt;
}

[[nodiscard]] std::optional<std::string> missing_in_libavcodec(const std::string& name) {
  if (avcodec_has_encoder(name)) return std::nullopt;
  std::string reason =
      "the linked libavcodec (FFmpeg " + ffmpeg_version() + ") was built without it";
#if defined(__linux__)
  if (name == "libx264") {
    reason +=
        "; install one that has it: \"sudo apt-get install libavcodec-extra\" on Debian and "
        "Ubuntu, "
        "\"sudo dnf install ffmpeg-libs\" from RPM Fusion on Fedora";
  }
#endif
  return reason;
}

[[nodiscard]] Candidate hardware(const std::string& name, const ProbeOptions& options) {
  Candidate candidate;
  candidate.name = name;
  candidate.hardware = true;
  candidate.gate = [name] {
    auto reason = missing_in_libavcodec(name);
    return reason ? reason : missing_hardware(name);
  };
  candidate.probe = [name, options]() -> std::optional<std::string> {
    if (options.probe_path.empty()) {
      return "kvmstream-probe was not found, and without a test encode no driver is trusted; "
             "reinstall kvmstream";
    }
    const ProbeCache cache(options.cache_dir, probe_fingerprint(options.probe_path));
    std::optional<std::string> verdict = cache.find(name);
    if (!verdict) {
      verdict = run_probe(options.probe_path, name, options.timeout).value_or("");
      cache.store(name, *verdict);
    }
    if (verdict->empty()) return std::nullopt;
    return verdict;
  };
  candidate.create = [name] { return make_avcodec_encoder(name); };
  return candidate;
}

[[nodiscard]] Candidate software(const std::string& name) {
  Candidate candidate;
  candidate.name = name;
#if defined(KVM_HAS_X264)
  if (name == "libx264") {
    candidate.create = make_x264_encoder;
    return candidate;
  }
#endif
  candidate.gate = [name] { return missing_in_libavcodec(name); };
  candidate.create = [name] { return make_avcodec_encoder(name); };
  return candidate;
}

}  // namespace

std::vector<Candidate> default_candidates(const ProbeOptions& options) {
  std::vector<Candidate> candidates;
#if defined(_WIN32)
  const auto gpus = list_gpus(options.display);
  const auto names = vendor_order(gpus);
#elif defined(__APPLE__)
  constexpr std::array names{"h264_videotoolbox"};
#else
  constexpr std::array names{"h264_nvenc", "h264_vaapi", "h264_qsv", "h264_amf"};
#endif
  for (const auto& name : names) candidates.push_back(hardware(std::string(name), options));
  Candidate screen;
  screen.name = "screen";
  // A still slower preset asks for fewer bits at any price: that is x264's trade.
  screen.suits = [](const StreamConfig& config) {
    return contains_name(kScreenPresets, config.preset);
  };
  screen.create = make_screen_encoder;
  candidates.push_back(std::move(screen));
  candidates.push_back(software("libx264"));
  return candidates;
}

}  // namespace kvm
