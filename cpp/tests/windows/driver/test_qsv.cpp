// FFmpeg's QuickSync on a driver that has no GPU: all of it is real but the driver, Intel's
// dispatcher, which finds that, too.
#include <mfxstructures.h>

#include "../wine_gpu.hpp"
#include "base/windows.hpp"
#include "encode/avcodec/settings.hpp"
#include "encode/probe_process.hpp"
#include "fake_mfx.hpp"
#include "memory_support.hpp"

namespace kvm {
namespace {

using namespace test;

constexpr DWORD kIntel = 0x8086;
constexpr DWORD kIntelGpu = 0x1912;  // HD Graphics 530

FakeMfx& driver() {
  static FakeMfx& control = driver_of<FakeMfx>(L"" KVM_QSV_DRIVER, "fake_mfx");
  return control;
}

// Without orders of an earlier test.
struct Encoding : MemoryEncoding {
  explicit Encoding(int width = 142, int height = 84) : MemoryEncoding("h264_qsv", width, height) {
    driver() = {};
  }
  ~Encoding() {
    encoder->close();
    CHECK(driver().sessions == 0);
    CHECK(driver().encoders == 0);
    CHECK(driver().locked == 0);
    CHECK(driver().wrong_calls == 0);
    CHECK(std::string(driver().wrong) == "");
  }
  // FFmpeg 5.1 has the Media SDK search for the driver of a chip, and of none in software; later
  // ones ask oneVPL for a chip's alone.
  WineGpu gpu = avcodec_version() >> 16 < 60 ? WineGpu::none(L"test_qsv.exe")
                                             : WineGpu::of(L"test_qsv.exe", kIntel, kIntelGpu);
};

}  // namespace

TEST_CASE(
    "every picture arrives at the driver, one packet each, keyframes where they are asked for") {
  for (const auto& [width, height] : {std::pair{142, 84}, {320, 240}, {640, 352}}) {
    Encoding run(width, height);
    run.open();
    for (int i = 0; i < 10; ++i) {
      const bool keyframe = i == 0 || i == 6;
      driver().busy = i % 3;
      driver().in_execution = i % 4;
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

TEST_CASE(
    "the driver is told of low delay, an endless GOP, the ceiling, the quality and the colours") {
  Encoding run;
  run.config.bitrate = 4'000'000;
  run.config.crf = 27;
  run.open();
  const FakeMfx& told = driver();
  CHECK(told.async_depth == 1);
  CHECK(told.low_power == MFX_CODINGOPTION_ON);
  CHECK(told.rate_control == MFX_RATECONTROL_QVBR);
  CHECK(told.quality == 27);
  CHECK(told.target_kbps == 3600);
  CHECK(told.max_kbps == 4000);
  CHECK(told.gop_size == 32'767);
  CHECK(told.gop_distance == 1);  // no B-pictures
  CHECK(told.references == 1);
  CHECK(told.usage == MFX_TARGETUSAGE_BEST_SPEED);
  CHECK(told.buffered == 1);
  CHECK(told.low_delay == MFX_CODINGOPTION_ON);
  CHECK(told.recovery_points == MFX_CODINGOPTION_OFF);
  CHECK(told.matrix == 1);
}

TEST_CASE("what a driver does not have is done without, and said where a user sees it") {
  Encoding run;
  driver().refuses_low_power = true;
  run.open();
  CHECK(driver().low_power == MFX_CODINGOPTION_OFF);
  CHECK(driver().rate_control == MFX_RATECONTROL_QVBR);
  CHECK(std::holds_alternative<AccessUnit>(run.encode()));
  driver().refuses_quality = true;
  run.open();
  CHECK(driver().low_power == MFX_CODINGOPTION_OFF);
  CHECK(driver().rate_control == MFX_RATECONTROL_VBR);
  CHECK(run.has_note("crf has no counterpart"));
  CHECK(std::holds_alternative<AccessUnit>(run.encode()));
}

TEST_CASE(
    "what a driver refuses, or fails with, is a reason, and the encoder can be opened again") {
  Encoding run;
  driver().refuses_all = true;
  const std::string refusal = run.refusal();
  CHECK(refusal.find("h264_qsv: open: ") == 0);
  CHECK(driver().sessions == 0);
  driver().refuses_all = false;
  for (const bool late : {false, true}) {
    CAPTURE(late);
    run.open();
    REQUIRE(std::holds_alternative<AccessUnit>(run.encode()));
    (late ? driver().fails_to_finish : driver().fails_to_encode) = MFX_ERR_DEVICE_FAILED;
    const std::string reason = failure(run.encode());
    MESSAGE(reason);
    CHECK(reason.find("h264_qsv: ") == 0);
    driver().fails_to_finish = driver().fails_to_encode = 0;
    run.open();
    CHECK(std::holds_alternative<AccessUnit>(run.encode()));
  }
}

TEST_CASE("a new bitrate resets the driver with a keyframe, where FFmpeg can do that") {
  Encoding run;
  run.config.bitrate = 6'000'000;
  run.open();
  REQUIRE(std::holds_alternative<AccessUnit>(run.encode()));
  const bool live = live_rate_cost(*find_encoder_settings("h264_qsv")) == UpdateResult::kKeyframe;
  const UpdateResult cost = run.encoder->update({60.0, 2'000'000, 23.0});
  CHECK(cost == (live ? UpdateResult::kKeyframe : UpdateResult::kNeedsReopen));
  CHECK(std::holds_alternative<AccessUnit>(run.encode(true)));
  CHECK(driver().resets == (live ? 1 : 0));
  CHECK(driver().max_kbps == (live ? 2000 : 6000));
}

TEST_CASE("the test encode passes where the driver of an Intel GPU is found") {
  const auto gpu = WineGpu::of(L"driver_probe.exe", kIntel, kIntelGpu);
  CHECK(run_probe(KVM_PROBE_PATH, "h264_qsv", std::chrono::seconds(100)) == std::nullopt);
}

}  // namespace kvm
