// What a test orders of the AMF that has no GPU, and what that has seen.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvm::test {

// One thread. Results are AMF_RESULT.
struct FakeAmf {
  bool refuses_ultra_low = false;  // that usage
  bool refuses_all = false;        // to initialise
  bool refuses_device = false;     // D3D11's
  bool waits = false;              // knows QueryTimeout
  int slow = 0;                    // so often, before a packet is there
  int fails_to_encode = 0;         // the result to fail with

  int objects = 0;  // alive
  int writers = 0;  // of its log, now
  int wrong_calls = 0;
  const char* wrong = "";  // the last of them

  bool textures = false;  // the last picture came as one

  const std::uint8_t* seen = nullptr;  // the last picture, NV12 without gaps
  std::size_t seen_size = 0;
  const std::uint8_t* made = nullptr;  // its access unit
  std::size_t made_size = 0;

  // Of the encoder that was initialised last; -1 where it was not told.
  std::int64_t (*property)(const wchar_t* name) = nullptr;
};

// Exported as "fake_amf" by the library that FFmpeg takes for AMD's.
using GetFakeAmf = FakeAmf* (*)();

}  // namespace kvm::test
