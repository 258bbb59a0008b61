// Shared textures without an operating system that shares any: two real textures on two real
// devices, with the content of one handed to the other as the keyed mutex changes hands. As strict
// as it can be: whoever does not hold the mutex finds garbage, and what he writes is gone.
#pragma once

#include <array>
#include <climits>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "capture/dxgi/texture_sharing.hpp"

namespace kvm::test {

// Any thread.
class FakeSharing final : public dxgi::TextureSharing {
 public:
  enum class Call { kMakeDevice, kAdapter, kCreate, kOpen, kAcquire, kRelease };
  static constexpr std::size_t kCalls = 6;

  // That call answers `code` in place of doing anything, after it has worked `after` more times.
  void fail(Call call, HRESULT code, int after = 0);
  void mend();
  // The next devices say that they are on another adapter.
  void go_elsewhere() { elsewhere_ = true; }
  // Textures of the encoder's device answer WAIT_TIMEOUT on the capture's, as while a GPU reads
  // them.
  void keep_reading(bool on);

  [[nodiscard]] int calls(Call call) const;
  // Releases by who does not hold, and acquires by who does.
  [[nodiscard]] int wrong_calls() const;
  // Acquires without a release.
  [[nodiscard]] int held() const;

  [[nodiscard]] HRESULT make_device(ID3D11Device& like, dxgi::EncoderDevice& made) override;
  [[nodiscard]] HRESULT adapter_of(ID3D11Device& device, LUID& adapter) override;
  [[nodiscard]] HRESULT create(ID3D11Device& on, int width, int height,
                               ComPtr<ID3D11Texture2D>& texture,
                               dxgi::SharedHandle& handle) override;
  [[nodiscard]] HRESULT open(ID3D11Device& on, HANDLE handle,
                             ComPtr<ID3D11Texture2D>& texture) override;
  [[nodiscard]] HRESULT acquire(ID3D11Texture2D& texture, std::uint64_t key,
                                unsigned milliseconds) override;
  [[nodiscard]] HRESULT release(ID3D11Texture2D& texture, std::uint64_t key) override;

 private:
  struct Shared {
    D3D11_TEXTURE2D_DESC facts{};
    std::vector<std::uint32_t> content;  // while nobody holds it
    std::uint64_t key = 0;
    ID3D11Texture2D* holder = nullptr;
    ID3D11Texture2D* created = nullptr;
  };

  [[nodiscard]] HRESULT begin(Call call);
  [[nodiscard]] HRESULT make_texture(ID3D11Device& on, const std::shared_ptr<Shared>& shared,
                                     ComPtr<ID3D11Texture2D>& texture);
  static void spoil(ID3D11Texture2D& texture);

  mutable std::mutex mutex_;
  struct Plan {
    HRESULT code = S_OK;
    int after = INT_MAX;
    int calls = 0;
  };
  std::array<Plan, kCalls> plans_;
  bool elsewhere_ = false;
  bool reading_ = false;
  int wrong_ = 0;
  int held_ = 0;
  std::map<HANDLE, std::shared_ptr<Shared>> handles_;
  // Not owned: an entry of a texture that is gone is replaced with the next one there.
  std::map<ID3D11Texture2D*, std::shared_ptr<Shared>> textures_;
  ID3D11Device* made_ = nullptr;
};

// Of a BGRA8 texture, 0x00RRGGBB row by row.
[[nodiscard]] std::vector<std::uint32_t> pixels_of(ID3D11Texture2D& texture,
                                                   unsigned subresource = 0);
void fill(ID3D11Texture2D& texture, const std::vector<std::uint32_t>& pixels);

}  // namespace kvm::test
