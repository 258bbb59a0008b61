#include <nanobind/stl/string.h>

#include "bindings/bindings.hpp"
#include "bindings/packet_object.hpp"

namespace kvm::python {
namespace {

int get_buffer(PyObject* self, Py_buffer* view, int flags) noexcept {
  const Packet& packet = *nb::inst_ptr<PacketObject>(self)->packet;
  // The view keeps `self` alive, and `self` the packet: no copy, whoever holds it.
  return PyBuffer_FillInfo(view, self, const_cast<std::uint8_t*>(packet.data.data()),
                           static_cast<Py_ssize_t>(packet.data.size()), /*readonly=*/1, flags);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)}, {0, nullptr}};

template <auto Member>
auto field() {
  return [](const PacketObject& self) { return (*self.packet).*Member; };
}
template <auto Member>
auto time() {
  return [](const PacketObject& self) { return self.packet->times.*Member; };
}

}  // namespace

void bind_packet(nb::module_& m) {
  nb::class_<PacketObject>(
      m, "Packet", nb::type_slots(slots),
      "One H.264 access unit (Annex B); memoryview(packet) reads it without a copy.")
      .def_prop_ro("keyframe", field<&Packet::keyframe>(), "An IDR: decoding can begin here.")
      .def_prop_ro("refinement", field<&Packet::refinement>(),
                   "The same content again, at better quality.")
      .def_prop_ro("pts", field<&Packet::pts_us>(),
                   "Microseconds since the stream's start, rising.")
      .def_prop_ro("generation", field<&Packet::generation>(),
                   "Grows with every new size, source or encoder.")
      .def_prop_ro("width", field<&Packet::width>(), "True width in pixels; the coded one is even.")
      .def_prop_ro("height", field<&Packet::height>(),
                   "True height in pixels; the coded one is even.")
      .def_prop_ro("damaged_ns", time<&FrameTimes::damaged>(),
                   "When the change was seen, as time.perf_counter_ns().")
      .def_prop_ro("captured_ns", time<&FrameTimes::captured>(), "When its pixels were in memory.")
      .def_prop_ro("converted_ns", time<&FrameTimes::converted>(),
                   "When they were in the encoder's format.")
      .def_prop_ro("encoded_ns", time<&FrameTimes::encoded>(), "When the access unit was complete.")
      .def("__len__", [](const PacketObject& self) { return self.packet->data.size(); })
      .def("__bytes__",
           [](const PacketObject& self) {
             return nb::bytes(reinterpret_cast<const char*>(self.packet->data.data()),
                              self.packet->data.size());
           })
      .def("__repr__", [](const PacketObject& self) {
        const Packet& p = *self.packet;
        return "<kvmstream Packet " +
               std::string(p.keyframe     ? "keyframe "
                           : p.refinement ? "refinement "
                                          : "") +
               std::to_string(p.data.size()) + " bytes, pts " + std::to_string(p.pts_us) + " us, " +
               std::to_string(p.width) + "x" + std::to_string(p.height) + ", generation " +
               std::to_string(p.generation) + ">";
      });
}

}  // namespace kvm::python
