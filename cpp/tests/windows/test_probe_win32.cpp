// The test encode's process on Windows: what it says, how it may fail, and what it must not leave.
#include <doctest/doctest.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/utf8_path.hpp"
#include "base/utf_win32.hpp"
#include "base/windows.hpp"
#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/gpus.hpp"
#include "encode/ladder.hpp"
#include "encode/probe_cache.hpp"
#include "encode/probe_process.hpp"
#include "wine_gpu.hpp"

namespace kvm {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLong(20'000);

// Beside this test.
std::string beside(const wchar_t* name) {
  wchar_t path[MAX_PATH];
  REQUIRE(GetModuleFileNameW(nullptr, path, MAX_PATH) > 0);
  return to_utf8((fs::path(path).parent_path() / name).wstring());
}

std::optional<std::string> probe(std::string_view what, milliseconds limit = kLong) {
  return run_probe(beside(L"misbehaving_probe.exe"), what, limit);
}

// In a folder whose name no code page has.
class Directory {
 public:
  Directory()
      : path_(fs::temp_directory_path() /
              (L"kvmstream-\u6e2c-\u00fc-" + std::to_wstring(GetCurrentProcessId()))) {
    fs::create_directories(path_);
  }
  ~Directory() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] std::string utf8() const { return to_utf8(path_.wstring()); }

 private:
  fs::path path_;
};

// Whether a helper that misbehaving_probe started is alive; what was ended takes a moment to go.
bool helper_lives() {
  const auto until = steady_clock::now() + milliseconds(5000);
  while (const HANDLE up = OpenEventW(SYNCHRONIZE, FALSE, L"kvmstream-misbehaving-probe-helper")) {
    CloseHandle(up);
    if (steady_clock::now() > until) return true;
    Sleep(5);
  }
  return false;
}

TEST_CASE("a probe that says ok and exits well is believed, its own reason is passed on") {
  CHECK_FALSE(probe("ok"));
  CHECK_FALSE(probe("chatter"));
  CHECK(probe("reason") == "no session left");
  CHECK(probe("exit3") == "the test encode exited with status 3");
  CHECK(probe("ok-exit3") == "the test encode exited with status 3");
  CHECK(probe("") == "the test encode exited with status 0");
}

TEST_CASE("a crash is named by its exception, whatever was said before it") {
  CHECK(probe("crash") == "the test encode crashed (0xc0000005)");
  CHECK(probe("abort") == "the test encode crashed (0xc0000409)");
}

TEST_CASE("a hang ends at the time limit") {
  const auto begin = steady_clock::now();
  CHECK(probe("hang", milliseconds(400)) == "the test encode did not end within 400 ms");
  CHECK(steady_clock::now() - begin >= milliseconds(400));
  CHECK(steady_clock::now() - begin < milliseconds(5000));
  CHECK(probe("endless", milliseconds(400)) == "the test encode did not end within 400 ms");
}

TEST_CASE("helpers end with the probe, and hold no verdict back") {
  const auto begin = steady_clock::now();
  CHECK_FALSE(probe("helper-ok"));
  CHECK_FALSE(helper_lives());
  CHECK(probe("helper-hang", milliseconds(4000)) == "the test encode did not end within 4000 ms");
  CHECK_FALSE(helper_lives());
  CHECK(steady_clock::now() - begin < milliseconds(15'000));
}

TEST_CASE("an executable that is not there is a reason") {
  const auto reason = run_probe("C:\\nowhere\\kvmstream-probe.exe", "any", milliseconds(1000));
  REQUIRE(reason);
  CHECK(reason->find("C:\\nowhere\\kvmstream-probe.exe cannot be started: Windows error") == 0);
}

TEST_CASE("handles do not leak, into the child or here") {
  SECURITY_ATTRIBUTES inheritable{sizeof inheritable, nullptr, TRUE};
  const HANDLE event = CreateEventW(&inheritable, TRUE, FALSE, nullptr);
  REQUIRE(event != nullptr);
  char number[32];
  std::snprintf(number, sizeof number, "handle%llx",
                static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(event)));
  CHECK_FALSE(probe(number));
  CHECK(WaitForSingleObject(event, 0) == WAIT_TIMEOUT);
  CloseHandle(event);
  DWORD before = 0;
  DWORD after = 0;
  GetProcessHandleCount(GetCurrentProcess(), &before);
  for (int i = 0; i < 5; ++i) CHECK_FALSE(probe("ok"));
  GetProcessHandleCount(GetCurrentProcess(), &after);
  CHECK(after == before);
}

TEST_CASE("a probe in a folder of any name is found, and verdicts are kept in one") {
  const Directory directory;
  const fs::path copy = directory.path() / L"probe \u6e2c.exe";
  fs::copy_file(utf8_path(beside(L"misbehaving_probe.exe")), copy);
  CHECK_FALSE(run_probe(to_utf8(copy.wstring()), "ok", kLong));

  const std::string where = directory.utf8() + "\\new\\deep";
  const ProbeCache cache(where, "machine A");
  CHECK_FALSE(cache.find("h264_mf"));
  cache.store("h264_mf", "");
  cache.store("h264_qsv", "two\nlines");
  const ProbeCache later(where, "machine A");
  CHECK(later.find("h264_mf") == "");
  CHECK(later.find("h264_qsv") == "two lines");
  CHECK_FALSE(ProbeCache(where, "machine B").find("h264_mf"));
  CHECK(std::distance(fs::directory_iterator(utf8_path(where)), fs::directory_iterator()) == 1);
  CHECK(fs::exists(directory.path() / "new" / "deep" / "encoder-probes.txt"));

  const std::string stamp = probe_fingerprint(to_utf8(copy.wstring()));
  CHECK(stamp.find("probe - ") == std::string::npos);
  CHECK(stamp.find('\n') == std::string::npos);
  CHECK(stamp == probe_fingerprint(to_utf8(copy.wstring())));
}

TEST_CASE("the ladder lists every hardware encoder with its verdict, and streams without any") {
  const Directory directory;
  ProbeOptions options;
  options.probe_path = KVM_PROBE_PATH;
  options.cache_dir = directory.utf8();
  options.timeout = kLong;
  REQUIRE(fs::exists(utf8_path(options.probe_path)));
  Ladder ladder(default_candidates(options), std::make_shared<LogRing>());
  const auto infos = ladder.list();
  const auto gpus = list_gpus();
  const auto order = vendor_order(gpus);
  REQUIRE(infos.size() == order.size() + 2);
  for (std::size_t i = 0; i < order.size(); ++i) {
    CHECK(infos[i].name == order[i]);
    CHECK(infos[i].hardware);
    CHECK(infos[i].available == infos[i].reason.empty());
    MESSAGE(infos[i].name << ": " << infos[i].reason);
    // A test encode that was made ended by itself: no driver here hangs or crashes it.
    CHECK(infos[i].reason.find("did not end") == std::string::npos);
    CHECK(infos[i].reason.find("crashed") == std::string::npos);
  }
  CHECK(infos[4].name == "screen");
  CHECK(infos[4].available);
  CHECK(infos[5].name == "libx264");

  EncoderFormat format{320, 240, PixelFormat::kNv12, 320, 240};
  std::vector<std::string> notes;
  StreamConfig config;
  config.use_hardware_encoder = false;
  CHECK(ladder.open(format, config, notes)->name() == "screen");
}

TEST_CASE("the real probe says why a driver that is not there cannot encode") {
  const auto gpu = test::WineGpu::none(L"kvmstream-probe.exe");
  const auto unknown = run_probe(KVM_PROBE_PATH, "h264_of_nobody", kLong);
  REQUIRE(unknown);
  CHECK(unknown->find("must be one of") != std::string::npos);
  for (const auto name : vendor_order({})) {
    const auto reason = run_probe(KVM_PROBE_PATH, name, kLong);
    MESSAGE(name << ": " << reason.value_or("works"));
    if (!reason) continue;
    CHECK(reason->find(name) == 0);
    if (!avcodec_has_encoder(name)) continue;
    if (name == "h264_qsv") CHECK(reason->find("MFX session") != std::string::npos);
    if (name == "h264_amf") CHECK(reason->find("amfrt64.dll") != std::string::npos);
  }
}

}  // namespace
}  // namespace kvm
