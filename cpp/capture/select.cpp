#include "base/error.hpp"
#include "capture/pattern/pattern.hpp"
#include "capture/source.hpp"
#include "capture/x11/connection.hpp"
#include "capture/x11/x11_source.hpp"

namespace kvm {

std::unique_ptr<FrameSource> make_source(const StreamConfig& config, std::shared_ptr<LogRing> log) {
  if (config.source == SourceKind::kPattern) return std::make_unique<PatternSource>();
  return std::make_unique<x11::X11Source>(std::move(log));
}

std::vector<CaptureInfo> list_captures(const std::string& x_display) {
  std::string reason;
  try {
    const auto line = std::make_shared<x11::Lifeline>();
    const TimeLimit limit = x11::limit_opening(line);
    const x11::Connection connection(x_display, line);
    reason = connection.why_unreadable();
    connection.require();
  } catch (const Error& error) {
    reason = error.what();
  }
  return {{"x11", reason.empty(), reason}, {"pattern", true, ""}};
}

}  // namespace kvm
