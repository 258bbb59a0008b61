#include "encode/probe_cache.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>

extern "C" {
#include <libavcodec/avcodec.h>
}

#include "base/utf8_path.hpp"
#include "encode/gpus.hpp"

namespace kvm {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kHeader = "kvmstream encoder probes 1";
constexpr std::string_view kTrailer = "end";
constexpr std::int64_t kFailureLifetime = 24 * 3600;  // seconds

struct Verdict {
  std::int64_t time = 0;  // seconds since 1970
  std::string reason;     // "" = works
};
using Verdicts = std::map<std::string, Verdict, std::less<>>;

[[nodiscard]] std::int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Size and age tell one build of a file from another without reading it.
[[nodiscard]] std::string file_stamp(const fs::path& path) {
  std::error_code error;
  const auto time = fs::last_write_time(path, error);
  if (error) return "-";
  const auto size = fs::file_size(path, error);
  return std::to_string(time.time_since_epoch().count()) +
         (error ? "" : ":" + std::to_string(size));
}

[[nodiscard]] [[maybe_unused]] std::string first_line(const fs::path& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

// File format: header, fingerprint, "encoder<TAB>seconds<TAB>reason" lines, trailer.
[[nodiscard]] Verdicts load(const fs::path& path, const std::string& fingerprint) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line != kHeader) return {};
  if (!std::getline(file, line) || line != fingerprint) return {};
  Verdicts verdicts;
  while (std::getline(file, line)) {
    if (line == kTrailer) return verdicts;
    std::istringstream fields(line);
    std::string encoder;
    std::string time;
    Verdict verdict;
    if (!std::getline(fields, encoder, '\t') || !std::getline(fields, time, '\t')) return {};
    std::getline(fields, verdict.reason);
    std::istringstream number(time);
    if (encoder.empty() || !(number >> verdict.time)) return {};
    verdicts[encoder] = verdict;
  }
  return {};  // cut short
}

}  // namespace

std::string probe_fingerprint(const std::string& probe_path) {
  std::string text = "probe " + file_stamp(utf8_path(probe_path)) + " avcodec " +
                     std::to_string(avcodec_version()) + " " + av_version_info() + " gpu";
  for (const Gpu& gpu : list_gpus()) {
    text += " " + std::to_string(static_cast<unsigned>(gpu.vendor)) + ":" +
            std::to_string(gpu.device) + ":" + gpu.driver;
  }
#if !defined(_WIN32)
  text += " kernel " + first_line("/proc/sys/kernel/osrelease") + " nvidia " +
          first_line("/sys/module/nvidia/version");
  // User-space drivers for VA-API and oneVPL come and go with these directories.
  for (const char* directory : {"/usr/lib/x86_64-linux-gnu/dri", "/usr/lib/aarch64-linux-gnu/dri",
                                "/usr/lib64/dri", "/usr/lib/dri"}) {
    text += " " + file_stamp(directory);
  }
#endif
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::filesystem::path ProbeCache::path() const {
  return utf8_path(directory_) / "encoder-probes.txt";
}

std::optional<std::string> ProbeCache::find(std::string_view encoder) const {
  if (directory_.empty()) return std::nullopt;
  const Verdicts verdicts = load(path(), fingerprint_);
  const auto found = verdicts.find(encoder);
  if (found == verdicts.end()) return std::nullopt;
  const std::int64_t age = now_seconds() - found->second.time;
  if (!found->second.reason.empty() && (age < 0 || age > kFailureLifetime)) return std::nullopt;
  return found->second.reason;
}

void ProbeCache::store(std::string_view encoder, const std::string& verdict) const {
  if (directory_.empty()) return;
  std::error_code error;
  fs::create_directories(utf8_path(directory_), error);
  Verdicts verdicts = load(path(), fingerprint_);
  std::string reason = verdict;
  std::replace_if(reason.begin(), reason.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  verdicts[std::string(encoder)] = {now_seconds(), reason};

  // A rename is atomic, so a reader sees the old file or the new one; the name keeps two writers
  // apart.
  fs::path part = path();
  part += "." + std::to_string(std::random_device{}()) + ".part";
  {
    std::ofstream file(part, std::ios::trunc);
    file << kHeader << '\n' << fingerprint_ << '\n';
    for (const auto& [name, each] : verdicts) {
      file << name << '\t' << each.time << '\t' << each.reason << '\n';
    }
    file << kTrailer << '\n';
    file.close();
    if (!file) {
      fs::remove(part, error);
      return;
    }
  }
  fs::rename(part, path(), error);
  if (error) fs::remove(part, error);
}

}  // namespace kvm
