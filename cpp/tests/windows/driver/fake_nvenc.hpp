// What a test orders of the NVENC that has no GPU, and what that has seen.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvm::test {

// One thread.
struct FakeNvenc {
  bool refuses_textures = false;  // to register one
  bool fails = false;             // to encode
  int sessions = 0;               // open now
  int registered = 0;             // textures, now
  int mapped = 0;                 // of them
  int reconfigured = 0;
  int wrong_calls = 0;
  const std::uint32_t* seen = nullptr;  // pixels of the last picture, 0x00RRGGBB
  std::size_t seen_size = 0;
};

// Exported as "fake_nvenc" by the library that FFmpeg takes for NVIDIA's.
using GetFakeNvenc = FakeNvenc* (*)();

}  // namespace kvm::test
