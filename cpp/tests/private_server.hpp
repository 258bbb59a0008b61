// A private X server for one test: started on a free display, ended with the object.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

extern char** environ;  // NOLINT: POSIX

namespace kvm::test {

class PrivateServer {
 public:
  // Xvfb with one screen, or Xtigervnc (which can be resized while it runs).
  explicit PrivateServer(int width = 640, int height = 480, const std::string& program = "Xvfb",
                         std::vector<std::string> extra = {}) {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), 0) != 0) throw std::runtime_error("pipe");
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    std::vector<std::string> words{program,     "-displayfd", std::to_string(ends[1]),
                                   "-nolisten", "tcp",        "-noreset"};
    const std::string size = std::to_string(width) + "x" + std::to_string(height);
    if (program == "Xvfb") {
      words.insert(words.end(), {"-screen", "0", size + "x24"});
    } else {
      // It insists on listening somewhere.
      static int count = 0;
      rfb_path_ = "/tmp/kvmstream-test-" + std::to_string(getpid()) + "-" +
                  std::to_string(++count) + ".rfb";
      words.insert(words.end(), {"-geometry", size, "-depth", "24", "-rfbport", "-1",
                                 "-SecurityTypes", "None", "-rfbunixpath", rfb_path_});
    }
    words.insert(words.end(), extra.begin(), extra.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    const int failed = posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    std::string number;
    char ch = 0;
    while (failed == 0 && read(ends[0], &ch, 1) == 1 && ch != '\n') number += ch;
    close(ends[0]);
    if (number.empty())
      throw std::runtime_error(program +
                               " did not start: apt-get install xvfb tigervnc-standalone-server");
    name_ = ":" + number;
  }
  ~PrivateServer() { kill(); }
  PrivateServer(const PrivateServer&) = delete;
  PrivateServer& operator=(const PrivateServer&) = delete;

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
    // A killed server leaves its lock behind; the next one would count it as taken.
    unlink(("/tmp/.X" + name_.substr(1) + "-lock").c_str());
    unlink(("/tmp/.X11-unix/X" + name_.substr(1)).c_str());
    if (!rfb_path_.empty()) unlink(rfb_path_.c_str());
  }
  // Neither answers nor ends, as a hung driver leaves it.
  void stop() const { ::kill(pid_, SIGSTOP); }
  void resume() const { ::kill(pid_, SIGCONT); }
  [[nodiscard]] const std::string& name() const { return name_; }
  // Runs a shell command with DISPLAY set; its exit status.
  int run(const std::string& command) const {
    return std::system(("DISPLAY=" + name_ + " " + command + " >/dev/null 2>&1").c_str());
  }

 private:
  pid_t pid_ = 0;
  std::string name_;
  std::string rfb_path_;
};

}  // namespace kvm::test
