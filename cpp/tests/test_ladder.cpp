#include "encode/ladder.hpp"

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace kvm {
namespace {

constexpr std::array kNv12{PixelFormat::kNv12};
constexpr std::array kI444{PixelFormat::kI444};

// What a rung does, and what was done to it.
struct Fate {
  std::string name = {};
  bool hardware = true;
  std::string gate = {};  // reason of refusal; "" = passes
  std::string probe = {};
  std::string open_error = {};
  ErrorKind open_error_kind = ErrorKind::kEncoder;
  bool takes_444 = false;
  int gates = 0;
  int probes = 0;
  int creates = 0;
  int opens = 0;
};

class FaultyEncoder final : public Encoder {
 public:
  explicit FaultyEncoder(Fate& fate) : fate_(fate) {}
  [[nodiscard]] std::string_view name() const override { return fate_.name; }
  [[nodiscard]] std::span<const PixelFormat> accepts(Chroma chroma) const override {
    if (chroma == Chroma::k420) return kNv12;
    if (fate_.takes_444) return kI444;
    return {};
  }
  void open(const EncoderFormat& /*format*/, const StreamConfig& /*config*/,
            std::vector<std::string>& notes) override {
    ++fate_.opens;
    notes.push_back("half open");
    if (!fate_.open_error.empty()) throw Error(fate_.open_error_kind, fate_.open_error);
    notes.back() = fate_.name + " note";
  }
  [[nodiscard]] EncodeResult encode(const CpuPlanes& /*planes*/,
                                    const EncodeHints& /*hints*/) override {
    return NeedMore{};
  }
  [[nodiscard]] std::vector<AccessUnit> drain() override { return {}; }
  [[nodiscard]] UpdateResult update(const RateSettings& /*rate*/) override {
    return UpdateResult::kSeamless;
  }
  void close() override {}

 private:
  Fate& fate_;
};

Candidate candidate(Fate& fate) {
  const auto verdict = [](const std::string& reason) {
    return reason.empty() ? std::optional<std::string>() : std::optional<std::string>(reason);
  };
  Candidate made;
  made.name = fate.name;
  made.hardware = fate.hardware;
  made.gate = [&fate, verdict] {
    ++fate.gates;
    return verdict(fate.gate);
  };
  made.probe = [&fate, verdict] {
    ++fate.probes;
    return verdict(fate.probe);
  };
  made.create = [&fate] {
    ++fate.creates;
    return std::make_unique<FaultyEncoder>(fate);
  };
  return made;
}

struct Fixture {
  Fate fast{.name = "fast"};
  Fate good{.name = "good"};
  Fate soft{.name = "soft", .hardware = false, .takes_444 = true};
  std::shared_ptr<LogRing> log = std::make_shared<LogRing>();
  EncoderFormat format{640, 360, PixelFormat::kBgra};
  std::vector<std::string> notes;

  [[nodiscard]] Ladder ladder() {
    // Software is handed in first on purpose.
    return Ladder({candidate(soft), candidate(fast), candidate(good)}, log);
  }
};

TEST_CASE("the first hardware rung that passes everything is taken, the others are left alone") {
  Fixture f;
  Ladder ladder = f.ladder();
  const auto encoder = ladder.open(f.format, {}, f.notes);
  CHECK(encoder->name() == "fast");
  CHECK(f.format.pixel_format == PixelFormat::kNv12);
  CHECK(f.notes == std::vector<std::string>{"fast note"});
  CHECK(f.good.gates == 0);
  CHECK(f.soft.gates == 0);
}

TEST_CASE("a rung behind a closed gate is never probed, one that fails its probe never created") {
  Fixture f;
  f.fast.gate = "no such GPU";
  f.good.probe = "the driver crashed";
  Ladder ladder = f.ladder();
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "soft");
  CHECK(f.fast.probes == 0);
  CHECK(f.good.creates == 0);
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "soft");
  CHECK(f.fast.gates == 1);  // verdicts are kept
  CHECK(f.good.probes == 1);

  const auto infos = ladder.list();
  REQUIRE(infos.size() == 3);
  CHECK(infos[0].name == "fast");
  CHECK(infos[0].hardware);
  CHECK_FALSE(infos[0].available);
  CHECK(infos[0].reason == "no such GPU");
  CHECK(infos[1].reason == "the driver crashed");
  CHECK(infos[2].name == "soft");
  CHECK(infos[2].available);
  CHECK(infos[2].reason.empty());
}

