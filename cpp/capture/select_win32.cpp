#include "base/error.hpp"
#include "capture/gdi/gdi_source.hpp"
#include "capture/pattern/pattern.hpp"
#include "capture/source.hpp"

namespace kvm {

std::unique_ptr<FrameSource> make_source(const StreamConfig& config, std::shared_ptr<LogRing> log) {
  if (config.source == SourceKind::kPattern) return std::make_unique<PatternSource>();
  return std::make_unique<gdi::GdiSource>(std::move(log));
}

std::vector<CaptureInfo> list_captures(const std::string& x_display) {
  std::string reason;
  try {
    static_cast<void>(list_displays(x_display));
  } catch (const Error& error) {
    reason = error.what();
  }
  return {{"gdi", reason.empty(), reason}, {"pattern", true, ""}};
}

}  // namespace kvm
