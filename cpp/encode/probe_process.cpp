#include "encode/probe_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>
#include <utility>

#include "encode/last_line.hpp"

extern char** environ;

namespace kvm {
namespace {

using Clock = std::chrono::steady_clock;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { reset(); }
  void reset() noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

struct SpawnOptions {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  SpawnOptions() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnOptions() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
  }
  SpawnOptions(const SpawnOptions&) = delete;
  SpawnOptions& operator=(const SpawnOptions&) = delete;
};

// The child's process id, or the errno as a negative number. Its standard output is `output`, input
// and error are /dev/null; it leads its own process group and has no signal blocked or ignored that
// we do.
[[nodiscard]] pid_t spawn(const std::string& executable, const std::string& encoder, int output) {
  SpawnOptions options;
  // First of all: `output` may itself be 0 or 2 when this process runs without standard
  // descriptors.
  posix_spawn_file_actions_adddup2(&options.actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&options.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&options.actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 34))
  // A driver under test has no business with whatever the host program has open.
  posix_spawn_file_actions_addclosefrom_np(&options.actions, STDERR_FILENO + 1);
#endif
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&options.attributes, &none);
  posix_spawnattr_setsigdefault(&options.attributes, &all);
  posix_spawnattr_setpgroup(&options.attributes, 0);
  posix_spawnattr_setflags(
      &options.attributes,
      static_cast<short>(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  std::array<char*, 3> arguments{const_cast<char*>(executable.c_str()),
                                 const_cast<char*>(encoder.c_str()), nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, executable.c_str(), &options.actions, &options.attributes,
                                arguments.data(), environ);
  return error == 0 ? pid : -error;
}

enum class WaitState { kRunning, kEnded, kUnknown };  // kUnknown: someone else reaped our child
struct Wait {
  WaitState state = WaitState::kRunning;
  int status = 0;  // exit status
  int signal = 0;  // that ended it; 0 = it exited
};

// Leaves an ended child unreaped, so that its process group's number cannot go to others yet.
[[nodiscard]] Wait poll_child(pid_t pid) {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
      if (info.si_pid == 0) return {};
      if (info.si_code == CLD_EXITED) return {WaitState::kEnded, info.si_status, 0};
      return {WaitState::kEnded, 0, info.si_status};
    }
    if (errno != EINTR) return {WaitState::kUnknown, 0, 0};
  }
}

[[nodiscard]] Wait wait_until(pid_t pid, Clock::time_point deadline) {
  for (;;) {
    const Wait wait = poll_child(pid);
    if (wait.state != WaitState::kRunning || Clock::now() >= deadline) return wait;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Ends the child and whatever helpers a driver started, and reaps it. A child stuck inside the
// kernel ends only when the kernel lets go of it; it must not take us along.
void end_group(pid_t pid) {
  constexpr auto kReapTime = std::chrono::seconds(1);
  ::kill(-pid, SIGKILL);
  if (wait_until(pid, Clock::now() + kReapTime).state != WaitState::kEnded) return;
  while (::waitpid(pid, nullptr, WNOHANG) < 0 && errno == EINTR) {
  }
}

// What the child says until it closes its output, ends, or time runs out.
[[nodiscard]] std::string read_output(int fd, pid_t pid, Clock::time_point deadline, Wait& wait) {
  constexpr std::size_t kMostOutput = 4096;
  constexpr auto kSlice = std::chrono::milliseconds(
      20);  // how soon a child that leaves its output to others is noticed
  std::string output;
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return output;
    pollfd entry{fd, POLLIN, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min(left, kSlice).count()));
    if (ready > 0) {
      std::array<char, 1024> chunk{};
      const ssize_t got = ::read(fd, chunk.data(), chunk.size());
      if (got == 0 || (got < 0 && errno != EINTR)) return output;
      if (got > 0 && output.size() < kMostOutput) {
        output.append(chunk.data(), static_cast<std::size_t>(got));
      }
    } else if (ready == 0 && wait.state == WaitState::kRunning) {
      wait = poll_child(pid);
      if (wait.state != WaitState::kRunning) return output;
    }
  }
}

}  // namespace

std::optional<std::string> run_probe(const std::string& executable, std::string_view encoder,
                                     std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  std::array<int, 2> ends{};
#if defined(__linux__)
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::string("no pipe: ") + std::strerror(errno);
#else
  if (::pipe(ends.data()) != 0) return std::string("no pipe: ") + std::strerror(errno);
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#endif
  const Descriptor reader(ends[0]);
  Descriptor writer(ends[1]);
  const pid_t pid = spawn(executable, std::string(encoder), writer.get());
  if (pid < 0) return executable + " cannot be started: " + std::strerror(-pid);
  writer.reset();

  Wait wait;
  const std::string said = last_line(read_output(reader.get(), pid, deadline, wait));
  if (wait.state == WaitState::kRunning) wait = wait_until(pid, deadline);
  end_group(pid);
  if (wait.state == WaitState::kRunning) {
    return "the test encode did not end within " + std::to_string(timeout.count()) + " ms";
  }
  if (wait.signal != 0) {
    const char* name = ::strsignal(wait.signal);
    return "the test encode was ended by signal " + std::to_string(wait.signal) +
           (name == nullptr ? std::string() : " (" + std::string(name) + ")");
  }
  if (said == "ok" && wait.status == 0) return std::nullopt;
  if (!said.empty() && said != "ok") return said;
  if (wait.state == WaitState::kUnknown) return "the test encode gave no answer";
  return "the test encode exited with status " + std::to_string(wait.status);
}

}  // namespace kvm
