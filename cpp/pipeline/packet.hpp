// One access unit on its way to the consumers.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "frame/frame.hpp"

namespace kvm {

struct Packet {
  std::vector<std::uint8_t> data;  // Annex B
  bool keyframe = false;
  bool refinement = false;  // the same content again at better quality
  std::int64_t pts_us = 0;  // since the stream's start
  std::uint32_t generation = 0;
  int width = 0;  // true size; the coded one is rounded up to even
  int height = 0;
  FrameTimes times;
};

// Immutable and shared: one encode for all consumers.
using PacketPtr = std::shared_ptr<const Packet>;

}  // namespace kvm
