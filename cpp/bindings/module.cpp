#include "bindings/bindings.hpp"

namespace nb = nanobind;

NB_MODULE(_core, m) {
  // A process may end with a stream still referenced (a forked child does so on purpose); its
  // threads never touch Python, so there is nothing to warn about on stderr.
  nb::set_leak_warnings(false);
  m.doc() = "The native core of kvmstream. Private: use the names of the kvmstream package.";
  m.attr("BACKEND") = "native";
  kvm::python::bind_errors(m);
  kvm::python::bind_packet(m);
  kvm::python::bind_pipeline(m);
  kvm::python::bind_system(m);
#ifdef _WIN32
  kvm::python::bind_agent(m);
#endif
}
