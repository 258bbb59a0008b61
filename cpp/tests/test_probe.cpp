#include "encode/probe_process.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "encode/probe_cache.hpp"

namespace kvm {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class Directory {
 public:
  Directory() {
    std::string pattern = (fs::temp_directory_path() / "kvmstream-probe-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~Directory() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  [[nodiscard]] fs::path operator/(const std::string& name) const { return path_ / name; }
  [[nodiscard]] std::string string() const { return path_.string(); }

  // An executable that misbehaves as `body` says.
  [[nodiscard]] std::string script(const std::string& body) const {
    const fs::path path = path_ / ("probe-" + std::to_string(++count_));
    std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
    fs::permissions(path, fs::perms::owner_all);
    return path.string();
  }

 private:
  fs::path path_;
  mutable int count_ = 0;
};

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("a probe that says ok and exits well is believed") {
  const Directory directory;
  CHECK_FALSE(run_probe(directory.script("echo ok"), "any", milliseconds(5000)).has_value());
  CHECK_FALSE(
      run_probe(directory.script("echo chatter; echo ok"), "any", milliseconds(5000)).has_value());
  CHECK_FALSE(run_probe(directory.script("test \"$1\" = h264_vaapi && echo ok"), "h264_vaapi",
                        milliseconds(5000)));
}

TEST_CASE("a probe's own reason is passed on") {
  const Directory directory;
  CHECK(run_probe(directory.script("echo 'no session left'; exit 1"), "any", milliseconds(5000)) ==
        "no session left");
  CHECK(run_probe(directory.script("exit 3"), "any", milliseconds(5000)) ==
        "the test encode exited with status 3");
  CHECK(run_probe(directory.script("echo ok; exit 3"), "any", milliseconds(5000)) ==
        "the test encode exited with status 3");
  CHECK(run_probe(directory.script("true"), "any", milliseconds(5000)) ==
        "the test encode exited with status 0");
}

TEST_CASE("a crash is named by its signal") {
  const Directory directory;
  const auto segv =
      run_probe(directory.script("echo ok; kill -SEGV $$"), "any", milliseconds(5000));
  REQUIRE(segv.has_value());
  CHECK(segv->find("signal 11") != std::string::npos);
  const auto abort = run_probe(directory.script("kill -ABRT $$"), "any", milliseconds(5000));
  REQUIRE(abort.has_value());
  CHECK(abort->find("signal 6") != std::string::npos);
}

bool is_running(pid_t pid) {
  // A process that ended but whose new parent has not reaped it yet is in state Z.
  const std::string stat = read("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.size() > name_end + 2 && stat[name_end + 2] != 'Z';
}

TEST_CASE("a hang ends at the time limit, together with what the probe started") {
  const Directory directory;
  const std::string pid_file = (directory / "pids").string();
  const auto begin = steady_clock::now();
  const auto reason =
      run_probe(directory.script("sleep 60 & echo $! $$ > " + pid_file + "; trap '' TERM; wait"),
                "any", milliseconds(400));
  const auto took = steady_clock::now() - begin;
  CHECK(reason == "the test encode did not end within 400 ms");
  CHECK(took >= milliseconds(400));
  CHECK(took < milliseconds(3000));
  std::ifstream pids(pid_file);
  pid_t helper = 0;
  pid_t probe = 0;
  REQUIRE(static_cast<bool>(pids >> helper >> probe));
  for (int i = 0; i < 100 && is_running(helper); ++i) std::this_thread::sleep_for(milliseconds(10));
  CHECK_FALSE(is_running(helper));
  CHECK_FALSE(is_running(probe));
}

TEST_CASE("a helper that keeps the output open does not hold the verdict back") {
  const Directory directory;
  const auto begin = steady_clock::now();
  CHECK_FALSE(
      run_probe(directory.script("sleep 60 & echo ok"), "any", milliseconds(5000)).has_value());
  CHECK(steady_clock::now() - begin < milliseconds(3000));
}

TEST_CASE("endless output neither fills memory nor escapes the time limit") {
  const Directory directory;
  CHECK(run_probe(directory.script("while :; do echo ok; done"), "any", milliseconds(300)) ==
        "the test encode did not end within 300 ms");
}

TEST_CASE("an executable that is not there is a reason") {
  const auto reason = run_probe("/nonexistent/kvmstream-probe", "any", milliseconds(1000));
  REQUIRE(reason.has_value());
  CHECK(reason->find("/nonexistent/kvmstream-probe cannot be started: No such file") == 0);
}

TEST_CASE("descriptors do not leak, into the child or here") {
  const Directory directory;
  const auto open_descriptors = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto before = open_descriptors();
  const std::string list = (directory / "fds").string();
  CHECK_FALSE(run_probe(directory.script("ls /proc/$$/fd > " + list + "; echo ok"), "any",
                        milliseconds(5000)));
  CHECK(open_descriptors() == before);
  CHECK(read(list).find("0\n") == 0);
  CHECK(read(list).find("3\n") == std::string::npos);  // the write end is standard output only
}

TEST_CASE("a host that ignores SIGCHLD still gets a verdict") {
  const Directory directory;
  struct sigaction ignore{};
  struct sigaction saved{};
  ignore.sa_handler = SIG_IGN;
  REQUIRE(::sigaction(SIGCHLD, &ignore, &saved) == 0);
  const auto good = run_probe(directory.script("echo ok"), "any", milliseconds(5000));
  const auto bad = run_probe(directory.script("exit 1"), "any", milliseconds(5000));
  ::sigaction(SIGCHLD, &saved, nullptr);
  CHECK_FALSE(good.has_value());
  CHECK(bad == "the test encode gave no answer");
}

TEST_CASE("the real probe: libx264 works, absent hardware says why") {
  CHECK_FALSE(run_probe(KVM_PROBE_PATH, "libx264", milliseconds(20'000)).has_value());
  const auto unknown = run_probe(KVM_PROBE_PATH, "h264_of_nobody", milliseconds(20'000));
  REQUIRE(unknown.has_value());
  CHECK(unknown->find("must be one of") != std::string::npos);
}

TEST_CASE("verdicts survive on disk") {
  const Directory directory;
  const std::string where = (directory / "new" / "deep").string();
  const ProbeCache cache(where, "machine A");
  CHECK_FALSE(cache.find("h264_vaapi").has_value());
  cache.store("h264_vaapi", "");
  cache.store("h264_qsv", "two\nlines\tand a tab");
  const ProbeCache later(where, "machine A");
  CHECK(later.find("h264_vaapi") == "");
  CHECK(later.find("h264_qsv") == "two lines\tand a tab");
  CHECK_FALSE(later.find("h264_nvenc").has_value());
  CHECK_FALSE(ProbeCache(where, "machine B").find("h264_vaapi").has_value());
  CHECK(std::distance(fs::directory_iterator(where), fs::directory_iterator()) ==
        1);  // no part files left

  ProbeCache(where, "machine B").store("h264_nvenc", "");
  CHECK_FALSE(later.find("h264_vaapi").has_value());  // another machine's verdicts replace these
}

TEST_CASE("a damaged or outdated cache counts as none") {
  const Directory directory;
  const ProbeCache cache(directory.string(), "machine");
  const fs::path file = directory / "encoder-probes.txt";
  cache.store("h264_vaapi", "");
  const std::string good = read(file);
  REQUIRE(good.size() > 20);
  for (std::size_t cut = 0; cut + 1 < good.size(); ++cut) {
    std::ofstream(file, std::ios::trunc) << good.substr(0, cut);
    CHECK_FALSE(cache.find("h264_vaapi").has_value());
  }
  std::string foreign = good;
  foreign.insert(foreign.find("h264_vaapi"), "line without fields\n");
  std::ofstream(file, std::ios::trunc) << foreign;
  CHECK_FALSE(cache.find("h264_vaapi").has_value());
  std::ofstream(file, std::ios::trunc) << std::string(100'000, '\xff');
  CHECK_FALSE(cache.find("h264_vaapi").has_value());
  cache.store("h264_vaapi", "");
  CHECK(cache.find("h264_vaapi") == "");

  // A failure from 1970 is not held against the driver any more; a success is.
  std::string old = good;
  const auto tab = old.find("h264_vaapi\t") + 11;
  old.replace(tab, old.find('\t', tab) - tab, "1000");
  std::ofstream(file, std::ios::trunc) << old;
  CHECK(cache.find("h264_vaapi") == "");
  old.insert(old.find("\nend"), "it was busy");
  std::ofstream(file, std::ios::trunc) << old;
  CHECK_FALSE(cache.find("h264_vaapi").has_value());
}

TEST_CASE("a place that cannot be written is no error") {
  const ProbeCache nowhere("", "machine");
  nowhere.store("h264_vaapi", "");
  CHECK_FALSE(nowhere.find("h264_vaapi").has_value());
  const ProbeCache forbidden("/proc/kvmstream", "machine");
  forbidden.store("h264_vaapi", "");
  CHECK_FALSE(forbidden.find("h264_vaapi").has_value());
}

TEST_CASE("the fingerprint is one line and follows the probe's executable") {
  const Directory directory;
  const std::string path = directory.script("echo ok");
  const std::string before = probe_fingerprint(path);
  CHECK(before.find('\n') == std::string::npos);
  CHECK(before == probe_fingerprint(path));
  std::ofstream(path, std::ios::app) << "# longer\n";
  CHECK(before != probe_fingerprint(path));
}

}  // namespace
}  // namespace kvm
