#include "bindings/bindings.hpp"

NB_MODULE(_core, m) {
  m.doc() = "The native core of kvmstream. Private: use the names of the kvmstream package.";
  m.attr("BACKEND") = "native";
  kvm::python::bind_errors(m);
  kvm::python::bind_packet(m);
  kvm::python::bind_pipeline(m);
  kvm::python::bind_system(m);
}
