// How long tests wait for what must come.
#pragma once

#include <cstdint>

#include "base/clock.hpp"

namespace kvm::test {

inline constexpr std::int64_t kPatienceNs = 10 * kNsPerSec;

}  // namespace kvm::test
