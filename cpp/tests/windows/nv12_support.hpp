// D3D11 devices that draw to the planes of NV12 textures, as those of Windows do. Wine's take NV12
// for something to copy; planes are textures of their own there, which go with the NV12 texture.
#pragma once

#include "base/windows.hpp"
// Windows' own first.
#include <d3d11.h>

#include <array>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kvm::test {

// While it lives, of every device of this process; one at a time.
class Nv12Support {
 public:
  enum class Call { kTexture, kSource, kPlane, kVertexShader, kPixelShader };
  static constexpr std::size_t kCalls = 5;

  // Any device: all have the same functions.
  explicit Nv12Support(ID3D11Device& device);
  ~Nv12Support();
  Nv12Support(const Nv12Support&) = delete;
  Nv12Support& operator=(const Nv12Support&) = delete;

  // That call answers `code` in place of doing anything, after it has worked `after` more times.
  void fail(Call call, HRESULT code, int after = 0);
  void mend();

  // What the device's functions were.
  std::array<void*, kCalls> real{};
  // Counts a call.
  [[nodiscard]] HRESULT begin(Call call);

 private:
  void** functions_;
  struct Plan {
    HRESULT code = S_OK;
    int after = INT_MAX;
    int calls = 0;
  };
  std::array<Plan, kCalls> plans_;
};

// Rows of luma, then rows of chroma, as they stand in memory. Also of a texture of another module.
[[nodiscard]] std::vector<std::uint8_t> nv12_of(ID3D11Texture2D& texture, unsigned slice = 0);
// What the CPU makes of a picture of even size, alike.
[[nodiscard]] std::vector<std::uint8_t> to_nv12(std::vector<std::uint32_t> pixels, int width,
                                                int height);
// Of one that has a single plane, R8 or R8G8.
[[nodiscard]] std::vector<std::uint8_t> bytes_of(ID3D11Texture2D& texture);

}  // namespace kvm::test
