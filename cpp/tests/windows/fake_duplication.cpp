#include "fake_duplication.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/clock.hpp"
#include "fake_object.hpp"

namespace kvm::test {

class FakeDuplication final : public FakeObject<IDXGIOutputDuplication> {
 public:
  FakeDuplication(std::shared_ptr<FakeOutput> output, ID3D11Device* device,
                  ID3D11DeviceContext* context, std::shared_ptr<std::atomic<int>> live)
      : output_(std::move(output)), device_(device), context_(context), live_(std::move(live)) {
    size_ = output_->surface_size();
    mode_ = output_->mode_;
    system_memory_ = output_->system_memory_;
    D3D11_TEXTURE2D_DESC desc{};
    desc.Width = static_cast<UINT>(size_.width);
    desc.Height = static_cast<UINT>(size_.height);
    desc.MipLevels = desc.ArraySize = 1;
    desc.Format = mode_.hdr ? DXGI_FORMAT_R16G16B16A16_FLOAT : DXGI_FORMAT_B8G8R8A8_UNORM;
    desc.SampleDesc.Count = 1;
    desc.BindFlags = D3D11_BIND_RENDER_TARGET | D3D11_BIND_SHADER_RESOURCE;
    if (FAILED(device->CreateTexture2D(&desc, nullptr, &texture_)))
      throw std::runtime_error("no texture");
    device_->AddRef();
    context_->AddRef();
    ++*live_;
  }

  void STDMETHODCALLTYPE GetDesc(DXGI_OUTDUPL_DESC* desc) override {
    *desc = {};
    // The mode is that of the desktop, after rotation; the texture is not.
    desc->ModeDesc.Width = static_cast<UINT>(mode_.bounds.width);
    desc->ModeDesc.Height = static_cast<UINT>(mode_.bounds.height);
    desc->ModeDesc.RefreshRate = {60, 1};
    desc->ModeDesc.Format = mode_.hdr ? DXGI_FORMAT_R16G16B16A16_FLOAT : DXGI_FORMAT_B8G8R8A8_UNORM;
    desc->Rotation = mode_.rotation;
    desc->DesktopImageInSystemMemory = system_memory_ ? TRUE : FALSE;
  }
  HRESULT STDMETHODCALLTYPE AcquireNextFrame(UINT timeout_ms, DXGI_OUTDUPL_FRAME_INFO* info,
                                             IDXGIResource** resource) override;
  HRESULT STDMETHODCALLTYPE GetFrameDirtyRects(UINT size, RECT* rects, UINT* needed) override {
    const std::lock_guard lock(output_->mutex_);
    return give(frame_.dirty, size, rects, needed);
  }
  HRESULT STDMETHODCALLTYPE GetFrameMoveRects(UINT size, DXGI_OUTDUPL_MOVE_RECT* moves,
                                              UINT* needed) override {
    const std::lock_guard lock(output_->mutex_);
    return give(frame_.moves, size, moves, needed);
  }
  HRESULT STDMETHODCALLTYPE GetFramePointerShape(UINT size, void* buffer, UINT* needed,
                                                 DXGI_OUTDUPL_POINTER_SHAPE_INFO* info) override {
    if (info == nullptr) return E_INVALIDARG;
    const std::lock_guard lock(output_->mutex_);
    const HRESULT result =
        give(frame_shape_.bytes, size, static_cast<std::uint8_t*>(buffer), needed);
    if (result == S_OK) *info = frame_shape_.info;
    return result;
  }
  HRESULT STDMETHODCALLTYPE MapDesktopSurface(DXGI_MAPPED_RECT* rect) override;
  HRESULT STDMETHODCALLTYPE UnMapDesktopSurface() override;
  HRESULT STDMETHODCALLTYPE ReleaseFrame() override;

 private:
  ~FakeDuplication() override {
    {
      const std::lock_guard lock(output_->mutex_);
      output_->duplication_ = nullptr;
      output_->held_ = false;
    }
    // Whoever still holds the texture has forgotten to let go of it.
    if (texture_->Release() == 0) --*live_;
    context_->Release();
    device_->Release();
  }

