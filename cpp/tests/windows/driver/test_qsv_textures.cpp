// FFmpeg's QuickSync with textures, on a driver that has no GPU: all of it but that is real, and
// D3D11 is Wine's.
#include <mfxstructures.h>

#include <string>
#include <vector>

#include "../wine_gpu.hpp"
#include "base/windows.hpp"
#include "encode/avcodec/ffmpeg.hpp"
#include "fake_mfx.hpp"
#include "memory_support.hpp"
#include "texture_encoding.hpp"

namespace kvm {
namespace {

using namespace test;

constexpr DWORD kIntel = 0x8086;
constexpr DWORD kIntelGpu = 0x1912;  // HD Graphics 530

FakeMfx& driver() {
  static FakeMfx& control = driver_of<FakeMfx>(L"libmfxhw64.dll", "fake_mfx");
  return control;
}

struct Encoding : TextureEncoding {
  Encoding() : TextureEncoding("h264_qsv") { driver() = {}; }
  ~Encoding() {
    encoder->close();
    // FFmpeg before 6.0 never closes a session that it has derived, which keeps the device.
    const int left = avcodec_version() >> 16 < 60 ? derived : 0;
    CHECK(device_references() == before + left);
    CHECK(desk.sharing->held() == 0);
    CHECK(driver().sessions == left);
    CHECK(driver().encoders == 0);
    CHECK(driver().locked == 0);
    CHECK(driver().wrong_calls == 0);
    CHECK(std::string(driver().wrong) == "");
  }
  void open() {
    TextureEncoding::open();
    ++derived;
  }
  [[nodiscard]] bool driver_saw_it() const {
    return bytes(driver().seen, driver().seen_size) ==
           desk.expected_nv12(format.width, format.height);
  }
  int before = device_references();
  int derived = 0;
};

// This program once more, which Wine has to tell of such a GPU before it begins.
[[nodiscard]] DWORD run_again(const wchar_t* arguments) {
  wchar_t program[MAX_PATH];
  REQUIRE(GetModuleFileNameW(nullptr, program, MAX_PATH) > 0);
  std::wstring line = L"\"" + std::wstring(program) + L"\" " + arguments;
  STARTUPINFOW start{};
  start.cb = sizeof start;
  PROCESS_INFORMATION process{};
  REQUIRE(CreateProcessW(program, line.data(), nullptr, nullptr, TRUE, 0, nullptr, nullptr, &start,
                         &process));
  CloseHandle(process.hThread);
  CHECK(WaitForSingleObject(process.hProcess, 100'000) == WAIT_OBJECT_0);
  DWORD code = 1;
  GetExitCodeProcess(process.hProcess, &code);
  CloseHandle(process.hProcess);
  return code;
}

}  // namespace

TEST_CASE("textures reach the driver of an Intel GPU") {
  const auto gpu = WineGpu::of(L"test_qsv_textures.exe", kIntel, kIntelGpu);
  CHECK(run_again(L"--no-skip --test-suite=intel") == 0);
}

TEST_SUITE("intel" * doctest::skip()) {
  TEST_CASE("every texture arrives, one packet each, keyframes on demand; what fails is a reason") {
    Encoding run;
    run.open();
    CHECK(driver().textures);
    CHECK(driver().matrix == 1);
    for (unsigned i = 0; i < 20; ++i) {
      CAPTURE(i);
      const auto frame = run.desk.publish(*run.ring, run.desk.draw({30, 20, 60, 40}, 40 + i));
      REQUIRE(frame);
      const bool keyframe = i == 0 || i == 7;
      driver().busy = static_cast<int>(i % 3);
      driver().in_execution = static_cast<int>(i % 4);
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
    // Failures, as they come without opening it again, which takes Wine long.
    const auto frame = run.desk.publish(*run.ring);
    REQUIRE(frame);
    run.nv12.fail(Nv12Support::Call::kPlane, E_OUTOFMEMORY);
    CHECK(failure(run.encode(*frame)).find("h264_qsv: no plane of an NV12 texture") == 0);
    run.nv12.mend();
    CHECK(std::holds_alternative<AccessUnit>(run.encode(*frame)));
    driver().fails_to_encode = MFX_ERR_DEVICE_FAILED;
    CHECK(failure(run.encode(*frame)).find("h264_qsv: encode: ") == 0);
    driver().fails_to_encode = 0;
    run.desk.sharing->fail(FakeSharing::Call::kAcquire, DXGI_ERROR_DEVICE_REMOVED);
    CHECK(
        failure(run.encode(*frame)).find("AcquireSync answers " + hex(DXGI_ERROR_DEVICE_REMOVED)) !=
        std::string::npos);
  }
}

}  // namespace kvm
