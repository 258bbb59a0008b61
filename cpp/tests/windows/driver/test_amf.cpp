// FFmpeg's AMF on a driver that has no GPU: all of it is real but the driver.
#include "base/windows.hpp"
// Windows' own first.
#include <AMF/components/VideoEncoderVCE.h>

#include "encode/probe_process.hpp"
#include "fake_amf.hpp"
#include "memory_support.hpp"

namespace kvm {
namespace {

using namespace test;

FakeAmf& driver() {
  static FakeAmf& control = driver_of<FakeAmf>(L"amfrt64.dll", "fake_amf");
  return control;
}

// Without orders of an earlier test.
struct Encoding : MemoryEncoding {
  explicit Encoding(int width = 142, int height = 84) : MemoryEncoding("h264_amf", width, height) {
    const auto property = driver().property;
    driver() = {};
    driver().property = property;
  }
  ~Encoding() {
    encoder->close();
    CHECK(driver().objects == 0);
    CHECK(driver().writers == 0);
    CHECK(driver().wrong_calls == 0);
    CHECK(std::string(driver().wrong) == "");
  }
};

}  // namespace

TEST_CASE(
    "every picture arrives at the driver, one packet each, keyframes where they are asked for") {
  for (const bool waits : {false, true}) {
    for (const auto& [width, height] : {std::pair{142, 84}, {320, 240}, {640, 352}}) {
      Encoding run(width, height);
      driver().waits = waits;
      run.open();
      for (int i = 0; i < 10; ++i) {
        const bool keyframe = i == 0 || i == 6;
        driver().slow = i % 5;
        const EncodeResult result = run.encode(i == 6);
        CHECK(failure(result) == "");
        const auto* unit = std::get_if<AccessUnit>(&result);
        REQUIRE(unit != nullptr);
        CHECK(unit->keyframe == keyframe);
        CHECK(is_idr_access_unit(unit->data) == keyframe);
        CHECK(unit->pts_us == run.pictures);
        CHECK(bytes(driver().seen, driver().seen_size) == run.picture);
        CHECK(unit->data == mended(bytes(driver().made, driver().made_size)));
      }
      CHECK(run.encoder->drain().empty());
    }
  }
}

TEST_CASE("the driver is told of low delay, an endless GOP and the ceiling") {
  Encoding run;
  driver().waits = true;
  run.config.bitrate = 4'000'000;
  run.open();
  const auto told = driver().property;
  CHECK(told(AMF_VIDEO_ENCODER_USAGE) == AMF_VIDEO_ENCODER_USAGE_ULTRA_LOW_LATENCY);
  CHECK(told(AMF_VIDEO_ENCODER_QUALITY_PRESET) == AMF_VIDEO_ENCODER_QUALITY_PRESET_SPEED);
  CHECK(told(AMF_VIDEO_ENCODER_TARGET_BITRATE) <= 4'000'000);
  CHECK(told(AMF_VIDEO_ENCODER_PEAK_BITRATE) == 4'000'000);
  CHECK(told(AMF_VIDEO_ENCODER_B_PIC_PATTERN) == 0);
  CHECK(told(AMF_VIDEO_ENCODER_IDR_PERIOD) >= 32'767);
  CHECK(told(AMF_VIDEO_ENCODER_MAX_NUM_REFRAMES) == 1);
  CHECK(told(AMF_VIDEO_ENCODER_FILLER_DATA_ENABLE) == 0);
  CHECK(told(AMF_VIDEO_ENCODER_RATE_CONTROL_SKIP_FRAME_ENABLE) == 0);
  CHECK(told(AMF_VIDEO_ENCODER_QUERY_TIMEOUT) > 0);
}

TEST_CASE("a packet that does not come holds nothing up, and comes with the next picture") {
  Encoding run;
  run.open();
  REQUIRE(std::holds_alternative<AccessUnit>(run.encode()));
  driver().slow = 1'000'000;
  CHECK(std::holds_alternative<NeedMore>(run.encode()));
  driver().slow = 0;
  const EncodeResult late = run.encode();
  const auto* unit = std::get_if<AccessUnit>(&late);
  REQUIRE(unit != nullptr);
  CHECK(unit->pts_us == run.pictures - 1);
  CHECK(run.encoder->drain().size() == 1);
}

TEST_CASE("a driver without ultra low latency gives low latency") {
  Encoding run;
  driver().refuses_ultra_low = true;
  run.open();
  CHECK(driver().property(AMF_VIDEO_ENCODER_USAGE) == AMF_VIDEO_ENCODER_USAGE_LOW_LATENCY);
  CHECK(std::holds_alternative<AccessUnit>(run.encode()));
}

TEST_CASE(
    "what a driver refuses, or fails with, is a reason, and the encoder can be opened again") {
  Encoding run;
  driver().refuses_all = true;
  const std::string refusal = run.refusal();
  CHECK(refusal.find("h264_amf: open: ") == 0);
  CHECK(refusal.find("Init() failed") != std::string::npos);
  CHECK(driver().objects == 0);
  driver().refuses_all = false;
  run.open();
  REQUIRE(std::holds_alternative<AccessUnit>(run.encode()));
  driver().fails_to_encode = AMF_FAIL;
  CHECK(failure(run.encode()).find("SubmitInput() failed") != std::string::npos);
  driver().fails_to_encode = 0;
  run.open();
  CHECK(std::holds_alternative<AccessUnit>(run.encode()));
  CHECK(run.encoder->update({60.0, 2'000'000, 23.0}) == UpdateResult::kNeedsReopen);
}

TEST_CASE("the test encode passes where AMD's driver is found") {
  CHECK(run_probe(KVM_PROBE_PATH, "h264_amf", std::chrono::seconds(100)) == std::nullopt);
}

}  // namespace kvm