  // Callable with the lock only, as all below.
  [[nodiscard]] HRESULT wrong_call() {
    ++output_->timing_.wrong_calls;
    return DXGI_ERROR_INVALID_CALL;
  }
  template <typename T>
  [[nodiscard]] HRESULT give(const std::vector<T>& from, UINT size, T* to, UINT* needed) {
    if (needed == nullptr) return E_INVALIDARG;
    *needed = static_cast<UINT>(from.size() * sizeof(T));
    if (output_->lost_ != S_OK) return output_->lost_;
    if (!output_->held_) return wrong_call();
    if (size < *needed) return DXGI_ERROR_MORE_DATA;
    if (to == nullptr && *needed > 0) return E_INVALIDARG;
    if (*needed > 0) std::memcpy(to, from.data(), *needed);
    return S_OK;
  }
  [[nodiscard]] bool anything_pending() const {
    const auto& pending = output_->pending_;
    return pending.frames > 0 || pending.pointer_moved != 0 || (pending.whole && first_);
  }
  [[nodiscard]] std::size_t pixel_bytes() const { return mode_.hdr ? 8 : 4; }
  void draw_image();
  void spoil(const FakeOutput::Pending& told);
  void put(std::size_t pixel, std::uint32_t rgb);
  void upload();

  std::shared_ptr<FakeOutput> output_;
  ID3D11Device* device_;
  ID3D11DeviceContext* context_;
  ID3D11Texture2D* texture_ = nullptr;
  std::shared_ptr<std::atomic<int>> live_;
  Rect size_;
  Mode mode_;
  bool system_memory_ = false;
  bool mapped_ = false;
  bool first_ = true;
  std::vector<std::uint8_t> image_;
  FakeOutput::Pending frame_;
  PointerShape frame_shape_;
  std::int64_t released_ns_ = 0;
  std::int64_t timed_out_ns_ = 0;
};

void FakeDuplication::put(std::size_t pixel, std::uint32_t rgb) {
  std::uint8_t* to = image_.data() + pixel * pixel_bytes();
  if (!mode_.hdr) {
    const std::uint32_t bgrx = rgb | 0xa5000000U;  // alpha is undefined
    std::memcpy(to, &bgrx, sizeof bgrx);
    return;
  }
  const auto channel = [&](unsigned shift) {
    if (const std::uint32_t eighths = rgb >> 24; eighths != 0)
      return half_of(static_cast<float>(eighths) / 8.0F * scrgb_of(255, mode_.sdr_white_nits));
    return half_of(scrgb_of(static_cast<std::uint8_t>(rgb >> shift), mode_.sdr_white_nits));
  };
  const std::array<std::uint16_t, 4> half{channel(16), channel(8), channel(0), half_of(1.0F)};
  std::memcpy(to, half.data(), sizeof half);
}

void FakeDuplication::draw_image() {
  image_.resize(output_->surface_.size() * pixel_bytes());
  for (std::size_t i = 0; i < output_->surface_.size(); ++i)
    put(i, output_->black_ ? 0 : output_->surface_[i]);
}

void FakeDuplication::spoil(const FakeOutput::Pending& told) {
  TileMap tiles(mode_.bounds.width, mode_.bounds.height);
  for (const RECT& rect : told.dirty) tiles.add(output_->to_upright(rect));
  for (const auto& move : told.moves) tiles.add(output_->to_upright(move.DestinationRect));
  for (int y = 0; y < size_.height; ++y) {
    for (int x = 0; x < size_.width; ++x) {
      if (!tiles.intersects(output_->to_upright({x, y, x + 1, y + 1})))
        put(static_cast<std::size_t>(y * size_.width + x), 0x00ff00ffU);
    }
  }
}

void FakeDuplication::upload() {
  context_->UpdateSubresource(
      texture_, 0, nullptr, image_.data(),
      static_cast<UINT>(static_cast<std::size_t>(size_.width) * pixel_bytes()), 0);
}

HRESULT FakeDuplication::AcquireNextFrame(UINT timeout_ms, DXGI_OUTDUPL_FRAME_INFO* info,
                                          IDXGIResource** resource) {
  if (info == nullptr || resource == nullptr) return E_INVALIDARG;
  *resource = nullptr;
  std::unique_lock lock(output_->mutex_);
  FakeOutput::Timing& timing = output_->timing_;
  ++timing.acquires;
  timing.longest_wait_ms = std::max(timing.longest_wait_ms, timeout_ms);
  const std::int64_t asked = now_ns();
  if (const auto at = std::exchange(released_ns_, 0); at != 0)
    timing.longest_unheld_ns = std::max(timing.longest_unheld_ns, asked - at);
  if (const auto at = std::exchange(timed_out_ns_, 0); at != 0)
    timing.shortest_rest_ns = std::min(timing.shortest_rest_ns, asked - at);
  if (output_->lost_ != S_OK) return output_->lost_;
  if (output_->held_) return wrong_call();
  const auto ready = [&] { return output_->lost_ != S_OK || anything_pending(); };
  if (!output_->changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), ready)) {
    if (timeout_ms > 0) timed_out_ns_ = now_ns();
    return DXGI_ERROR_WAIT_TIMEOUT;
  }
  if (output_->lost_ != S_OK) return output_->lost_;

  frame_ = std::exchange(output_->pending_, {});
  if (frame_.whole) {
    frame_.moves.clear();
    frame_.dirty.clear();
  }
  frame_shape_ = frame_.new_shape ? output_->shape_ : PointerShape{};
  first_ = false;
  draw_image();
  if (output_->spoil_ && !frame_.whole) spoil(frame_);
  upload();

  std::memset(static_cast<void*>(info), 0, sizeof *info);
  info->LastPresentTime.QuadPart = frame_.presented;
  info->LastMouseUpdateTime.QuadPart = frame_.pointer_moved;
  info->AccumulatedFrames = frame_.frames;
  info->RectsCoalesced = frame_.coalesced ? TRUE : FALSE;
  info->ProtectedContentMaskedOut = output_->protected_ ? TRUE : FALSE;
  if (frame_.pointer_moved != 0) {
    info->PointerPosition.Position = output_->pointer_;
    info->PointerPosition.Visible = output_->pointer_visible_ ? TRUE : FALSE;
  } else {  // to be ignored then
    info->PointerPosition.Position = {-9999, 7777};
    info->PointerPosition.Visible = output_->pointer_visible_ ? FALSE : TRUE;
  }
  info->TotalMetadataBufferSize = static_cast<UINT>(
      frame_.moves.size() * sizeof(DXGI_OUTDUPL_MOVE_RECT) + frame_.dirty.size() * sizeof(RECT));
  info->PointerShapeBufferSize = static_cast<UINT>(frame_shape_.bytes.size());
  output_->held_ = true;
  ++timing.frames;
  return texture_->QueryInterface(__uuidof(IDXGIResource), reinterpret_cast<void**>(resource));
}

