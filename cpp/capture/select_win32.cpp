#include "base/error.hpp"
#include "capture/dxgi/answer.hpp"
#include "capture/dxgi/dxgi_source.hpp"
#include "capture/dxgi/fallback_source.hpp"
#include "capture/find_monitor.hpp"
#include "capture/gdi/gdi_source.hpp"
#include "capture/pattern/pattern.hpp"
#include "capture/shared_source.hpp"
#include "capture/source.hpp"

namespace kvm {
namespace {

// Why the primary monitor cannot be duplicated; empty when it can.
std::string refusal() {
  const auto duplicator = dxgi::system_duplicator();
  const std::vector<DisplayInfo> monitors = duplicator->monitors();
  const DisplayInfo* monitor = find_monitor(monitors, "");
  if (monitor == nullptr) return "this desktop has no monitor";
  dxgi::Duplicated duplicated;
  const HRESULT answer = duplicator->duplicate(monitor->id, duplicated);
  // A stream of this process has it already: so it works.
  return answer == S_OK || answer == E_INVALIDARG ? "" : dxgi::describe_answer(answer);
}

// Off unless it is asked for, as no GPU has seen it yet: docs/tuning.md.
bool wants_textures() {
  wchar_t value[2] = {};
  return GetEnvironmentVariableW(L"KVMSTREAM_D3D11_TEXTURES", value, 2) == 1 && value[0] == L'1';
}

// Of this process, as Windows lets it duplicate an output once.
std::shared_ptr<SharedCaptures> duplications() {
  static const auto all = std::make_shared<SharedCaptures>(
      [](std::shared_ptr<LogRing> log, std::shared_ptr<AreaMemory> memory) {
        auto sharing = wants_textures() ? dxgi::system_texture_sharing() : nullptr;
        return std::make_unique<dxgi::DxgiSource>(std::move(log), dxgi::system_duplicator(),
                                                  std::move(memory), std::move(sharing),
                                                  SharedCapture::kMostBuffers);
      });
  return all;
}

}  // namespace

std::unique_ptr<FrameSource> make_source(const StreamConfig& config, std::shared_ptr<LogRing> log) {
  if (config.source == SourceKind::kPattern) return std::make_unique<PatternSource>();
  const auto memory = std::make_shared<AreaMemory>();
  return std::make_unique<dxgi::FallbackSource>(
      std::make_unique<SharedSource>(duplications(), log, memory),
      std::make_unique<gdi::GdiSource>(log, memory), log);
}

std::vector<CaptureInfo> list_captures(const std::string& x_display) {
  std::string reason;
  try {
    static_cast<void>(list_displays(x_display));
  } catch (const Error& error) {
    reason = error.what();
  }
  const std::string refused = reason.empty() ? refusal() : reason;
  return {
      {"dxgi", refused.empty(), refused}, {"gdi", reason.empty(), reason}, {"pattern", true, ""}};
}

}  // namespace kvm
