// AMD's AMF as FFmpeg calls it for H.264, without a GPU of AMD's: our own encoder makes it,
// while its packet is asked for. What the real one would refuse is refused here.
#include <deque>
#include <optional>
#include <vector>

#include "amf_objects.hpp"
#include "fake_chip.hpp"

namespace kvm::test {

FakeAmf amf_control;

namespace {

// Of a texture's private data: which slice is meant.
constexpr GUID kSliceOfTexture{
    0x28115527, 0xe7c3, 0x4b66, {0x99, 0xd3, 0x4f, 0x2a, 0xe6, 0xb4, 0x7f, 0xaf}};

std::vector<std::uint8_t> seen;
std::vector<std::uint8_t> made;
AmfProperties told;

std::int64_t told_number(const wchar_t* name) {
  const auto found = told.find(name);
  if (found == told.end()) return -1;
  return found->second.type == amf::AMF_VARIANT_BOOL ? found->second.boolValue
                                                     : found->second.int64Value;
}

class Context final : public AmfStorage<amf::AMFContext> {
 public:
  bool ready = false;

  AMF_RESULT AMF_STD_CALL Terminate() override {
    ready = false;
    device_.reset();
    return AMF_OK;
  }
  // Null: one of its own.
  AMF_RESULT AMF_STD_CALL InitDX11(void* device, amf::AMF_DX_VERSION) override {
    if (ready) return AMF_ALREADY_INITIALIZED;
    if (device != nullptr && amf_control.refuses_device) return AMF_NOT_SUPPORTED;
    if (device != nullptr) static_cast<ID3D11Device*>(device)->AddRef();
    *device_.put() = static_cast<ID3D11Device*>(device);
    ready = true;
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL AllocBuffer(amf::AMF_MEMORY_TYPE type, amf_size size,
                                      amf::AMFBuffer** buffer) override {
    if (type != amf::AMF_MEMORY_HOST) return amf_mistake<AMF_RESULT>("a buffer of another kind");
    *buffer = new AmfBuffer(std::vector<std::uint8_t>(size));
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL CreateSurfaceFromDX11Native(void* native, amf::AMFSurface** surface,
                                                      amf::AMFSurfaceObserver*) override {
    auto& texture = *static_cast<ID3D11Texture2D*>(native);
    ComPtr<ID3D11Device> device;
    texture.GetDevice(device.put());
    D3D11_TEXTURE2D_DESC facts{};
    texture.GetDesc(&facts);
    int slice = -1;
    UINT size = sizeof slice;
    if (!device_ || device.get() != device_.get() || facts.Format != DXGI_FORMAT_NV12 ||
        texture.GetPrivateData(kSliceOfTexture, &size, &slice) != S_OK || slice < 0)
      return amf_mistake<AMF_RESULT>("a texture of another device or kind");
    *surface = new AmfSurface(texture, facts, static_cast<unsigned>(slice));
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL AllocSurface(amf::AMF_MEMORY_TYPE type, amf::AMF_SURFACE_FORMAT format,
                                       amf_int32 width, amf_int32 height,
                                       amf::AMFSurface** surface) override {
    if (!ready) return AMF_NOT_INITIALIZED;
    if (type != amf::AMF_MEMORY_HOST || format != amf::AMF_SURFACE_NV12 || width % 2 != 0 ||
        height % 2 != 0)
      return amf_mistake<AMF_RESULT>("a surface of another kind");
    *surface = new AmfSurface(width, height);
    return AMF_OK;
  }
  KVM_AMF_UNUSED(AMF_RESULT, InitDX9, void*)
  KVM_AMF_UNUSED(void*, GetDX9Device, amf::AMF_DX_VERSION)
  KVM_AMF_UNUSED(AMF_RESULT, LockDX9)
  KVM_AMF_UNUSED(AMF_RESULT, UnlockDX9)
  KVM_AMF_UNUSED(void*, GetDX11Device, amf::AMF_DX_VERSION)
  KVM_AMF_UNUSED(AMF_RESULT, LockDX11)
  KVM_AMF_UNUSED(AMF_RESULT, UnlockDX11)
  KVM_AMF_UNUSED(AMF_RESULT, InitOpenCL, void*)
  KVM_AMF_UNUSED(void*, GetOpenCLContext)
  KVM_AMF_UNUSED(void*, GetOpenCLCommandQueue)
  KVM_AMF_UNUSED(void*, GetOpenCLDeviceID)
  KVM_AMF_UNUSED(AMF_RESULT, GetOpenCLComputeFactory, amf::AMFComputeFactory**)
  KVM_AMF_UNUSED(AMF_RESULT, InitOpenCLEx, amf::AMFComputeDevice*)
  KVM_AMF_UNUSED(AMF_RESULT, LockOpenCL)
  KVM_AMF_UNUSED(AMF_RESULT, UnlockOpenCL)
  KVM_AMF_UNUSED(AMF_RESULT, InitOpenGL, amf_handle, amf_handle, amf_handle)
  KVM_AMF_UNUSED(amf_handle, GetOpenGLContext)
  KVM_AMF_UNUSED(amf_handle, GetOpenGLDrawable)
  KVM_AMF_UNUSED(AMF_RESULT, LockOpenGL)
  KVM_AMF_UNUSED(AMF_RESULT, UnlockOpenGL)
  KVM_AMF_UNUSED(AMF_RESULT, InitXV, void*)
  KVM_AMF_UNUSED(void*, GetXVDevice)
  KVM_AMF_UNUSED(AMF_RESULT, LockXV)
  KVM_AMF_UNUSED(AMF_RESULT, UnlockXV)
  KVM_AMF_UNUSED(AMF_RESULT, InitGralloc, void*)
  KVM_AMF_UNUSED(void*, GetGrallocDevice)
  KVM_AMF_UNUSED(AMF_RESULT, LockGralloc)
  KVM_AMF_UNUSED(AMF_RESULT, UnlockGralloc)
  KVM_AMF_UNUSED(AMF_RESULT, AllocAudioBuffer, amf::AMF_MEMORY_TYPE, amf::AMF_AUDIO_FORMAT,
                 amf_int32, amf_int32, amf_int32, amf::AMFAudioBuffer**)
  KVM_AMF_UNUSED(AMF_RESULT, CreateBufferFromHostNative, void*, amf_size, amf::AMFBuffer**,
                 amf::AMFBufferObserver*)
  KVM_AMF_UNUSED(AMF_RESULT, CreateSurfaceFromHostNative, amf::AMF_SURFACE_FORMAT, amf_int32,
                 amf_int32, amf_int32, amf_int32, void*, amf::AMFSurface**,
                 amf::AMFSurfaceObserver*)
  KVM_AMF_UNUSED(AMF_RESULT, CreateSurfaceFromDX9Native, void*, amf::AMFSurface**,
                 amf::AMFSurfaceObserver*)
  KVM_AMF_UNUSED(AMF_RESULT, CreateSurfaceFromOpenGLNative, amf::AMF_SURFACE_FORMAT, amf_handle,
                 amf::AMFSurface**, amf::AMFSurfaceObserver*)
  KVM_AMF_UNUSED(AMF_RESULT, CreateSurfaceFromGrallocNative, amf_handle, amf::AMFSurface**,
                 amf::AMFSurfaceObserver*)
  KVM_AMF_UNUSED(AMF_RESULT, CreateSurfaceFromOpenCLNative, amf::AMF_SURFACE_FORMAT, amf_int32,
                 amf_int32, void**, amf::AMFSurface**, amf::AMFSurfaceObserver*)
  KVM_AMF_UNUSED(AMF_RESULT, CreateBufferFromOpenCLNative, void*, amf_size, amf::AMFBuffer**)
  KVM_AMF_UNUSED(AMF_RESULT, GetCompute, amf::AMF_MEMORY_TYPE, amf::AMFCompute**)

 private:
  ComPtr<ID3D11Device> device_;
};

class Component final : public AmfStorage<amf::AMFComponent> {
 public:
  ~Component() override { Component::Terminate(); }

  AMF_RESULT AMF_STD_CALL Init(amf::AMF_SURFACE_FORMAT format, amf_int32 width,
                               amf_int32 height) override {
    if (chip_) return AMF_ALREADY_INITIALIZED;
    if (format != amf::AMF_SURFACE_NV12) return AMF_SURFACE_FORMAT_NOT_SUPPORTED;
    const amf_int64 usage = number(AMF_VIDEO_ENCODER_USAGE);
    if (usage < 0) return amf_mistake<AMF_RESULT>("no usage");
    if (number(AMF_VIDEO_ENCODER_TARGET_BITRATE) <= 0) return amf_mistake<AMF_RESULT>("no bitrate");
    if (amf_control.refuses_all ||
        (amf_control.refuses_ultra_low && usage == AMF_VIDEO_ENCODER_USAGE_ULTRA_LOW_LATENCY))
      return AMF_NOT_SUPPORTED;
    FakeChip first(width, height);  // it says what SPS and PPS the other one will write
    const auto unit = first.code(true);
    if (!unit) return AMF_FAIL;
    std::vector<std::uint8_t> sets;
    keep_parameter_sets(unit->data, sets);
    auto* buffer = new AmfBuffer(std::move(sets));
    properties[AMF_VIDEO_ENCODER_EXTRADATA] = static_cast<amf::AMFInterface*>(buffer);
    buffer->Release();
    width_ = width;
    height_ = height;
    chip_.emplace(width, height);
    told = properties;
    told.erase(AMF_VIDEO_ENCODER_EXTRADATA);
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL SetProperty(const wchar_t* name, amf::AMFVariantStruct value) override {
    if (std::wcscmp(name, AMF_VIDEO_ENCODER_QUERY_TIMEOUT) == 0 && !amf_control.waits)
      return AMF_NOT_FOUND;
    if (chip_) told[name] = value;
    return AmfStorage::SetProperty(name, value);
  }
  AMF_RESULT AMF_STD_CALL Terminate() override {
    for (AmfSurface* surface : queue_) surface->Release();
    queue_.clear();
    chip_.reset();
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL Drain() override {
    draining_ = true;
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL SubmitInput(amf::AMFData* data) override {
    if (!chip_) return AMF_NOT_INITIALIZED;
    if (amf_control.fails_to_encode != 0)
      return static_cast<AMF_RESULT>(amf_control.fails_to_encode);
    auto* surface = dynamic_cast<AmfSurface*>(data);
    if (surface == nullptr || draining_) return amf_mistake<AMF_RESULT>("no surface");
    auto* luma = surface->GetPlaneAt(0);
    if (luma->GetWidth() != width_ || luma->GetHeight() != height_)
      return amf_mistake<AMF_RESULT>("a surface of another size");
    if (queue_.size() == kQueue) return AMF_INPUT_FULL;
    surface->Acquire();
    queue_.push_back(surface);
    polls_ = 0;
    return AMF_OK;
  }
  // The picture is read here: until now it must not have changed.
  AMF_RESULT AMF_STD_CALL QueryOutput(amf::AMFData** data) override {
    *data = nullptr;
    if (!chip_) return AMF_NOT_INITIALIZED;
    if (queue_.empty()) return draining_ ? AMF_EOF : AMF_REPEAT;
    const bool waits = number(AMF_VIDEO_ENCODER_QUERY_TIMEOUT) > 0;
    if (!waits && polls_++ < amf_control.slow) return AMF_REPEAT;
    AmfSurface* surface = queue_.front();
    queue_.pop_front();
    amf_control.textures = surface->fetch();
    auto* luma = surface->GetPlaneAt(0);
    auto* chroma = surface->GetPlaneAt(1);
    chip_->read({static_cast<std::uint8_t*>(luma->GetNative()), luma->GetHPitch(),
                 static_cast<std::uint8_t*>(chroma->GetNative()), chroma->GetHPitch()});
    const auto unit = chip_->code(surface->number(AMF_VIDEO_ENCODER_FORCE_PICTURE_TYPE) ==
                                  AMF_VIDEO_ENCODER_PICTURE_TYPE_IDR);
    if (unit) *data = packet_of(*surface, *unit);
    surface->Release();
    return unit ? AMF_OK : AMF_FAIL;
  }
  KVM_AMF_UNUSED(AMF_RESULT, ReInit, amf_int32, amf_int32)
  KVM_AMF_UNUSED(AMF_RESULT, Flush)
  KVM_AMF_UNUSED(amf::AMFContext*, GetContext)
  KVM_AMF_UNUSED(AMF_RESULT, SetOutputDataAllocatorCB, amf::AMFDataAllocatorCB*)
  KVM_AMF_UNUSED(AMF_RESULT, GetCaps, amf::AMFCaps**)
  KVM_AMF_UNUSED(AMF_RESULT, Optimize, amf::AMFComponentOptimizationCallback*)
  KVM_AMF_UNUSED_CONST(amf_size, GetPropertiesInfoCount)
  KVM_AMF_UNUSED_CONST(AMF_RESULT, GetPropertyInfo, amf_size, const amf::AMFPropertyInfo**)
  KVM_AMF_UNUSED_CONST(AMF_RESULT, GetPropertyInfo, const wchar_t*, const amf::AMFPropertyInfo**)
  KVM_AMF_UNUSED_CONST(AMF_RESULT, ValidateProperty, const wchar_t*, amf::AMFVariantStruct,
                       amf::AMFVariantStruct*)

 private:
  static constexpr std::size_t kQueue = 2;

  // A packet has the properties of its picture, as the real one's.
  AmfBuffer* packet_of(const AmfSurface& surface, const AccessUnit& unit) {
    seen = chip_->seen();
    made = unit.data;
    amf_control.seen = seen.data();
    amf_control.seen_size = seen.size();
    amf_control.made = made.data();
    amf_control.made_size = made.size();
    auto* packet = new AmfBuffer(made);
    packet->properties = surface.properties;
    packet->properties[AMF_VIDEO_ENCODER_OUTPUT_DATA_TYPE] =
        static_cast<amf_int64>(unit.keyframe ? AMF_VIDEO_ENCODER_OUTPUT_DATA_TYPE_IDR
                                             : AMF_VIDEO_ENCODER_OUTPUT_DATA_TYPE_P);
    return packet;
  }

  std::optional<FakeChip> chip_;  // initialised
  int width_ = 0;
  int height_ = 0;
  std::deque<AmfSurface*> queue_;
  bool draining_ = false;
  int polls_ = 0;
};

class Log final : public amf::AMFTrace {
 public:
  void AMF_STD_CALL RegisterWriter(const wchar_t*, amf::AMFTraceWriter*, amf_bool) override {
    ++amf_control.writers;
  }
  void AMF_STD_CALL UnregisterWriter(const wchar_t*) override { --amf_control.writers; }
  amf_int32 AMF_STD_CALL SetGlobalLevel(amf_int32 level) override { return level; }
  amf_bool AMF_STD_CALL EnableWriter(const wchar_t*, bool) override { return false; }
  amf_int32 AMF_STD_CALL SetWriterLevel(const wchar_t*, amf_int32 level) override { return level; }
  KVM_AMF_UNUSED(void, TraceW, const wchar_t*, amf_int32, amf_int32, const wchar_t*, amf_int32,
                 const wchar_t*, ...)
  KVM_AMF_UNUSED(void, Trace, const wchar_t*, amf_int32, amf_int32, const wchar_t*, const wchar_t*,
                 va_list*)
  KVM_AMF_UNUSED(amf_int32, GetGlobalLevel)
  KVM_AMF_UNUSED(amf_bool, WriterEnabled, const wchar_t*)
  KVM_AMF_UNUSED(AMF_RESULT, TraceEnableAsync, amf_bool)
  KVM_AMF_UNUSED(AMF_RESULT, TraceFlush)
  KVM_AMF_UNUSED(AMF_RESULT, SetPath, const wchar_t*)
  KVM_AMF_UNUSED(AMF_RESULT, GetPath, wchar_t*, amf_size*)
  KVM_AMF_UNUSED(amf_int32, GetWriterLevel, const wchar_t*)
  KVM_AMF_UNUSED(amf_int32, SetWriterLevelForScope, const wchar_t*, const wchar_t*, amf_int32)
  KVM_AMF_UNUSED(amf_int32, GetWriterLevelForScope, const wchar_t*, const wchar_t*)
  KVM_AMF_UNUSED(amf_int32, GetIndentation)
  KVM_AMF_UNUSED(void, Indent, amf_int32)
  KVM_AMF_UNUSED(const wchar_t*, GetResultText, AMF_RESULT)
  KVM_AMF_UNUSED(const wchar_t*, SurfaceGetFormatName, const amf::AMF_SURFACE_FORMAT)
  KVM_AMF_UNUSED(amf::AMF_SURFACE_FORMAT, SurfaceGetFormatByName, const wchar_t*)
  KVM_AMF_UNUSED(const wchar_t*, GetMemoryTypeName, const amf::AMF_MEMORY_TYPE)
  KVM_AMF_UNUSED(amf::AMF_MEMORY_TYPE, GetMemoryTypeByName, const wchar_t*)
  KVM_AMF_UNUSED(const wchar_t*, GetSampleFormatName, const amf::AMF_AUDIO_FORMAT)
  KVM_AMF_UNUSED(amf::AMF_AUDIO_FORMAT, GetSampleFormatByName, const wchar_t*)
};

class Factory final : public amf::AMFFactory {
 public:
  AMF_RESULT AMF_STD_CALL CreateContext(amf::AMFContext** context) override {
    *context = new Context;
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL CreateComponent(amf::AMFContext* context, const wchar_t* id,
                                          amf::AMFComponent** component) override {
    if (std::wcscmp(id, AMFVideoEncoderVCE_AVC) != 0) return AMF_NOT_SUPPORTED;
    if (!static_cast<Context*>(context)->ready) return AMF_NOT_INITIALIZED;
    *component = new Component;
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL GetTrace(amf::AMFTrace** trace) override {
    *trace = &trace_;
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL GetDebug(amf::AMFDebug** debug) override {
    *debug = nullptr;  // kept, and never called
    return AMF_OK;
  }
  KVM_AMF_UNUSED(AMF_RESULT, SetCacheFolder, const wchar_t*)
  KVM_AMF_UNUSED(const wchar_t*, GetCacheFolder)
  KVM_AMF_UNUSED(AMF_RESULT, GetPrograms, amf::AMFPrograms**)

 private:
  Log trace_;
};

Factory factory;

}  // namespace
}  // namespace kvm::test

extern "C" __declspec(dllexport) kvm::test::FakeAmf* fake_amf() {
  kvm::test::amf_control.property = kvm::test::told_number;
  return &kvm::test::amf_control;
}

extern "C" __declspec(dllexport) AMF_RESULT AMF_CDECL_CALL AMFQueryVersion(amf_uint64* version) {
  *version = AMF_FULL_VERSION;
  return AMF_OK;
}

extern "C" __declspec(dllexport) AMF_RESULT AMF_CDECL_CALL AMFInit(amf_uint64 version,
                                                                   amf::AMFFactory** factory) {
  if (version > AMF_FULL_VERSION) return AMF_NOT_SUPPORTED;
  *factory = &kvm::test::factory;
  return AMF_OK;
}
