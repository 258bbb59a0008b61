#include "encode/ladder.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace kvm {
namespace {

constexpr int kFailuresAllowed = 2;

}  // namespace

Ladder::Ladder(std::vector<Candidate> candidates, std::shared_ptr<LogRing> log)
    : log_(std::move(log)) {
  for (Candidate& candidate : candidates) {
    rungs_.push_back({std::move(candidate), false, 0, {}});
  }
  // Hardware first; within each kind the order given.
  std::stable_partition(rungs_.begin(), rungs_.end(),
                        [](const Rung& rung) { return rung.candidate.hardware; });
}

void Ladder::check(Rung& rung) {
  if (rung.checked) return;
  rung.checked = true;
  if (rung.candidate.gate) {
    if (auto reason = rung.candidate.gate()) {
      rung.reason = std::move(*reason);
      return;
    }
  }
  if (rung.candidate.probe) {
    if (auto reason = rung.candidate.probe()) {
      rung.reason = std::move(*reason);
      log_->add(LogLevel::kWarning, "encode.ladder",
                rung.candidate.name + " refused: " + rung.reason);
    }
  }
}

std::vector<EncoderInfo> Ladder::list() {
  std::vector<EncoderInfo> infos;
  for (Rung& rung : rungs_) {
    check(rung);
    infos.push_back(
        {rung.candidate.name, rung.candidate.hardware, rung.reason.empty(), rung.reason});
  }
  return infos;
}

std::unique_ptr<Encoder> Ladder::open(EncoderFormat& format, const StreamConfig& config,
                                      std::vector<std::string>& notes) {
  const bool any = config.encoder == "auto";
  std::string refusals;
  std::vector<std::string> steps;  // rungs that ought to have worked
  bool known = any;
  std::vector<Rung*> order;
  for (Rung& rung : rungs_) order.push_back(&rung);
  std::stable_partition(order.begin(), order.end(), [&](const Rung* rung) {
    return !rung->candidate.suits || rung->candidate.suits(config);
  });
  for (Rung* const each : order) {
    Rung& rung = *each;
    const Candidate& candidate = rung.candidate;
    if (!any && candidate.name != config.encoder) continue;
    known = true;
    const auto refuse = [&](const std::string& reason) {
      refusals += "\n  " + candidate.name + ": " + reason;
    };
    if (any && candidate.hardware && !config.use_hardware_encoder) {
      refuse("hardware encoders are switched off (use_hardware_encoder = False)");
      continue;
    }
    check(rung);
    if (!rung.reason.empty()) {
      refuse(rung.reason);
      continue;
    }
    std::unique_ptr<Encoder> encoder = candidate.create();
    const auto formats = encoder->accepts(config.chroma);
    if (formats.empty()) {
      const std::string reason = std::string("cannot encode chroma ") +
                                 (config.chroma == Chroma::k444 ? "4:4:4" : "4:2:0");
      refuse(reason);
      continue;
    }
    format.pixel_format = formats.front();
    std::vector<std::string> own_notes;
    try {
      encoder->open(format, config, own_notes);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kConfig) throw;  // no rung would take it
      // Not held against the rung for ever: another size may well open.
      refuse(error.what());
      steps.push_back(candidate.name + " did not open: " + error.what());
      log_->add(LogLevel::kWarning, "encode.ladder", steps.back());
      continue;
    }
    log_->add(LogLevel::kInfo, "encode.ladder",
              candidate.name + " opened for " + std::to_string(format.width) + "x" +
                  std::to_string(format.height));
    notes.insert(notes.end(), steps.begin(), steps.end());
    notes.insert(notes.end(), own_notes.begin(), own_notes.end());
    return encoder;
  }
  if (!known) {
    std::string names = "auto";
    for (const Rung& rung : rungs_) names += ", " + rung.candidate.name;
    throw Error(ErrorKind::kEncoderUnavailable,
                "encoder = \"" + config.encoder +
                    "\": there is none of that name here; choose one of " + names);
  }
  throw Error(ErrorKind::kEncoderUnavailable,
              "no H.264 encoder can be used for " + std::to_string(format.width) + "x" +
                  std::to_string(format.height) + ":" + refusals +
                  "\nRun \"kvmstream doctor\" for what each one needs.");
}

void Ladder::report_failure(std::string_view encoder_name, const std::string& reason) {
  const auto rung = std::find_if(rungs_.begin(), rungs_.end(), [&](const Rung& each) {
    return each.candidate.name == encoder_name;
  });
  if (rung == rungs_.end()) return;
  ++rung->failures;
  const bool out = rung->failures >= kFailuresAllowed;
  if (out)
    rung->reason =
        "failed " + std::to_string(rung->failures) + " times while encoding, last: " + reason;
  log_->add(LogLevel::kWarning, "encode.ladder",
            std::string(encoder_name) + " failed: " + reason +
                (out ? "; it is not used again" : "; it is opened once more"));
}

}  // namespace kvm
