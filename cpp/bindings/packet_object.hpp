#pragma once

#include "pipeline/packet.hpp"

namespace kvm::python {

// What Python holds: a share in the packet, so that it outlives stream, subscription and queue.
struct PacketObject {
  PacketPtr packet;
};

}  // namespace kvm::python
