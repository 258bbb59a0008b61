// What a test orders of the QuickSync that has no GPU, and what that has seen.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvm::test {

// One thread. Statuses are mfxStatus.
struct FakeMfx {
  bool refuses_low_power = false;
  bool refuses_quality = false;  // QVBR
  bool refuses_all = false;      // any parameters
  int busy = 0;                  // so often, before it takes a picture
  int in_execution = 0;          // so often, before a picture is done
  int fails_to_encode = 0;       // the status to fail with
  int fails_to_finish = 0;

  int sessions = 0;  // open now
  int encoders = 0;  // initialised, now
  int locked = 0;    // surfaces, now
  int resets = 0;
  int wrong_calls = 0;
  const char* wrong = "";  // the last of them

  // As the last Init or Reset had them.
  int async_depth = 0;
  int low_power = 0;
  int rate_control = 0;
  int quality = 0;
  int target_kbps = 0;
  int max_kbps = 0;
  int gop_size = 0;
  int gop_distance = 0;
  int references = 0;
  int usage = 0;
  int buffered = 0;  // max_dec_frame_buffering
  int low_delay = 0;
  int recovery_points = 0;
  int matrix = 0;

  bool textures = false;  // else memory

  const std::uint8_t* seen = nullptr;  // the last picture, NV12 without gaps
  std::size_t seen_size = 0;
  const std::uint8_t* made = nullptr;  // its access unit
  std::size_t made_size = 0;
};

// Exported as "fake_mfx" by the library that QuickSync's dispatcher takes for Intel's.
using GetFakeMfx = FakeMfx* (*)();

}  // namespace kvm::test
