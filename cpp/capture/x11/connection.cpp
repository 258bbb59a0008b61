#include "capture/x11/connection.hpp"

#include <xcb/damage.h>
#include <xcb/randr.h>
#include <xcb/shm.h>
#include <xcb/xfixes.h>
#include <xcb/xinput.h>

#include <cstring>
#include <utility>

#include "base/error.hpp"

namespace kvm::x11 {
namespace {

std::string no_server_message(const std::string& server, bool from_environment) {
  if (server.empty()) {
    const char* wayland = std::getenv("WAYLAND_DISPLAY");
    if (wayland != nullptr && *wayland != '\0') {
      return "DISPLAY is not set and this is a Wayland session (WAYLAND_DISPLAY=" +
             std::string(wayland) +
             "): kvmstream reads X11 screens; log in to an X11 (Xorg) session";
    }
    return "DISPLAY is not set: start from a graphical session, or name the X server, e.g. "
           "display=':0'";
  }
  return "cannot connect to X server '" + server + "'" +
         (from_environment ? " (from $DISPLAY)" : "") +
         ": no server listens there or it refuses this user; look at /tmp/.X11-unix and at "
         "XAUTHORITY, or run as the "
         "session's user";
}

}  // namespace

DisplayName parse_display(const std::string& display) {
  if (display.find(':') == std::string::npos) return {"", display};
  const std::size_t slash = display.find('/', display.find(':'));
  if (slash == std::string::npos) return {display, ""};
  return {display.substr(0, slash), display.substr(slash + 1)};
}

Connection::Connection(const std::string& server, std::shared_ptr<Lifeline> line)
    : server_(server), line_(std::move(line)) {
  const bool from_environment = server_.empty();
  if (from_environment) {
    const char* display = std::getenv("DISPLAY");
    server_ = display != nullptr ? display : "";
    if (server_.empty()) throw Error(ErrorKind::kCapture, no_server_message("", true));
  }
  int screen_number = 0;
  connection_.reset(connect(server_, &screen_number, *line_));
  if (line_->is_cut()) throw Error(ErrorKind::kCapture, why_lost());
  if (broken()) throw Error(ErrorKind::kCapture, no_server_message(server_, from_environment));
  xcb_screen_iterator_t screens = xcb_setup_roots_iterator(xcb_get_setup(get()));
  while (screen_number > 0 && screens.rem > 1) {
    xcb_screen_next(&screens);
    --screen_number;
  }
  screen_ = screens.data;
  query_extensions();
  require();
}

std::string Connection::why_lost() const {
  if (line_->is_cut()) {
    return "X server '" + server_ +
           "' does not answer: it hangs or is stopped; look at its process, or end it and log in "
           "anew";
  }
  return "X server " + server_ + " closed the connection (it ended, or the session did)";
}

void Connection::require() const {
  if (broken()) throw Error(ErrorKind::kCapture, why_lost());
}

void Connection::query_extensions() {
  xcb_connection_t* c = get();
  for (xcb_extension_t* extension :
       {&xcb_damage_id, &xcb_xfixes_id, &xcb_randr_id, &xcb_shm_id, &xcb_input_id}) {
    xcb_prefetch_extension_data(c, extension);
  }
  const auto present = [c](xcb_extension_t* extension) {
    const xcb_query_extension_reply_t* data = xcb_get_extension_data(c, extension);
    return data != nullptr && data->present != 0 ? data : nullptr;
  };
  // Each extension wants its version asked before its first request, or it answers BadRequest.
  if (const auto* data = present(&xcb_xfixes_id)) {
    Reply<xcb_xfixes_query_version_reply_t> version(
        xcb_xfixes_query_version_reply(c, xcb_xfixes_query_version(c, 4, 0), nullptr));
    if (version) extensions_.xfixes_event = data->first_event;
  }
  if (const auto* data = present(&xcb_damage_id)) {
    Reply<xcb_damage_query_version_reply_t> version(
        xcb_damage_query_version_reply(c, xcb_damage_query_version(c, 1, 1), nullptr));
    if (version && extensions_.xfixes_event != 0) extensions_.damage_event = data->first_event;
  }
  if (const auto* data = present(&xcb_randr_id)) {
    Reply<xcb_randr_query_version_reply_t> version(
        xcb_randr_query_version_reply(c, xcb_randr_query_version(c, 1, 5), nullptr));
    if (version && (version->major_version > 1 || version->minor_version >= 5)) {
      extensions_.randr_event = data->first_event;
    }
  }
  if (const auto* data = present(&xcb_input_id)) {
    Reply<xcb_input_xi_query_version_reply_t> version(
        xcb_input_xi_query_version_reply(c, xcb_input_xi_query_version(c, 2, 2), nullptr));
    if (version && version->major_version >= 2) extensions_.xinput_opcode = data->major_opcode;
  }
  if (present(&xcb_shm_id) != nullptr) {
    Reply<xcb_shm_query_version_reply_t> version(
        xcb_shm_query_version_reply(c, xcb_shm_query_version(c), nullptr));
    if (version) {
      extensions_.shm = true;
      extensions_.shm_fd = version->major_version > 1 || version->minor_version >= 2;
    }
  }
}

std::string Connection::why_unreadable() const {
  xcb_connection_t* c = get();
  static constexpr char kXwayland[] = "XWAYLAND";
  Reply<xcb_query_extension_reply_t> xwayland(xcb_query_extension_reply(
      c, xcb_query_extension(c, sizeof kXwayland - 1, kXwayland), nullptr));
  bool is_xwayland = xwayland && xwayland->present != 0;
  if (!is_xwayland &&
      extensions_.randr_event != 0) {  // before Xwayland 23.1 only its outputs' names tell
    Reply<xcb_randr_get_screen_resources_current_reply_t> resources(
        xcb_randr_get_screen_resources_current_reply(
            c, xcb_randr_get_screen_resources_current(c, root()), nullptr));
    if (resources && xcb_randr_get_screen_resources_current_outputs_length(resources.get()) > 0) {
      const xcb_randr_output_t first =
          *xcb_randr_get_screen_resources_current_outputs(resources.get());
      Reply<xcb_randr_get_output_info_reply_t> output(xcb_randr_get_output_info_reply(
          c, xcb_randr_get_output_info(c, first, resources->config_timestamp), nullptr));
      if (output) {
        const std::string name(
            reinterpret_cast<const char*>(xcb_randr_get_output_info_name(output.get())),
            static_cast<std::size_t>(xcb_randr_get_output_info_name_length(output.get())));
        is_xwayland = name.rfind("XWAYLAND", 0) == 0;
      }
    }
  }
  if (is_xwayland) {
    return "X server '" + server_ +
           "' is Xwayland: a Wayland compositor draws the screen, and what X11 could read would be "
           "black; log in to an "
           "X11 (Xorg) session";
  }
  if (xcb_get_setup(c)->image_byte_order != XCB_IMAGE_ORDER_LSB_FIRST) {
    return "X server '" + server_ +
           "' uses big-endian images; only little-endian servers can be captured";
  }
  const xcb_format_t* formats = xcb_setup_pixmap_formats(xcb_get_setup(c));
  for (int i = 0; i < xcb_setup_pixmap_formats_length(xcb_get_setup(c)); ++i) {
    if (formats[i].depth == screen_->root_depth && formats[i].bits_per_pixel == 32) {
      for (auto depth = xcb_screen_allowed_depths_iterator(screen_); depth.rem > 0;
           xcb_depth_next(&depth)) {
        for (auto visual = xcb_depth_visuals_iterator(depth.data); visual.rem > 0;
             xcb_visualtype_next(&visual)) {
          if (visual.data->visual_id == screen_->root_visual && visual.data->red_mask == 0xff0000 &&
              visual.data->green_mask == 0xff00 && visual.data->blue_mask == 0xff) {
            return "";
          }
        }
      }
    }
  }
  return "X server '" + server_ + "' has a root window of depth " +
         std::to_string(screen_->root_depth) +
         "; 24-bit colour (32 bits per pixel, BGRX) is needed: set the screen to 24-bit colour";
}

}  // namespace kvm::x11
