// FFmpeg's AMF with textures, on a driver that has no GPU: all of it but that is real, and D3D11 is
// Wine's.
#include <doctest/doctest.h>

#include <string>

#include "fake_amf.hpp"
#include "memory_support.hpp"
#include "texture_encoding.hpp"

namespace kvm {
namespace {

using namespace test;

FakeAmf& driver() {
  static FakeAmf& control = driver_of<FakeAmf>(L"amfrt64.dll", "fake_amf");
  return control;
}

struct Encoding : TextureEncoding {
  Encoding() : TextureEncoding("h264_amf") {
    const auto property = driver().property;
    driver() = {};
    driver().property = property;
  }
  ~Encoding() {
    encoder->close();
    CHECK(desk.sharing->held() == 0);
    CHECK(driver().objects == 0);
    CHECK(driver().wrong_calls == 0);
    CHECK(std::string(driver().wrong) == "");
  }
  [[nodiscard]] bool driver_saw_it() const {
    return driver().textures && bytes(driver().seen, driver().seen_size) ==
                                    desk.expected_nv12(format.width, format.height);
  }
};

}  // namespace

TEST_CASE("every texture arrives, one packet each, keyframes where they are asked for") {
  Encoding run;
  const int before = run.device_references();
  run.open();
  for (unsigned i = 0; i < 20; ++i) {
    CAPTURE(i);
    const auto frame = run.desk.publish(*run.ring, run.desk.draw({30, 20, 60, 40}, 40 + i));
    REQUIRE(frame);
    const bool keyframe = i == 0 || i == 7;
    driver().slow = static_cast<int>(i % 5);
    const EncodeResult result = run.encode(*frame, i == 7);
    CHECK(failure(result) == "");
    const auto* unit = std::get_if<AccessUnit>(&result);
    REQUIRE(unit != nullptr);
    CHECK(unit->keyframe == keyframe);
    CHECK(unit->pts_us == run.pts);
    CHECK(unit->data == mended(bytes(driver().made, driver().made_size)));
    CHECK(run.driver_saw_it());
    if (!keyframe) continue;
    const auto sps = sps_of(*unit);
    REQUIRE(sps);
    REQUIRE(sps->colour);
    CHECK(sps->colour->matrix == 1);
  }
  run.encoder->close();
  CHECK(run.device_references() == before);
}

TEST_CASE("a texture that is encoded late is still the picture that it was") {
  Encoding run;
  run.open();
  const auto first = run.desk.publish(*run.ring);
  REQUIRE(first);
  REQUIRE(std::holds_alternative<AccessUnit>(run.encode(*first)));
  driver().slow = 1'000'000;
  const auto late = run.desk.publish(*run.ring, run.desk.draw({30, 20, 60, 40}, 90));
  REQUIRE(late);
  const auto want = run.desk.expected_nv12(run.format.width, run.format.height);
  CHECK(std::holds_alternative<NeedMore>(run.encode(*late)));
  driver().slow = 0;
  const auto next = run.desk.publish(*run.ring, run.desk.draw({10, 10, 60, 40}, 91));
  REQUIRE(next);
  const EncodeResult result = run.encode(*next);
  REQUIRE(std::holds_alternative<AccessUnit>(result));
  CHECK(std::get<AccessUnit>(result).pts_us == run.pts - 1);
  CHECK(bytes(driver().seen, driver().seen_size) == want);
  CHECK(run.encoder->drain().size() == 1);
  CHECK(run.driver_saw_it());
}

TEST_CASE("what fails in a stream is a failure with its reason, and it can be opened again") {
  Encoding run;
  run.open();
  const auto frame = run.desk.publish(*run.ring);
  REQUIRE(frame);
  REQUIRE(std::holds_alternative<AccessUnit>(run.encode(*frame)));
  run.nv12.fail(Nv12Support::Call::kPlane, E_OUTOFMEMORY);
  CHECK(failure(run.encode(*frame)).find("h264_amf: no plane of an NV12 texture") == 0);
  run.nv12.mend();
  driver().fails_to_encode = 1;  // AMF_FAIL
  CHECK(failure(run.encode(*frame)).find("SubmitInput() failed") != std::string::npos);
  driver().fails_to_encode = 0;
  run.open();
  CHECK(std::holds_alternative<AccessUnit>(run.encode(*frame)));
  run.desk.sharing->fail(FakeSharing::Call::kAcquire, DXGI_ERROR_DEVICE_REMOVED);
  CHECK(failure(run.encode(*frame)).find("AcquireSync answers " + hex(DXGI_ERROR_DEVICE_REMOVED)) !=
        std::string::npos);
}

TEST_CASE("a driver that does not take the device gets memory, with a note that says why") {
  Encoding run;
  driver().refuses_device = true;
  const int before = run.device_references();
  run.encoder->open(run.format, {}, run.notes);
  CHECK(!run.encoder->takes_textures());
  REQUIRE(!run.notes.empty());
  MESSAGE(run.notes[0]);
  CHECK(run.notes[0].find("h264_amf: pictures take the way through memory") == 0);
  CHECK(run.notes[0].find("not supported on the given device") != std::string::npos);
  CHECK(run.device_references() == before);
  const auto picture = nv12_picture(run.format.width, run.format.height, 1);
  CpuPlanes planes;
  std::vector<std::uint8_t> copy = picture;
  planes.data = {copy.data(), copy.data() + run.format.width * run.format.height, nullptr};
  planes.stride = {run.format.width, run.format.width, 0};
  CHECK(std::holds_alternative<AccessUnit>(run.encoder->encode(planes, {})));
  CHECK(!driver().textures);
  CHECK(bytes(driver().seen, driver().seen_size) == picture);
}

}  // namespace kvm
