// A private connection to an X server. Each source has its own: sharing one between threads breaks
// its sequence.
#pragma once

#include <xcb/xcb.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "capture/x11/lifeline.hpp"

namespace kvm::x11 {

struct Free {
  void operator()(void* memory) const noexcept { std::free(memory); }
};
template <typename T>
using Reply = std::unique_ptr<T, Free>;

// A StreamConfig::display taken apart: ":7/HDMI-1" → {":7", "HDMI-1"}.
struct DisplayName {
  std::string server;   // "" = $DISPLAY
  std::string monitor;  // "" = primary
};
[[nodiscard]] DisplayName parse_display(const std::string& display);

// First event number of each extension; 0 = the server lacks it.
struct Extensions {
  std::uint8_t damage_event = 0;
  std::uint8_t xfixes_event = 0;
  std::uint8_t randr_event = 0;
  std::uint8_t xinput_opcode = 0;
  bool shm = false;
  bool shm_fd = false;  // MIT-SHM 1.2 over a local socket
};

class Connection {
 public:
  // `server` as in $DISPLAY; "" = $DISPLAY itself. Throws Error{kCapture} with the next step.
  // `line` ends the waits of this and all other methods.
  explicit Connection(const std::string& server,
                      std::shared_ptr<Lifeline> line = std::make_shared<Lifeline>());

  [[nodiscard]] xcb_connection_t* get() const noexcept { return connection_.get(); }
  [[nodiscard]] const xcb_screen_t& screen() const noexcept { return *screen_; }
  [[nodiscard]] xcb_window_t root() const noexcept { return screen_->root; }
  [[nodiscard]] const std::string& server() const noexcept { return server_; }
  [[nodiscard]] const Extensions& extensions() const noexcept { return extensions_; }
  [[nodiscard]] bool broken() const noexcept {
    return line_->is_cut() || xcb_connection_has_error(connection_.get()) != 0;
  }
  // Why it is broken.
  [[nodiscard]] std::string why_lost() const;
  // Throws Error{kCapture} when it is broken: replies that never came have left gaps in what was
  // asked.
  void require() const;
  // "" when the root window can be read as 32-bit BGRX; else why not (depth, byte order, Xwayland).
  [[nodiscard]] std::string why_unreadable() const;

 private:
  struct Disconnect {
    void operator()(xcb_connection_t* connection) const noexcept { xcb_disconnect(connection); }
  };
  void query_extensions();

  std::string server_;
  std::shared_ptr<Lifeline> line_;
  std::unique_ptr<xcb_connection_t, Disconnect> connection_;
  const xcb_screen_t* screen_ = nullptr;
  Extensions extensions_;
};

}  // namespace kvm::x11