TEST_CASE(
    "a rung that does not open is stepped over, with a note, and asked again for another size") {
  Fixture f;
  f.fast.open_error = "640 is too wide";
  Ladder ladder = f.ladder();
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "good");
  CHECK(f.notes == std::vector<std::string>{"fast did not open: 640 is too wide", "good note"});
  f.fast.open_error.clear();
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "fast");
}

TEST_CASE("a failure in mid-stream allows one more try, a second one ends it") {
  Fixture f;
  Ladder ladder = f.ladder();
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "fast");
  ladder.report_failure("fast", "device lost");
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "fast");
  ladder.report_failure("fast", "silent for 500 ms");
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "good");
  ladder.report_failure("good", "device lost");
  ladder.report_failure("good", "device lost");
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "soft");
  const auto infos = ladder.list();
  CHECK_FALSE(infos[0].available);
  CHECK(infos[0].reason.find("silent for 500 ms") != std::string::npos);
  ladder.report_failure("unheard of", "whatever");  // no rung, no effect

  bool told = false;
  for (const LogLine& line : f.log->drain())
    told |= line.message.find("silent for 500 ms") != std::string::npos;
  CHECK(told);
}

TEST_CASE("when nothing is left the error names every rung, its reason and the next step") {
  Fixture f;
  f.fast.gate = "no such GPU";
  f.good.probe = "ended by signal 11";
  f.soft.open_error = "out of memory";
  Ladder ladder = f.ladder();
  try {
    (void)ladder.open(f.format, {}, f.notes);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kEncoderUnavailable);
    const std::string text = error.what();
    for (const char* part : {"640x360", "fast: no such GPU", "good: ended by signal 11",
                             "soft: out of memory", "kvmstream doctor"}) {
      CAPTURE(part);
      CHECK(text.find(part) != std::string::npos);
    }
  }
}

TEST_CASE("use_hardware_encoder = False goes to software, for this stream only") {
  Fixture f;
  Ladder ladder = f.ladder();
  StreamConfig config;
  config.use_hardware_encoder = false;
  CHECK(ladder.open(f.format, config, f.notes)->name() == "soft");
  CHECK(f.fast.gates == 0);  // no driver was touched
  CHECK(ladder.open(f.format, {}, f.notes)->name() == "fast");
  f.soft.open_error = "broken";
  CHECK_THROWS_WITH_AS((void)ladder.open(f.format, config, f.notes),
                       doctest::Contains("fast: hardware encoders are switched off"), Error);
}

TEST_CASE("an encoder asked for by name is the only one tried") {
  Fixture f;
  Ladder ladder = f.ladder();
  StreamConfig config;
  config.encoder = "good";
  CHECK(ladder.open(f.format, config, f.notes)->name() == "good");
  config.use_hardware_encoder = false;  // the name is the stronger wish
  CHECK(ladder.open(f.format, config, f.notes)->name() == "good");
  f.good.open_error = "busy";
  try {
    (void)ladder.open(f.format, config, f.notes);
    FAIL("no error");
  } catch (const Error& error) {
    const std::string text = error.what();
    CHECK(text.find("good: busy") != std::string::npos);
    CHECK(text.find("soft") == std::string::npos);
  }
  CHECK(f.fast.gates == 0);
  config.encoder = "excellent";
  CHECK_THROWS_WITH_AS((void)ladder.open(f.format, config, f.notes),
                       doctest::Contains("choose one of auto, fast, good, soft"), Error);
}

TEST_CASE("4:4:4 goes to the first rung that can do it") {
  Fixture f;
  Ladder ladder = f.ladder();
  StreamConfig config;
  config.chroma = Chroma::k444;
  CHECK(ladder.open(f.format, config, f.notes)->name() == "soft");
  CHECK(f.format.pixel_format == PixelFormat::kI444);
  config.encoder = "fast";
  CHECK_THROWS_WITH_AS((void)ladder.open(f.format, config, f.notes),
                       doctest::Contains("fast: cannot encode chroma 4:4:4"), Error);
}

TEST_CASE("a setting that is wrong for every rung is the user's error, not the rung's") {
  Fixture f;
  f.fast.open_error = "preset = \"turbo\"";
  f.fast.open_error_kind = ErrorKind::kConfig;
  Ladder ladder = f.ladder();
  try {
    (void)ladder.open(f.format, {}, f.notes);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kConfig);
  }
  CHECK(f.good.opens == 0);
}

}  // namespace
}  // namespace kvm
