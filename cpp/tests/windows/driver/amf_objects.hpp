// AMF's interfaces for a driver that has no GPU: properties are real, what FFmpeg never calls is
// answered as a mistake.
#pragma once

#include "base/windows.hpp"
// Windows' own first.
#include <AMF/components/VideoEncoderVCE.h>
#include <AMF/core/Context.h>
#include <AMF/core/Factory.h>
#include <d3d11.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../nv12_support.hpp"
#include "base/com_ptr.hpp"
#include "fake_amf.hpp"

namespace kvm::test {

extern FakeAmf amf_control;

template <typename Result>
Result amf_mistake(const char* what) {
  ++amf_control.wrong_calls;
  amf_control.wrong = what;
  if constexpr (std::is_same_v<Result, AMF_RESULT>) {
    return AMF_NOT_SUPPORTED;
  } else {
    return Result();
  }
}

#define KVM_AMF_UNUSED(result, name, ...)           \
  result AMF_STD_CALL name(__VA_ARGS__) override {  \
    return ::kvm::test::amf_mistake<result>(#name); \
  }
// Of const methods.
#define KVM_AMF_UNUSED_CONST(result, name, ...)          \
  result AMF_STD_CALL name(__VA_ARGS__) const override { \
    return ::kvm::test::amf_mistake<result>(#name);      \
  }

// Counted; begins with one reference and is deleted with its last.
template <class Interface>
class AmfObject : public Interface {
 public:
  amf_long AMF_STD_CALL Acquire() override { return ++references_; }
  amf_long AMF_STD_CALL Release() override {
    const amf_long left = --references_;
    if (left == 0) delete this;
    return left;
  }
  AMF_RESULT AMF_STD_CALL QueryInterface(const amf::AMFGuid& id, void** object) override {
    if (!is(id)) return AMF_NO_INTERFACE;
    *object = static_cast<Interface*>(this);
    Acquire();
    return AMF_OK;
  }

 protected:
  AmfObject() { ++amf_control.objects; }
  virtual ~AmfObject() { --amf_control.objects; }
  AmfObject(const AmfObject&) = delete;
  AmfObject& operator=(const AmfObject&) = delete;
  [[nodiscard]] virtual bool is(const amf::AMFGuid& id) const {
    return id == Interface::IID() || id == amf::AMFInterface::IID();
  }

 private:
  amf_long references_ = 1;
};

using AmfProperties = std::map<std::wstring, amf::AMFVariant>;

template <class Interface>
class AmfStorage : public AmfObject<Interface> {
 public:
  AMF_RESULT AMF_STD_CALL SetProperty(const wchar_t* name, amf::AMFVariantStruct value) override {
    properties[name] = value;
    return AMF_OK;
  }
  AMF_RESULT AMF_STD_CALL GetProperty(const wchar_t* name,
                                      amf::AMFVariantStruct* value) const override {
    const auto found = properties.find(name);
    if (found == properties.end()) return AMF_NOT_FOUND;
    return amf::AMFVariantCopy(value, &found->second);
  }
  amf_bool AMF_STD_CALL HasProperty(const wchar_t* name) const override {
    return properties.count(name) != 0;
  }
  [[nodiscard]] amf_int64 number(const wchar_t* name) const {
    const auto found = properties.find(name);
    if (found == properties.end()) return -1;
    return found->second.type == amf::AMF_VARIANT_BOOL ? found->second.boolValue
                                                       : found->second.int64Value;
  }
  KVM_AMF_UNUSED_CONST(amf_size, GetPropertyCount)
  KVM_AMF_UNUSED_CONST(AMF_RESULT, GetPropertyAt, amf_size, wchar_t*, amf_size,
                       amf::AMFVariantStruct*)
  KVM_AMF_UNUSED(AMF_RESULT, Clear)
  KVM_AMF_UNUSED_CONST(AMF_RESULT, AddTo, amf::AMFPropertyStorage*, amf_bool, amf_bool)
  KVM_AMF_UNUSED_CONST(AMF_RESULT, CopyTo, amf::AMFPropertyStorage*, amf_bool)
  KVM_AMF_UNUSED(void, AddObserver, amf::AMFPropertyStorageObserver*)
  KVM_AMF_UNUSED(void, RemoveObserver, amf::AMFPropertyStorageObserver*)

  AmfProperties properties;
};

template <class Interface>
class AmfData : public AmfStorage<Interface> {
 public:
  amf::AMF_MEMORY_TYPE AMF_STD_CALL GetMemoryType() override { return amf::AMF_MEMORY_HOST; }
  void AMF_STD_CALL SetPts(amf_pts pts) override { pts_ = pts; }
  amf_pts AMF_STD_CALL GetPts() override { return pts_; }
  KVM_AMF_UNUSED(AMF_RESULT, Duplicate, amf::AMF_MEMORY_TYPE, amf::AMFData**)
  KVM_AMF_UNUSED(AMF_RESULT, Convert, amf::AMF_MEMORY_TYPE)
  KVM_AMF_UNUSED(AMF_RESULT, Interop, amf::AMF_MEMORY_TYPE)
  KVM_AMF_UNUSED(amf_bool, IsReusable)
  KVM_AMF_UNUSED(void, SetDuration, amf_pts)
  KVM_AMF_UNUSED(amf_pts, GetDuration)

 protected:
  [[nodiscard]] bool is(const amf::AMFGuid& id) const override {
    return id == amf::AMFData::IID() || AmfStorage<Interface>::is(id);
  }

 private:
  amf_pts pts_ = 0;
};

class AmfBuffer final : public AmfData<amf::AMFBuffer> {
 public:
  explicit AmfBuffer(std::vector<std::uint8_t> data) : data_(std::move(data)) {}
  amf_size AMF_STD_CALL GetSize() override { return data_.size(); }
  void* AMF_STD_CALL GetNative() override { return data_.data(); }
  amf::AMF_DATA_TYPE AMF_STD_CALL GetDataType() override { return amf::AMF_DATA_BUFFER; }
  using AmfStorage::AddObserver;
  using AmfStorage::RemoveObserver;
  KVM_AMF_UNUSED(AMF_RESULT, SetSize, amf_size)
  KVM_AMF_UNUSED(void, AddObserver, amf::AMFBufferObserver*)
  KVM_AMF_UNUSED(void, RemoveObserver, amf::AMFBufferObserver*)

 private:
  std::vector<std::uint8_t> data_;
};

// One plane of a surface, which owns it.
class AmfPlane final : public AmfObject<amf::AMFPlane> {
 public:
  AmfPlane(amf::AMF_PLANE_TYPE type, std::uint8_t* data, int width, int height, int pitch)
      : type_(type), data_(data), width_(width), height_(height), pitch_(pitch) {}
  ~AmfPlane() override = default;
  amf::AMF_PLANE_TYPE AMF_STD_CALL GetType() override { return type_; }
  void* AMF_STD_CALL GetNative() override { return data_; }
  amf_int32 AMF_STD_CALL GetWidth() override { return width_; }
  amf_int32 AMF_STD_CALL GetHeight() override { return height_; }
  amf_int32 AMF_STD_CALL GetHPitch() override { return pitch_; }
  KVM_AMF_UNUSED(amf_int32, GetPixelSizeInBytes)
  KVM_AMF_UNUSED(amf_int32, GetOffsetX)
  KVM_AMF_UNUSED(amf_int32, GetOffsetY)
  KVM_AMF_UNUSED(amf_int32, GetVPitch)
  KVM_AMF_UNUSED(bool, IsTiled)

 private:
  amf::AMF_PLANE_TYPE type_;
  std::uint8_t* data_;
  int width_;
  int height_;
  int pitch_;
};

// NV12 in memory, with a gap after each row, or in a texture.
class AmfSurface final : public AmfData<amf::AMFSurface> {
 public:
  AmfSurface(int width, int height)
      : pitch_((width + 255) / 256 * 256),
        data_(static_cast<std::size_t>(pitch_) * static_cast<std::size_t>(height) * 3 / 2),
        luma_(amf::AMF_PLANE_Y, data_.data(), width, height, pitch_),
        chroma_(amf::AMF_PLANE_UV, data_.data() + pitch_ * height, width / 2, height / 2, pitch_) {}
  AmfSurface(ID3D11Texture2D& texture, const D3D11_TEXTURE2D_DESC& facts, unsigned slice)
      : AmfSurface(static_cast<int>(facts.Width), static_cast<int>(facts.Height)) {
    texture.AddRef();
    *texture_.put() = &texture;
    slice_ = slice;
  }
  // What is in the texture now. False when there is none.
  [[nodiscard]] bool fetch() {
    if (!texture_) return false;
    const auto bytes = nv12_of(*texture_, slice_);
    const int width = luma_.GetWidth();
    for (int y = 0; y < luma_.GetHeight() * 3 / 2; ++y)
      std::copy_n(bytes.data() + y * width, width, data_.data() + y * pitch_);
    return true;
  }
  AMF_RESULT AMF_STD_CALL SetCrop(amf_int32 x, amf_int32 y, amf_int32 width,
                                  amf_int32 height) override {
    if (x == 0 && y == 0 && width == luma_.GetWidth() && height == luma_.GetHeight()) return AMF_OK;
    return amf_mistake<AMF_RESULT>("a crop");
  }
  amf::AMF_DATA_TYPE AMF_STD_CALL GetDataType() override { return amf::AMF_DATA_SURFACE; }
  amf::AMF_SURFACE_FORMAT AMF_STD_CALL GetFormat() override { return amf::AMF_SURFACE_NV12; }
  amf_size AMF_STD_CALL GetPlanesCount() override { return 2; }
  amf::AMFPlane* AMF_STD_CALL GetPlaneAt(amf_size index) override {
    return index == 0 ? &luma_ : &chroma_;
  }
  amf::AMFPlane* AMF_STD_CALL GetPlane(amf::AMF_PLANE_TYPE type) override {
    return type == amf::AMF_PLANE_Y ? &luma_ : &chroma_;
  }
  using AmfStorage::AddObserver;
  using AmfStorage::RemoveObserver;
  KVM_AMF_UNUSED(amf::AMF_FRAME_TYPE, GetFrameType)
  KVM_AMF_UNUSED(void, SetFrameType, amf::AMF_FRAME_TYPE)
  KVM_AMF_UNUSED(AMF_RESULT, CopySurfaceRegion, amf::AMFSurface*, amf_int32, amf_int32, amf_int32,
                 amf_int32, amf_int32, amf_int32)
  KVM_AMF_UNUSED(void, AddObserver, amf::AMFSurfaceObserver*)
  KVM_AMF_UNUSED(void, RemoveObserver, amf::AMFSurfaceObserver*)

 private:
  int pitch_;
  std::vector<std::uint8_t> data_;
  AmfPlane luma_;
  AmfPlane chroma_;
  ComPtr<ID3D11Texture2D> texture_;
  unsigned slice_ = 0;
};

}  // namespace kvm::test
