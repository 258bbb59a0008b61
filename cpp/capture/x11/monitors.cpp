#include "capture/x11/monitors.hpp"

#include <xcb/randr.h>

#include <algorithm>
#include <map>

namespace kvm::x11 {
namespace {

Rect root_bounds(const Connection& connection) {
  xcb_connection_t* c = connection.get();
  // The setup's size is that of connection time; the geometry is today's.
  Reply<xcb_get_geometry_reply_t> geometry(
      xcb_get_geometry_reply(c, xcb_get_geometry(c, connection.root()), nullptr));
  if (geometry) return {0, 0, geometry->width, geometry->height};
  return {0, 0, connection.screen().width_in_pixels, connection.screen().height_in_pixels};
}

// Refresh rate of every output that shows something.
std::map<xcb_randr_output_t, double> refresh_rates(const Connection& connection) {
  xcb_connection_t* c = connection.get();
  std::map<xcb_randr_output_t, double> rates;
  Reply<xcb_randr_get_screen_resources_current_reply_t> resources(
      xcb_randr_get_screen_resources_current_reply(
          c, xcb_randr_get_screen_resources_current(c, connection.root()), nullptr));
  if (!resources) return rates;
  const xcb_randr_mode_info_t* modes =
      xcb_randr_get_screen_resources_current_modes(resources.get());
  const int mode_count = xcb_randr_get_screen_resources_current_modes_length(resources.get());
  const xcb_randr_crtc_t* crtcs = xcb_randr_get_screen_resources_current_crtcs(resources.get());
  for (int i = 0; i < xcb_randr_get_screen_resources_current_crtcs_length(resources.get()); ++i) {
    Reply<xcb_randr_get_crtc_info_reply_t> crtc(xcb_randr_get_crtc_info_reply(
        c, xcb_randr_get_crtc_info(c, crtcs[i], resources->config_timestamp), nullptr));
    if (!crtc || crtc->mode == XCB_NONE) continue;
    const xcb_randr_mode_info_t* mode =
        std::find_if(modes, modes + mode_count, [&](const auto& m) { return m.id == crtc->mode; });
    if (mode == modes + mode_count || mode->htotal == 0 || mode->vtotal == 0) continue;
    const double hz = static_cast<double>(mode->dot_clock) /
                      (static_cast<double>(mode->htotal) * static_cast<double>(mode->vtotal));
    const xcb_randr_output_t* outputs = xcb_randr_get_crtc_info_outputs(crtc.get());
    for (int k = 0; k < xcb_randr_get_crtc_info_outputs_length(crtc.get()); ++k)
      rates[outputs[k]] = hz;
  }
  return rates;
}

}  // namespace

std::vector<DisplayInfo> list_monitors(const Connection& connection) {
  xcb_connection_t* c = connection.get();
  const Rect root = root_bounds(connection);
  std::vector<DisplayInfo> monitors;
  if (connection.extensions().randr_event != 0) {
    Reply<xcb_randr_get_monitors_reply_t> reply(
        xcb_randr_get_monitors_reply(c, xcb_randr_get_monitors(c, connection.root(), 1), nullptr));
    const auto rates = reply ? refresh_rates(connection) : std::map<xcb_randr_output_t, double>{};
    for (auto it = reply ? xcb_randr_get_monitors_monitors_iterator(reply.get())
                         : xcb_randr_monitor_info_iterator_t{};
         it.rem > 0; xcb_randr_monitor_info_next(&it)) {
      DisplayInfo info;
      // A monitor may reach past the root for a moment while a mode changes; reading there is
      // BadMatch.
      info.bounds = intersect({it.data->x, it.data->y, it.data->width, it.data->height}, root);
      if (info.bounds.empty()) continue;
      Reply<xcb_get_atom_name_reply_t> name(
          xcb_get_atom_name_reply(c, xcb_get_atom_name(c, it.data->name), nullptr));
      info.id =
          name ? std::string(xcb_get_atom_name_name(name.get()),
                             static_cast<std::size_t>(xcb_get_atom_name_name_length(name.get())))
               : "monitor-" + std::to_string(monitors.size());
      info.name = info.id;
      info.primary = it.data->primary != 0;
      const xcb_randr_output_t* outputs = xcb_randr_monitor_info_outputs(it.data);
      for (int k = 0; k < xcb_randr_monitor_info_outputs_length(it.data); ++k) {
        if (const auto rate = rates.find(outputs[k]); rate != rates.end())
          info.refresh_hz = rate->second;
      }
      monitors.push_back(std::move(info));
    }
  }
  connection.require();
  if (monitors.empty()) {
    DisplayInfo whole;
    whole.id = whole.name = "screen";
    whole.bounds = root;
    monitors.push_back(std::move(whole));
  }
  if (std::none_of(monitors.begin(), monitors.end(),
                   [](const DisplayInfo& m) { return m.primary; })) {
    monitors.front().primary = true;
  }
  return monitors;
}

}  // namespace kvm::x11

namespace kvm {

std::vector<DisplayInfo> list_displays(const std::string& x_display) {
  const auto line = std::make_shared<x11::Lifeline>();
  const TimeLimit limit = x11::limit_opening(line);
  return x11::list_monitors(x11::Connection(x_display, line));
}

}  // namespace kvm