HRESULT FakeDuplication::MapDesktopSurface(DXGI_MAPPED_RECT* rect) {
  if (rect == nullptr) return E_INVALIDARG;
  const std::lock_guard lock(output_->mutex_);
  if (output_->lost_ != S_OK) return output_->lost_;
  if (!output_->held_ || mapped_) return wrong_call();
  if (!system_memory_) return DXGI_ERROR_UNSUPPORTED;
  mapped_ = true;
  ++output_->timing_.mapped;
  rect->Pitch = static_cast<INT>(static_cast<std::size_t>(size_.width) * pixel_bytes());
  rect->pBits = image_.data();
  return S_OK;
}

HRESULT FakeDuplication::UnMapDesktopSurface() {
  const std::lock_guard lock(output_->mutex_);
  if (output_->lost_ != S_OK) return output_->lost_;
  if (!mapped_) return wrong_call();
  mapped_ = false;
  return S_OK;
}

HRESULT FakeDuplication::ReleaseFrame() {
  const std::lock_guard lock(output_->mutex_);
  if (output_->lost_ != S_OK) return output_->lost_;
  if (!output_->held_ || mapped_) return wrong_call();
  output_->held_ = false;
  released_ns_ = now_ns();
  // The surface is invalid from here on.
  std::fill(image_.begin(), image_.end(), std::uint8_t{0x3a});
  upload();
  return S_OK;
}

