// FFmpeg's NVENC with textures, on a driver that has no GPU: all of it but the GPU's own work is
// real.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "fake_nvenc.hpp"
#include "memory_support.hpp"
#include "texture_encoding.hpp"

namespace kvm {
namespace {

using namespace test;

FakeNvenc& driver() {
  // As FFmpeg finds it: beside the program.
  static FakeNvenc& control = driver_of<FakeNvenc>(L"nvEncodeAPI64.dll", "fake_nvenc");
  return control;
}

struct Encoding : TextureEncoding {
  Encoding() : TextureEncoding("h264_nvenc") { driver().fails = driver().refuses_textures = false; }
  [[nodiscard]] bool driver_saw_it() const {
    const FakeNvenc& nvenc = driver();
    return std::vector<std::uint32_t>(nvenc.seen, nvenc.seen + nvenc.seen_size) ==
           desk.expected(format.width, format.height);
  }
};

}  // namespace

TEST_CASE(
    "every texture arrives at the driver, one packet each, keyframes where they are asked for") {
  Encoding run;
  const int before = references(*run.ring->textures()->encoder().device);
  run.open();
  for (unsigned i = 0; i < 12; ++i) {
    const auto frame = run.desk.publish(*run.ring, run.desk.draw({30, 20, 60, 40}, 40 + i));
    REQUIRE(frame);
    const bool keyframe = i == 0 || i == 7;
    const EncodeResult result = run.encode(*frame, i == 7);
    CHECK(failure(result) == "");
    const auto* unit = std::get_if<AccessUnit>(&result);
    REQUIRE(unit != nullptr);
    CHECK(unit->keyframe == keyframe);
    CHECK(unit->pts_us == run.pts);
    CHECK(run.driver_saw_it());
    if (!keyframe) continue;
    // By BT.601, which the driver converts by.
    const auto sps = sps_of(*unit);
    REQUIRE(sps);
    REQUIRE(sps->colour);
    CHECK(sps->colour->matrix == 6);
    CHECK(sps->colour->primaries == 1);
    CHECK(!sps->colour->full_range);
  }
  CHECK(run.encoder->update({60.0, 2'000'000, 23.0}) == UpdateResult::kKeyframe);
  const auto frame = run.desk.publish(*run.ring);
  REQUIRE(frame);
  CHECK(std::holds_alternative<AccessUnit>(run.encode(*frame, true)));
  CHECK(driver().reconfigured > 0);
  run.encoder->close();
  CHECK(!run.encoder->takes_textures());
  CHECK(driver().sessions == 0);
  CHECK(driver().registered == 0);
  CHECK(driver().mapped == 0);
  CHECK(driver().wrong_calls == 0);
  CHECK(references(*run.ring->textures()->encoder().device) == before);
  CHECK(run.desk.sharing->held() == 0);
}

TEST_CASE(
    "what fails in a stream is a failure with its reason, and the encoder can be opened again") {
  Encoding run;
  run.open();
  const auto frame = run.desk.publish(*run.ring);
  REQUIRE(frame);
  REQUIRE(std::holds_alternative<AccessUnit>(run.encode(*frame)));
  driver().fails = true;
  CHECK(failure(run.encode(*frame)).find("h264_nvenc: ") == 0);
  driver().fails = false;
  driver().refuses_textures = true;
  run.encoder->close();
  run.open();
  CHECK(failure(run.encode(*frame)).find("h264_nvenc: ") == 0);
  driver().refuses_textures = false;
  run.encoder->close();
  run.open();
  CHECK(std::holds_alternative<AccessUnit>(run.encode(*frame)));
  run.desk.sharing->fail(FakeSharing::Call::kAcquire, DXGI_ERROR_DEVICE_REMOVED);
  CHECK(failure(run.encode(*frame)).find("AcquireSync answers " + hex(DXGI_ERROR_DEVICE_REMOVED)) !=
        std::string::npos);
  run.encoder->close();
  CHECK(driver().sessions == 0);
  CHECK(driver().registered == 0);
  CHECK(driver().mapped == 0);
}

TEST_CASE("4:4:4 is made in memory") {
  Encoding run;
  StreamConfig config;
  config.chroma = Chroma::k444;
  run.format.pixel_format = PixelFormat::kI444;
  CHECK_THROWS_AS(run.encoder->open(run.format, config, run.notes), Error);  // no CUDA device
  CHECK(run.notes.empty());
  CHECK(driver().sessions == 0);
}

}  // namespace kvm
