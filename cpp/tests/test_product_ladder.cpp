// The rungs that this build has, on this machine.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "encode/ladder.hpp"

namespace kvm {
namespace {

TEST_CASE("the product's ladder ends in our own encoder, then libx264; both work") {
  Ladder ladder(default_candidates({}), std::make_shared<LogRing>());
  const auto infos = ladder.list();
  REQUIRE(infos.size() >= 3);
  CHECK(infos[infos.size() - 2].name == "screen");
  CHECK(infos.back().name == "libx264");
  for (std::size_t i = infos.size() - 2; i < infos.size(); ++i) {
    CHECK_FALSE(infos[i].hardware);
    CHECK(infos[i].available);
  }
  for (const EncoderInfo& info : infos) {
    CAPTURE(info.name);
    CHECK(info.available == info.reason.empty());
    // No probe was given, so no hardware may be trusted.
    if (info.hardware) CHECK_FALSE(info.available);
  }
  EncoderFormat format{320, 240, PixelFormat::kNv12, 320, 240};
  std::vector<std::string> notes;
  CHECK(ladder.open(format, {}, notes)->name() == "screen");
  CHECK(format.pixel_format == PixelFormat::kBgra);
  StreamConfig config;
  config.chroma = Chroma::k444;
  CHECK(ladder.open(format, config, notes)->name() == "screen");
  CHECK(format.pixel_format == PixelFormat::kBgra);
  config.preset = "superfast";
  CHECK(ladder.open(format, config, notes)->name() == "screen");
  // What x264 does better is x264's.
  config.preset = "veryfast";
  CHECK(ladder.open(format, config, notes)->name() == "libx264");
  CHECK(format.pixel_format == PixelFormat::kI444);
  config = {};
  config.preset = "veryfast";
  CHECK(ladder.open(format, config, notes)->name() == "libx264");
  CHECK(format.pixel_format == PixelFormat::kNv12);
  notes.clear();
  config.encoder = "screen";
  for (const char* preset : {"ultrafast", "superfast"}) {
    config.preset = preset;
    CHECK(ladder.open(format, config, notes)->name() == "screen");
    CHECK(notes.empty());
  }
  config.preset = "medium";
  CHECK(ladder.open(format, config, notes)->name() == "screen");
  REQUIRE(notes.size() == 1);
  CHECK(notes[0] == "preset = \"medium\": the screen encoder goes no further than \"superfast\"");
}

}  // namespace
}  // namespace kvm
