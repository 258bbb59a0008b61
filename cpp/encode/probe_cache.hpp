// Verdicts of test encodes, kept on disk: a probe starts a driver and may take seconds.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace kvm {

// What a verdict depends on besides the encoder: our probe, libavcodec, the GPUs and their drivers.
// One line.
[[nodiscard]] std::string probe_fingerprint(const std::string& probe_path);

// One small text file. Anything wrong with it means an empty cache; nothing here throws. A verdict
// of failure is believed for a day only: the GPU may have been busy.
class ProbeCache {
 public:
  // `directory` is UTF-8; "" remembers nothing.
  ProbeCache(std::string directory, std::string fingerprint)
      : directory_(std::move(directory)), fingerprint_(std::move(fingerprint)) {}

  // The kept verdict ("" = it works), or nothing.
  [[nodiscard]] std::optional<std::string> find(std::string_view encoder) const;
  void store(std::string_view encoder, const std::string& verdict) const;

 private:
  [[nodiscard]] std::filesystem::path path() const;

  std::string directory_;
  std::string fingerprint_;
};

}  // namespace kvm
