// NVENC as FFmpeg calls it for D3D11 textures, without a GPU: the texture is read back, and our own
// encoder makes its H.264.
#include "base/windows.hpp"
// Windows' own first.
#include <d3d11.h>
#include <ffnvcodec/nvEncodeAPI.h>

#include <memory>
#include <vector>

#include "../fake_sharing.hpp"
#include "base/clock.hpp"
#include "encode/screen/screen_encoder.hpp"
#include "fake_nvenc.hpp"

namespace {

using kvm::test::FakeNvenc;

FakeNvenc control;
std::vector<std::uint32_t> seen;

struct Texture {
  ID3D11Texture2D* texture;
  unsigned index;
  NV_ENC_BUFFER_FORMAT format;
};

struct Session {
  ID3D11Device* device;
  std::unique_ptr<kvm::Encoder> encoder;
  kvm::EncoderFormat format;
  std::vector<std::uint8_t> bitstream;
  bool idr = false;
  std::uint64_t timestamp = 0;
};

Session& of(void* encoder) {
  return *static_cast<Session*>(encoder);
}

NVENCSTATUS wrong() {
  ++control.wrong_calls;
  return NV_ENC_ERR_INVALID_CALL;
}

NVENCSTATUS NVENCAPI open(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS* params, void** encoder) {
  if (params->deviceType != NV_ENC_DEVICE_TYPE_DIRECTX) return NV_ENC_ERR_UNSUPPORTED_DEVICE;
  auto* device = static_cast<ID3D11Device*>(params->device);
  device->AddRef();
  *encoder = new Session{device, nullptr, {}, {}};
  ++control.sessions;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI destroy(void* encoder) {
  of(encoder).device->Release();
  delete static_cast<Session*>(encoder);
  --control.sessions;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI codec_count(void*, std::uint32_t* count) {
  *count = 1;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI codecs(void*, GUID* guids, std::uint32_t size, std::uint32_t* count) {
  *count = size < 1 ? 0 : 1;
  if (*count == 1) guids[0] = NV_ENC_CODEC_H264_GUID;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI capability(void*, GUID, NV_ENC_CAPS_PARAM* asked, int* value) {
  switch (asked->capsToQuery) {
    case NV_ENC_CAPS_WIDTH_MAX:
    case NV_ENC_CAPS_HEIGHT_MAX:
      *value = 4096;
      break;
    case NV_ENC_CAPS_SUPPORT_DYN_BITRATE_CHANGE:
    case NV_ENC_CAPS_SUPPORT_MULTIPLE_REF_FRAMES:  // FFmpeg asks for it where one is wanted, too
      *value = 1;
      break;
    default:
      *value = 0;
  }
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI preset(void*, GUID, GUID, NV_ENC_PRESET_CONFIG*) {
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI preset_ex(void*, GUID, GUID, NV_ENC_TUNING_INFO, NV_ENC_PRESET_CONFIG*) {
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI initialize(void* encoder, NV_ENC_INITIALIZE_PARAMS* params) {
  Session& session = of(encoder);
  session.format.width = session.format.bgra_width = static_cast<int>(params->encodeWidth);
  session.format.height = session.format.bgra_height = static_cast<int>(params->encodeHeight);
  session.format.pixel_format = kvm::PixelFormat::kBgra;
  session.encoder = kvm::make_screen_encoder();
  std::vector<std::string> notes;
  session.encoder->open(session.format, {}, notes);
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI reconfigure(void*, NV_ENC_RECONFIGURE_PARAMS*) {
  ++control.reconfigured;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI make_bitstream(void* encoder, NV_ENC_CREATE_BITSTREAM_BUFFER* params) {
  params->bitstreamBuffer = &of(encoder).bitstream;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI end_bitstream(void*, NV_ENC_OUTPUT_PTR) {
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI register_texture(void* encoder, NV_ENC_REGISTER_RESOURCE* params) {
  if (control.refuses_textures) return NV_ENC_ERR_RESOURCE_REGISTER_FAILED;
  if (params->resourceType != NV_ENC_INPUT_RESOURCE_TYPE_DIRECTX) return wrong();
  auto* texture = static_cast<ID3D11Texture2D*>(params->resourceToRegister);
  D3D11_TEXTURE2D_DESC facts{};
  texture->GetDesc(&facts);
  ID3D11Device* owner = nullptr;
  texture->GetDevice(&owner);
  owner->Release();
  if (owner != of(encoder).device || (facts.BindFlags & D3D11_BIND_RENDER_TARGET) == 0 ||
      params->bufferFormat != NV_ENC_BUFFER_FORMAT_ARGB)
    return wrong();
  ++control.registered;
  params->registeredResource = new Texture{texture, params->subResourceIndex, params->bufferFormat};
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI unregister(void*, NV_ENC_REGISTERED_PTR texture) {
  --control.registered;
  delete static_cast<Texture*>(texture);
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI map(void*, NV_ENC_MAP_INPUT_RESOURCE* params) {
  ++control.mapped;
  params->mappedResource = params->registeredResource;
  params->mappedBufferFmt = static_cast<Texture*>(params->registeredResource)->format;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI unmap(void*, NV_ENC_INPUT_PTR) {
  --control.mapped;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI encode(void* encoder, NV_ENC_PIC_PARAMS* params) {
  if ((params->encodePicFlags & NV_ENC_PIC_FLAG_EOS) != 0) return NV_ENC_SUCCESS;
  if (control.fails) return NV_ENC_ERR_GENERIC;
  if (control.mapped == 0 || params->inputBuffer == nullptr) return wrong();
  Session& session = of(encoder);
  const auto* texture = static_cast<Texture*>(params->inputBuffer);
  seen = kvm::test::pixels_of(*texture->texture, texture->index);
  control.seen = seen.data();
  control.seen_size = seen.size();
  kvm::CpuPlanes planes;
  planes.data[0] = reinterpret_cast<std::uint8_t*>(seen.data());
  planes.stride[0] = std::ptrdiff_t{session.format.width} * 4;
  kvm::EncodeHints hints;
  hints.keyframe = (params->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR) != 0;
  hints.pts_us = static_cast<std::int64_t>(params->inputTimeStamp);
  hints.wall_ns = kvm::now_ns();
  auto result = session.encoder->encode(planes, hints);
  auto* unit = std::get_if<kvm::AccessUnit>(&result);
  if (unit == nullptr) return NV_ENC_ERR_GENERIC;
  session.bitstream = std::move(unit->data);
  session.idr = unit->keyframe;
  session.timestamp = params->inputTimeStamp;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI lock(void* encoder, NV_ENC_LOCK_BITSTREAM* params) {
  Session& session = of(encoder);
  params->bitstreamBufferPtr = session.bitstream.data();
  params->bitstreamSizeInBytes = static_cast<std::uint32_t>(session.bitstream.size());
  params->outputTimeStamp = session.timestamp;
  params->pictureType = session.idr ? NV_ENC_PIC_TYPE_IDR : NV_ENC_PIC_TYPE_P;
  return NV_ENC_SUCCESS;
}

NVENCSTATUS NVENCAPI unlock(void*, NV_ENC_OUTPUT_PTR) {
  return NV_ENC_SUCCESS;
}

const char* NVENCAPI last_error(void*) {
  return "said by a fake";
}

}  // namespace

extern "C" __declspec(dllexport) FakeNvenc* fake_nvenc() {
  return &control;
}

extern "C" __declspec(dllexport) NVENCSTATUS NVENCAPI
NvEncodeAPIGetMaxSupportedVersion(std::uint32_t* version) {
  *version = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION;
  return NV_ENC_SUCCESS;
}

extern "C" __declspec(dllexport) NVENCSTATUS NVENCAPI
NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST* list) {
  list->nvEncOpenEncodeSessionEx = open;
  list->nvEncDestroyEncoder = destroy;
  list->nvEncGetEncodeGUIDCount = codec_count;
  list->nvEncGetEncodeGUIDs = codecs;
  list->nvEncGetEncodeCaps = capability;
  list->nvEncGetEncodePresetConfig = preset;
  list->nvEncGetEncodePresetConfigEx = preset_ex;
  list->nvEncInitializeEncoder = initialize;
  list->nvEncReconfigureEncoder = reconfigure;
  list->nvEncCreateBitstreamBuffer = make_bitstream;
  list->nvEncDestroyBitstreamBuffer = end_bitstream;
  list->nvEncRegisterResource = register_texture;
  list->nvEncUnregisterResource = unregister;
  list->nvEncMapInputResource = map;
  list->nvEncUnmapInputResource = unmap;
  list->nvEncEncodePicture = encode;
  list->nvEncLockBitstream = lock;
  list->nvEncUnlockBitstream = unlock;
  list->nvEncGetLastErrorString = last_error;
  return NV_ENC_SUCCESS;
}