FakeDesktop::FakeDesktop() {
  make_device();
}

FakeDesktop::~FakeDesktop() {
  context_->Release();
  device_->Release();
}

void FakeDesktop::make_device() {
  const D3D_FEATURE_LEVEL level = D3D_FEATURE_LEVEL_11_0;
  const HRESULT made = D3D11CreateDevice(nullptr, D3D_DRIVER_TYPE_HARDWARE, nullptr,
                                         D3D11_CREATE_DEVICE_BGRA_SUPPORT, &level, 1,
                                         D3D11_SDK_VERSION, &device_, nullptr, &context_);
  if (FAILED(made)) throw std::runtime_error("no D3D11 device");
  base_references_ = 0;
  base_references_ = device_references();
}

FakeOutput& FakeDesktop::add(const std::string& id, const Mode& mode, unsigned seed) {
  const std::lock_guard lock(mutex_);
  current_ = false;
  auto& output = outputs_[id];
  output = std::make_shared<FakeOutput>(id, mode, seed);
  return *output;
}

void FakeDesktop::remove(const std::string& id) {
  const std::lock_guard lock(mutex_);
  current_ = false;
  const auto found = outputs_.find(id);
  found->second->lose(DXGI_ERROR_ACCESS_LOST);
  outputs_.erase(found);
}

void FakeDesktop::set_mode(const std::string& id, const Mode& mode, unsigned seed) {
  const std::lock_guard lock(mutex_);
  current_ = false;
  outputs_.at(id)->set_mode(mode, seed);
}

void FakeDesktop::make_outdated() {
  const std::lock_guard lock(mutex_);
  current_ = false;
}

void FakeDesktop::remove_device() {
  const std::lock_guard lock(mutex_);
  for (auto& [id, output] : outputs_) output->lose(DXGI_ERROR_DEVICE_REMOVED);
  context_->Release();
  device_->Release();
  make_device();
}

int FakeDesktop::live() const {
  return *live_;
}

int FakeDesktop::device_references() {
  device_->AddRef();
  return static_cast<int>(device_->Release()) - base_references_;
}

std::vector<DisplayInfo> FakeDesktop::monitors() {
  const std::lock_guard lock(mutex_);
  current_ = true;
  std::vector<DisplayInfo> all;
  for (const auto& [id, output] : outputs_) {
    const std::lock_guard inner(output->mutex_);
    DisplayInfo& told = all.emplace_back();
    told.id = told.name = id;
    told.bounds = output->mode_.bounds;
    told.primary = output->mode_.bounds.x == 0 && output->mode_.bounds.y == 0;
  }
  return all;
}

HRESULT FakeDesktop::duplicate(const std::string& id, dxgi::Duplicated& result) {
  const std::lock_guard lock(mutex_);
  const auto found = outputs_.find(id);
  if (found == outputs_.end()) return DXGI_ERROR_NOT_FOUND;
  FakeOutput& output = *found->second;
  const std::lock_guard inner(output.mutex_);
  ++output.duplicate_calls_;
  if (output.refusals_ > 0) {
    --output.refusals_;
    return output.refusal_;
  }
  if (output.duplication_ != nullptr) return E_INVALIDARG;
  output.duplication_ = new FakeDuplication(found->second, device_, context_, live_);
  output.begin();
  *result.duplication.put() = output.duplication_;
  *result.device.put() = device_;
  device_->AddRef();
  *result.context.put() = context_;
  context_->AddRef();
  result.output.monitor.id = result.output.monitor.name = id;
  result.output.monitor.bounds = output.mode_.bounds;
  result.output.monitor.primary = output.mode_.bounds.x == 0 && output.mode_.bounds.y == 0;
  result.output.rotation = output.mode_.rotation;
  result.output.hdr = output.mode_.hdr;
  result.output.sdr_white_nits = output.mode_.sdr_white_nits;
  return S_OK;
}

bool FakeDesktop::is_current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

}  // namespace kvm::test
