// What a session of the Media SDK has of an application's D3D11: its device, its allocator, and the
// pictures in its textures.
#pragma once

#include <mfxstructures.h>

#include <functional>
#include <memory>

#include "fake_chip.hpp"

namespace kvm::test {

// One thread. Statuses are those that an application gets.
class MfxVideoMemory {
 public:
  MfxVideoMemory();
  ~MfxVideoMemory();
  MfxVideoMemory(const MfxVideoMemory&) = delete;
  MfxVideoMemory& operator=(const MfxVideoMemory&) = delete;

  [[nodiscard]] mfxStatus set_device(mfxIMPL impl, mfxHandleType type, mfxHDL handle);
  [[nodiscard]] mfxStatus device(mfxHandleType type, mfxHDL* handle) const;
  // An mfxFrameAllocator, whose header declares what a driver exports.
  [[nodiscard]] mfxStatus set_allocator(const void* allocator);
  [[nodiscard]] bool ready() const;

  // Has the application name its surfaces of that kind.
  [[nodiscard]] mfxStatus begin(const mfxFrameInfo& info);
  void end();
  // Calls read(picture). False when the texture is not one that begin() was told of, of another
  // device or kind, or too small.
  [[nodiscard]] bool read(mfxMemId id, const mfxFrameInfo& info,
                          const std::function<void(const Nv12&)>& read) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kvm::test
