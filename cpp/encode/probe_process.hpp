// A test encode in a child process: a graphics driver may crash or hang where it likes.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace kvm {

// Runs `executable encoder` and waits at most `timeout`; then the child's whole process group is
// killed. The child says "ok" on its standard output and exits with 0, or says why not. Returns the
// reason, or nothing when the encoder works. Blocks; from any thread.
[[nodiscard]] std::optional<std::string> run_probe(const std::string& executable,
                                                   std::string_view encoder,
                                                   std::chrono::milliseconds timeout);

}  // namespace kvm
