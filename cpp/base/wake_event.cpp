#include "base/wake_event.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>

#include "base/clock.hpp"
#include "base/error.hpp"

namespace kvm {

WakeEvent::WakeEvent() : event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (event_fd_ < 0) {
    throw Error(ErrorKind::kCapture, std::string("eventfd: ") + std::strerror(errno) +
                                         "; raise the limit on open files (ulimit -n)");
  }
}

WakeEvent::~WakeEvent() {
  ::close(event_fd_);
}

void WakeEvent::set() noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the event is set already.
  [[maybe_unused]] const ssize_t written = ::write(event_fd_, &one, sizeof one);
}

bool WakeEvent::wait(int fd, std::int64_t deadline_ns) noexcept {
  std::array<pollfd, 2> fds{pollfd{event_fd_, POLLIN, 0}, pollfd{fd, POLLIN, 0}};
  const nfds_t count = fd >= 0 ? 2 : 1;
  timespec timeout{};
  timespec* limit = nullptr;
  if (deadline_ns != std::numeric_limits<std::int64_t>::max()) {
    const std::int64_t left = std::max<std::int64_t>(0, deadline_ns - now_ns());
    timeout.tv_sec = static_cast<time_t>(left / kNsPerSec);
    timeout.tv_nsec = static_cast<long>(left % kNsPerSec);
    limit = &timeout;
  }
  if (::ppoll(fds.data(), count, limit, nullptr) <= 0 || (fds[0].revents & POLLIN) == 0)
    return false;
  std::uint64_t count_read = 0;
  [[maybe_unused]] const ssize_t got = ::read(event_fd_, &count_read, sizeof count_read);
  return true;
}

}  // namespace kvm
