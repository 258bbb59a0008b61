// The only code that sees nanobind: one bind_*.cpp per room, registered by module.cpp.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "frame/config.hpp"

namespace kvm::python {

namespace nb = nanobind;

void bind_errors(nb::module_& m);
void bind_packet(nb::module_& m);
void bind_pipeline(nb::module_& m);
void bind_system(nb::module_& m);
#ifdef _WIN32
void bind_agent(nb::module_& m);
#endif

// Shared by Pipeline and screenshot(). `region` is None or (x, y, width, height).
[[nodiscard]] SourceKind parse_source(const std::string& source);
[[nodiscard]] CursorMode parse_cursor(const std::string& cursor);
[[nodiscard]] Chroma parse_chroma(const std::string& chroma);

}  // namespace kvm::python
