// Chooses the encoder: vendor gate, then a real test encode in a child process, best first;
// remembers why not.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "encode/encoder.hpp"

namespace kvm {

struct EncoderInfo {
  std::string name;
  bool hardware = false;
  bool available = false;
  std::string reason;  // why not; "" when available
};

// One rung. Tests build ladders of fault-injecting rungs; the product uses default_candidates().
struct Candidate {
  std::string name;
  bool hardware = false;
  // Cheap checks before any driver is loaded (linked in? GPU vendor present?); a reason when it
  // must not be tried.
  std::function<std::optional<std::string>()> gate;
  // A real test encode, normally in kvmstream-probe; a reason when it failed. May be empty (no
  // probe needed).
  std::function<std::optional<std::string>()> probe;
  std::function<std::unique_ptr<Encoder>()> create;
  // Empty = always. Where it says no, every rung that suits goes before this one.
  std::function<bool(const StreamConfig&)> suits;
};

struct ProbeOptions {
  std::string probe_path;  // the kvmstream-probe executable; "" = hardware encoders are refused
                           // with that reason
  std::string cache_dir;   // "" = no cache on disk
  std::chrono::milliseconds timeout{5000};
  std::string display = {};  // what is captured: on Windows the encoder of its GPU comes first
};

[[nodiscard]] std::vector<Candidate> default_candidates(const ProbeOptions& options);

// Not thread-safe: owned by the pipeline's encode thread (or by one caller of list()).
class Ladder {
 public:
  Ladder(std::vector<Candidate> candidates, std::shared_ptr<LogRing> log);

  // All rungs with their verdicts, in order of preference, hardware first.
  [[nodiscard]] std::vector<EncoderInfo> list();

  // Opens the best rung for this config, skipping those that failed. `config.encoder` other than
  // "auto" allows that one only. Throws Error{kEncoderUnavailable} naming every rung and its
  // reason. `format.pixel_format` is filled in from the encoder's accepts().
  [[nodiscard]] std::unique_ptr<Encoder> open(EncoderFormat& format, const StreamConfig& config,
                                              std::vector<std::string>& notes);

  // The open encoder failed or went silent: the first time for a rung it may be tried once more,
  // the second time the rung is out for good. Call before open().
  void report_failure(std::string_view encoder_name, const std::string& reason);

 private:
  struct Rung {
    Candidate candidate;
    bool checked = false;
    int failures = 0;
    std::string reason;  // "" = usable as far as known
  };
  void check(Rung& rung);

  std::vector<Rung> rungs_;
  std::shared_ptr<LogRing> log_;
};

}  // namespace kvm
