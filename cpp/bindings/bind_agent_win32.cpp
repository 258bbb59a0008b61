// Keyboard, mouse and clipboard of Windows, for the agent.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "bindings/bindings.hpp"
#include "clipboard/win32.hpp"
#include "input/sendinput.hpp"

namespace kvm::python {
namespace {

using namespace nanobind::literals;
using input::SendInputInjector;
using Code = unsigned;

// SendInput waits for other programs' hooks: no call keeps the GIL.
constexpr auto kFree = nb::call_guard<nb::gil_scoped_release>();

std::optional<double> due(const SendInputInjector& injector) {
  const std::int64_t next = injector.next_tick();
  if (next == input::kNever) return std::nullopt;
  return static_cast<double>(std::max<std::int64_t>(0, next - now_ns())) / kNsPerSec;
}

// Calls back with the GIL, on the clipboard's own thread; never after close().
class ClipboardObject {
 public:
  ClipboardObject(nb::callable on_text, nb::callable on_problem)
      : on_text_(std::move(on_text)), on_problem_(std::move(on_problem)) {
    const nb::gil_scoped_release release;
    clipboard_ = std::make_shared<Clipboard>(
        [this](const std::string& text, std::size_t too_long) {
          call([&] { on_text_(text, too_long); });
        },
        [this](const std::string& problem) { call([&] { on_problem_(problem); }); });
  }
  ~ClipboardObject() { close(); }
  ClipboardObject(const ClipboardObject&) = delete;
  ClipboardObject& operator=(const ClipboardObject&) = delete;

  void write(const std::string& text) {
    if (!clipboard_) throw Error(ErrorKind::kConfig, "the clipboard is closed");
    without_gil(clipboard_, [&](Clipboard& clipboard) { clipboard.write(text); });
  }
  void close() {
    if (clipboard_) without_gil(std::move(clipboard_), [](Clipboard&) {});
  }

 private:
  // Whoever holds it last waits for its thread, which may be waiting for the GIL.
  template <typename Fn>
  static void without_gil(std::shared_ptr<Clipboard> clipboard, Fn&& fn) {
    const nb::gil_scoped_release release;
    const std::shared_ptr<Clipboard> held = std::move(clipboard);
    fn(*held);
  }
  template <typename Fn>
  static void call(Fn&& fn) {
    const nb::gil_scoped_acquire acquire;
    try {
      fn();
    } catch (nb::python_error& error) {
      error.discard_as_unraisable("the clipboard's listener");
    }
  }

  nb::callable on_text_;
  nb::callable on_problem_;
  std::shared_ptr<Clipboard> clipboard_;  // under the GIL
};

}  // namespace

void bind_agent(nb::module_& m) {
  nb::class_<SendInputInjector>(
      m, "SendInputInjector",
      "One controller's hands. Codes are evdev's; what returns a string says in it what could not "
      "be done.")
      .def("__init__", [](SendInputInjector* self) { new (self) SendInputInjector(); })
      .def(
          "key", [](SendInputInjector& self, Code code, bool down) { return self.key(code, down); },
          "code"_a, "down"_a, kFree)
      .def(
          "button",
          [](SendInputInjector& self, Code code, bool down) { return self.button(code, down); },
          "code"_a, "down"_a, kFree)
      .def("move", &SendInputInjector::move, "x"_a, "y"_a, kFree)
      .def("move_by", &SendInputInjector::move_by, "dx"_a, "dy"_a, kFree)
      .def("wheel", &SendInputInjector::wheel, "dx"_a, "dy"_a, kFree)
      .def(
          "text", [](SendInputInjector& self, const std::string& text) { return self.text(text); },
          "text"_a, kFree)
      .def(
          "locks",
          [](SendInputInjector& self, std::optional<bool> caps, std::optional<bool> num) {
            return self.locks(caps, num);
          },
          "caps"_a.none(), "num"_a.none(), kFree)
      .def(
          "renew",
          [](SendInputInjector& self, const std::vector<Code>& codes) { return self.renew(codes); },
          "codes"_a, kFree)
      .def("due", &due, "Seconds until tick() wants to be called; None when it does not.")
      .def(
          "tick", [](SendInputInjector& self) { return self.tick(); }, kFree)
      .def("release_all", &SendInputInjector::release_all, kFree);
  nb::class_<ClipboardObject>(m, "Clipboard",
                              "Calls on_text(text, too_long) and on_problem(sentence) from a "
                              "thread of its own. Raises CaptureError without a desktop.")
      .def(nb::init<nb::callable, nb::callable>(), "on_text"_a, "on_problem"_a)
      .def("write", &ClipboardObject::write, "text"_a, "Raises ConfigError beyond 256 KiB.")
      .def("close", &ClipboardObject::close, "Idempotent; what was written stays.");
}

}  // namespace kvm::python
