#include "capture/x11/lifeline.hpp"

#include <X11/Xauth.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "base/error.hpp"

namespace kvm::x11 {
namespace {

constexpr std::chrono::milliseconds kConnectPause{20};

// -1 when nobody listens there, or the line was cut.
int connect_local(const std::string& path, bool abstract, const Lifeline& line) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t skip = abstract ? 1 : 0;
  if (skip + path.size() >= sizeof address.sun_path) return -1;
  std::memcpy(address.sun_path + skip, path.data(), path.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + skip + path.size() +
                                             (abstract ? 0 : 1));
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  while (fd >= 0 && ::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    // EAGAIN: as many as may wait for a server that takes nobody in.
    if ((errno != EAGAIN && errno != EINTR) || line.is_cut()) {
      ::close(fd);
      return -1;
    }
    std::this_thread::sleep_for(kConnectPause);
  }
  return fd;
}

struct DisposeAuth {
  void operator()(Xauth* auth) const noexcept { XauDisposeAuth(auth); }
};

std::unique_ptr<Xauth, DisposeAuth> cookie_for(int display) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) return nullptr;
  const std::string number = std::to_string(display);
  static constexpr std::string_view kCookie = "MIT-MAGIC-COOKIE-1";
  // Neither is written to; the library is older than const.
  char* names[] = {const_cast<char*>(kCookie.data())};
  const int lengths[] = {static_cast<int>(kCookie.size())};
  return std::unique_ptr<Xauth, DisposeAuth>(XauGetBestAuthByAddr(
      FamilyLocal, static_cast<unsigned short>(std::strlen(host.data())), host.data(),
      static_cast<unsigned short>(number.size()), number.data(), 1, names, lengths));
}

}  // namespace

Lifeline::~Lifeline() {
  if (fd_ >= 0) ::close(fd_);
}

void Lifeline::hold(int fd) {
  const int mine = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (mine < 0) {
    throw Error(ErrorKind::kCapture, std::string("duplicating a socket: ") + std::strerror(errno) +
                                         "; raise the limit on open files (ulimit -n)");
  }
  const std::lock_guard lock(mutex_);
  if (fd_ >= 0) ::close(fd_);
  fd_ = mine;
  if (cut_) ::shutdown(fd_, SHUT_RD);
}

void Lifeline::cut() noexcept {
  const std::lock_guard lock(mutex_);
  cut_ = true;
  // Only the reading half: what the owner still writes must not raise SIGPIPE.
  if (fd_ >= 0) ::shutdown(fd_, SHUT_RD);
}

xcb_connection_t* connect(const std::string& server, int* screen, Lifeline& line) {
  const auto hold = [&line](xcb_connection_t* connection) {
    if (xcb_connection_has_error(connection) == 0) {
      try {
        line.hold(xcb_get_file_descriptor(connection));
      } catch (...) {
        xcb_disconnect(connection);
        throw;
      }
    }
    return connection;
  };
  // Another host's server, or a socket of another name, is xcb's to find.
  const bool local = server.starts_with(':') || server.starts_with("unix:");
  char* raw_host = nullptr;
  int display = 0;
  if (!local || xcb_parse_display(server.c_str(), &raw_host, &display, screen) == 0) {
    return hold(xcb_connect(server.c_str(), screen));
  }
  std::free(raw_host);
  const std::string path = "/tmp/.X11-unix/X" + std::to_string(display);
  int fd = connect_local(path, true, line);
  if (fd < 0) fd = connect_local(path, false, line);
  if (fd < 0) return line.is_cut() ? nullptr : hold(xcb_connect(server.c_str(), screen));
  try {
    line.hold(fd);
  } catch (...) {
    ::close(fd);
    throw;
  }
  const auto cookie = cookie_for(display);
  xcb_auth_info_t authority{};
  if (cookie) {
    authority = {cookie->name_length, cookie->name, cookie->data_length, cookie->data};
  }
  xcb_connection_t* connection = xcb_connect_to_fd(fd, cookie ? &authority : nullptr);
  if (xcb_connection_has_error(connection) == 0 || line.is_cut()) return connection;
  // It answers, so xcb may try what else it knows of authority.
  xcb_disconnect(connection);
  return hold(xcb_connect(server.c_str(), screen));
}

}  // namespace kvm::x11
