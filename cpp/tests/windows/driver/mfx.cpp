// Intel's Media SDK as FFmpeg calls it for H.264, without a GPU of Intel's: our own encoder makes
// it, while the picture is waited for. What the real one would refuse is refused here.
#include <mfxcommon.h>
#include <mfxstructures.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <vector>

#include "fake_chip.hpp"
#include "fake_mfx.hpp"
#include "mfx_never.hpp"
#include "mfx_video_memory.hpp"

#define EXPORT extern "C" __declspec(dllexport)

namespace {

using kvm::test::FakeChip;
using kvm::test::FakeMfx;
using kvm::test::MfxVideoMemory;

FakeMfx control;
std::vector<std::uint8_t> seen;
std::vector<std::uint8_t> made;

struct Task {
  mfxFrameSurface1* surface;
  mfxBitstream* bitstream;
  bool idr;
};

struct Session {
  mfxIMPL impl = 0;
  mfxVideoParam param{};
  std::optional<FakeChip> chip;  // initialised
  std::vector<std::uint8_t> sps;
  std::vector<std::uint8_t> pps;
  std::optional<Task> task;  // as many as AsyncDepth says, which has to be one
  MfxVideoMemory video;
  Session* parent = nullptr;
};
std::set<Session*> sessions;

mfxStatus wrong(const char* what, mfxStatus status = MFX_ERR_UNDEFINED_BEHAVIOR) {
  ++control.wrong_calls;
  control.wrong = what;
  return status;
}

template <typename T>
[[nodiscard]] T* find(const mfxVideoParam& param, mfxU32 id) {
  for (mfxU16 i = 0; i < param.NumExtParam; ++i) {
    if (param.ExtParam[i]->BufferId == id) return reinterpret_cast<T*>(param.ExtParam[i]);
  }
  return nullptr;
}

// Media SDK's, whose name oneVPL's headers lack.
constexpr mfxU32 kMultiFrame = MFX_MAKEFOURCC('M', 'F', 'R', 'P');

[[nodiscard]] bool buffers_known(const mfxVideoParam& param) {
  for (mfxU16 i = 0; i < param.NumExtParam; ++i) {
    const mfxExtBuffer& buffer = *param.ExtParam[i];
    const auto is = [&](mfxU32 id, std::size_t size) {
      return buffer.BufferId == id && buffer.BufferSz == size;
    };
    if (!is(MFX_EXTBUFF_CODING_OPTION, sizeof(mfxExtCodingOption)) &&
        !is(MFX_EXTBUFF_CODING_OPTION2, sizeof(mfxExtCodingOption2)) &&
        !is(MFX_EXTBUFF_CODING_OPTION3, sizeof(mfxExtCodingOption3)) &&
        !is(MFX_EXTBUFF_CODING_OPTION_SPSPPS, sizeof(mfxExtCodingOptionSPSPPS)) &&
        !is(MFX_EXTBUFF_VIDEO_SIGNAL_INFO, sizeof(mfxExtVideoSignalInfo)) &&
        buffer.BufferId != kMultiFrame)
      return false;
  }
  return true;
}

// What no chip codes, or this one must not.
[[nodiscard]] mfxStatus check(const Session& session, const mfxVideoParam& param) {
  const mfxInfoMFX& mfx = param.mfx;
  const mfxFrameInfo& info = mfx.FrameInfo;
  if (mfx.CodecId != MFX_CODEC_AVC || info.FourCC != MFX_FOURCC_NV12 ||
      info.ChromaFormat != MFX_CHROMAFORMAT_YUV420 || info.PicStruct != MFX_PICSTRUCT_PROGRESSIVE)
    return MFX_ERR_UNSUPPORTED;
  if (info.Width % 16 != 0 || info.Height % 16 != 0 || info.CropX + info.CropW > info.Width ||
      info.CropY + info.CropH > info.Height || info.CropW % 2 != 0 || info.CropH % 2 != 0)
    return wrong("sizes", MFX_ERR_INVALID_VIDEO_PARAM);
  if (info.FrameRateExtN == 0 || info.FrameRateExtD == 0)
    return wrong("frame rate", MFX_ERR_INVALID_VIDEO_PARAM);
  if (param.IOPattern != MFX_IOPATTERN_IN_SYSTEM_MEMORY &&
      (param.IOPattern != MFX_IOPATTERN_IN_VIDEO_MEMORY || !session.video.ready()))
    return wrong("memory", MFX_ERR_INVALID_VIDEO_PARAM);
  if (!buffers_known(param)) return wrong("buffers", MFX_ERR_UNSUPPORTED);
  switch (mfx.RateControlMethod) {
    case MFX_RATECONTROL_QVBR:
      if (control.refuses_quality) return MFX_ERR_UNSUPPORTED;
      [[fallthrough]];
    case MFX_RATECONTROL_VBR:
    case MFX_RATECONTROL_CBR:
      if (mfx.TargetKbps == 0 || mfx.TargetKbps > mfx.MaxKbps)
        return wrong("rates", MFX_ERR_INVALID_VIDEO_PARAM);
      break;
    default:
      return MFX_ERR_UNSUPPORTED;
  }
  if (control.refuses_low_power && mfx.LowPower == MFX_CODINGOPTION_ON) return MFX_ERR_UNSUPPORTED;
  return control.refuses_all ? MFX_ERR_UNSUPPORTED : MFX_ERR_NONE;
}

void keep(Session& session, const mfxVideoParam& param) {
  session.param = param;
  session.param.ExtParam = nullptr;
  session.param.NumExtParam = 0;
  const mfxInfoMFX& mfx = param.mfx;
  control.textures = param.IOPattern == MFX_IOPATTERN_IN_VIDEO_MEMORY;
  const int unit = std::max<int>(mfx.BRCParamMultiplier, 1);
  control.async_depth = param.AsyncDepth;
  control.low_power = mfx.LowPower;
  control.rate_control = mfx.RateControlMethod;
  control.target_kbps = mfx.TargetKbps * unit;
  control.max_kbps = mfx.MaxKbps * unit;
  control.gop_size = mfx.GopPicSize;
  control.gop_distance = mfx.GopRefDist;
  control.references = mfx.NumRefFrame;
  control.usage = mfx.TargetUsage;
  if (const auto* option = find<mfxExtCodingOption>(param, MFX_EXTBUFF_CODING_OPTION)) {
    control.buffered = option->MaxDecFrameBuffering;
    control.recovery_points = option->RecoveryPointSEI;
  }
  if (const auto* option = find<mfxExtCodingOption3>(param, MFX_EXTBUFF_CODING_OPTION3)) {
    control.quality = option->QVBRQuality;
    control.low_delay = option->LowDelayBRC;
  }
  if (const auto* colour = find<mfxExtVideoSignalInfo>(param, MFX_EXTBUFF_VIDEO_SIGNAL_INFO))
    control.matrix = colour->MatrixCoefficients;
}

[[nodiscard]] mfxStatus check(const Session& session, const mfxEncodeCtrl* order,
                              const mfxFrameSurface1& surface, const mfxBitstream& bitstream) {
  const mfxFrameInfo& want = session.param.mfx.FrameInfo;
  const mfxFrameInfo& info = surface.Info;
  const bool textures = session.param.IOPattern == MFX_IOPATTERN_IN_VIDEO_MEMORY;
  // FFmpeg says of a texture's surface that all of it is the picture; what counts is Init's.
  const bool crops = textures ? info.CropW >= want.CropW && info.CropH >= want.CropH
                              : info.CropW == want.CropW && info.CropH == want.CropH;
  if (info.FourCC != want.FourCC || info.Width != want.Width || info.Height != want.Height ||
      !crops || info.PicStruct != want.PicStruct)
    return wrong("a surface of another kind", MFX_ERR_INVALID_VIDEO_PARAM);
  if (textures) {
    if (surface.Data.Y != nullptr || surface.Data.MemId == nullptr)
      return wrong("a surface without a texture");
  } else if (surface.Data.Y == nullptr || surface.Data.UV == nullptr ||
             surface.Data.Pitch < want.Width)
    return wrong("a surface without memory");
  if (surface.Data.Locked != 0) return wrong("a surface that is in use");
  if (bitstream.Data == nullptr || bitstream.DataLength != 0)
    return wrong("no room for the result");
  if (bitstream.MaxLength < session.param.mfx.BufferSizeInKB * 1000u)
    return wrong("little room for the result", MFX_ERR_NOT_ENOUGH_BUFFER);
  constexpr mfxU16 kIntra = MFX_FRAMETYPE_I | MFX_FRAMETYPE_REF;
  if (order != nullptr && order->FrameType != 0 && order->FrameType != kIntra &&
      order->FrameType != (kIntra | MFX_FRAMETYPE_IDR))
    return wrong("frame type", MFX_ERR_INVALID_VIDEO_PARAM);
  return session.task ? wrong("a picture before the last one is done") : MFX_ERR_NONE;
}

}  // namespace

mfxStatus kvm::test::mfx_never(const char* what) {
  return wrong(what, MFX_ERR_UNSUPPORTED);
}

EXPORT FakeMfx* fake_mfx() {
  return &control;
}

EXPORT mfxStatus MFXInitEx(mfxInitParam param, Session** session) {
  if (param.Version.Major != 1 || param.Version.Minor > 35) return MFX_ERR_UNSUPPORTED;
  *session = *sessions.insert(new Session).first;
  (*session)->impl = param.Implementation;
  ++control.sessions;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXInit(mfxIMPL impl, mfxVersion* version, Session** session) {
  mfxInitParam param{};
  param.Implementation = impl;
  if (version != nullptr) param.Version = *version;
  return MFXInitEx(param, session);
}

EXPORT mfxStatus MFXClose(Session* session) {
  if (sessions.erase(session) == 0) return wrong("close", MFX_ERR_INVALID_HANDLE);
  for (const Session* other : sessions) {
    if (other->parent == session) wrong("close before those that have joined it");
  }
  if (session->chip) --control.encoders;
  delete session;
  --control.sessions;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXQueryIMPL(Session* session, mfxIMPL* impl) {
  *impl = session->impl;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXQueryVersion(Session*, mfxVersion* version) {
  version->Major = 1;
  version->Minor = 35;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoCORE_QueryPlatform(Session*, mfxPlatform* platform) {
  *platform = {};
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXJoinSession(Session* parent, Session* child) {
  if (child->parent != nullptr || parent == child) return wrong("join");
  child->parent = parent;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoCORE_SetHandle(Session* session, mfxHandleType type, mfxHDL handle) {
  const mfxStatus status = session->video.set_device(session->impl, type, handle);
  return status == MFX_ERR_NONE ? status : wrong("a device", status);
}

EXPORT mfxStatus MFXVideoCORE_GetHandle(Session* session, mfxHandleType type, mfxHDL* handle) {
  return session->video.device(type, handle);
}

EXPORT mfxStatus MFXVideoCORE_SetFrameAllocator(Session* session, const void* allocator) {
  const mfxStatus status = session->video.set_allocator(allocator);
  return status == MFX_ERR_NONE ? status : wrong("an allocator", status);
}

EXPORT mfxStatus MFXVideoENCODE_Query(Session* session, mfxVideoParam* in, mfxVideoParam* out) {
  if (out == nullptr) return MFX_ERR_NULL_PTR;
  if (in == nullptr) return MFX_ERR_UNSUPPORTED;
  const mfxStatus status = check(*session, *in);
  if (in == out || status != MFX_ERR_NONE) return status;
  out->mfx = in->mfx;
  out->AsyncDepth = in->AsyncDepth;
  out->IOPattern = in->IOPattern;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoENCODE_QueryIOSurf(Session* session, mfxVideoParam* param,
                                            mfxFrameAllocRequest* request) {
  const mfxStatus status = check(*session, *param);
  if (status != MFX_ERR_NONE) return status;
  request->Info = param->mfx.FrameInfo;
  request->NumFrameMin = 1;
  request->NumFrameSuggested = param->AsyncDepth;
  request->Type =
      MFX_MEMTYPE_FROM_ENCODE | MFX_MEMTYPE_EXTERNAL_FRAME |
      (param->IOPattern == MFX_IOPATTERN_IN_VIDEO_MEMORY ? MFX_MEMTYPE_VIDEO_MEMORY_DECODER_TARGET
                                                         : MFX_MEMTYPE_SYSTEM_MEMORY);
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoENCODE_Init(Session* session, mfxVideoParam* param) {
  if (session->chip) return wrong("a second Init");
  const mfxStatus status = check(*session, *param);
  if (status != MFX_ERR_NONE) return status;
  keep(*session, *param);
  const mfxFrameInfo& info = param->mfx.FrameInfo;
  if (param->IOPattern == MFX_IOPATTERN_IN_VIDEO_MEMORY) {
    const mfxStatus had = session->video.begin(info);
    if (had != MFX_ERR_NONE) return wrong("the application's surfaces", had);
  }
  FakeChip first(info.CropW, info.CropH);  // it says what SPS and PPS the other one will write
  const auto unit = first.code(true);
  if (!unit) return MFX_ERR_UNKNOWN;
  kvm::for_each_nal(unit->data, [&](const kvm::NalUnit& nal) {
    if (nal.type() != kvm::kNalSps && nal.type() != kvm::kNalPps) return true;
    auto& to = nal.type() == kvm::kNalSps ? session->sps : session->pps;
    to = {0, 0, 0, 1};
    to.insert(to.end(), nal.bytes.begin(), nal.bytes.end());
    return true;
  });
  session->chip.emplace(info.CropW, info.CropH);
  ++control.encoders;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoENCODE_Reset(Session* session, mfxVideoParam* param) {
  if (!session->chip) return MFX_ERR_NOT_INITIALIZED;
  if (session->task) return wrong("a Reset while a picture is coded");
  const mfxStatus status = check(*session, *param);
  if (status != MFX_ERR_NONE) return status;
  const mfxFrameInfo& info = param->mfx.FrameInfo;
  const mfxFrameInfo& had = session->param.mfx.FrameInfo;
  if (info.Width != had.Width || info.Height != had.Height ||
      param->AsyncDepth != session->param.AsyncDepth ||
      param->IOPattern != session->param.IOPattern)
    return wrong("a Reset to another size", MFX_ERR_INCOMPATIBLE_VIDEO_PARAM);
  keep(*session, *param);
  ++control.resets;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoENCODE_Close(Session* session) {
  if (!session->chip) return MFX_ERR_NOT_INITIALIZED;
  if (session->task) --control.locked;
  session->task.reset();
  session->chip.reset();
  session->video.end();
  --control.encoders;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoENCODE_GetVideoParam(Session* session, mfxVideoParam* param) {
  if (!session->chip) return MFX_ERR_NOT_INITIALIZED;
  if (!buffers_known(*param)) return wrong("buffers to fill", MFX_ERR_UNSUPPORTED);
  if (auto* sets = find<mfxExtCodingOptionSPSPPS>(*param, MFX_EXTBUFF_CODING_OPTION_SPSPPS)) {
    if (sets->SPSBufSize < session->sps.size() || sets->PPSBufSize < session->pps.size())
      return MFX_ERR_NOT_ENOUGH_BUFFER;
    std::copy(session->sps.begin(), session->sps.end(), sets->SPSBuffer);
    std::copy(session->pps.begin(), session->pps.end(), sets->PPSBuffer);
    sets->SPSBufSize = static_cast<mfxU16>(session->sps.size());
    sets->PPSBufSize = static_cast<mfxU16>(session->pps.size());
  }
  mfxInfoMFX& mfx = session->param.mfx;
  const int raw = mfx.FrameInfo.Width * mfx.FrameInfo.Height * 3 / 2;
  mfx.BufferSizeInKB = std::max(mfx.BufferSizeInKB, static_cast<mfxU16>(raw / 1000 + 10));
  mfx.BRCParamMultiplier = std::max<mfxU16>(mfx.BRCParamMultiplier, 1);
  param->mfx = mfx;
  param->AsyncDepth = session->param.AsyncDepth;
  param->IOPattern = session->param.IOPattern;
  return MFX_ERR_NONE;
}

EXPORT mfxStatus MFXVideoENCODE_EncodeFrameAsync(Session* session, mfxEncodeCtrl* order,
                                                 mfxFrameSurface1* surface, mfxBitstream* bitstream,
                                                 Session** done) {
  if (!session->chip) return MFX_ERR_NOT_INITIALIZED;
  if (bitstream == nullptr || done == nullptr) return MFX_ERR_NULL_PTR;
  *done = nullptr;
  if (surface == nullptr) return MFX_ERR_MORE_DATA;  // nothing is kept back
  const mfxStatus status = check(*session, order, *surface, *bitstream);
  if (status != MFX_ERR_NONE) return status;
  if (control.busy > 0) {
    --control.busy;
    return MFX_WRN_DEVICE_BUSY;
  }
  if (control.fails_to_encode != 0) return static_cast<mfxStatus>(control.fails_to_encode);
  ++surface->Data.Locked;
  ++control.locked;
  session->task =
      Task{surface, bitstream, order != nullptr && (order->FrameType & MFX_FRAMETYPE_IDR) != 0};
  *done = session;
  return MFX_ERR_NONE;
}

// The picture is read here: until now it must not have changed.
EXPORT mfxStatus MFXVideoCORE_SyncOperation(Session* session, Session* done, mfxU32) {
  if (!session->task || done != session) return wrong("nothing to wait for", MFX_ERR_NULL_PTR);
  if (control.in_execution > 0) {
    --control.in_execution;
    return MFX_WRN_IN_EXECUTION;
  }
  const Task task = *session->task;
  session->task.reset();
  --task.surface->Data.Locked;
  --control.locked;
  if (control.fails_to_finish != 0) return static_cast<mfxStatus>(control.fails_to_finish);
  const mfxFrameData& data = task.surface->Data;
  FakeChip& chip = *session->chip;
  if (control.textures) {
    const auto read = [&chip](const kvm::test::Nv12& picture) { chip.read(picture); };
    if (!session->video.read(data.MemId, session->param.mfx.FrameInfo, read))
      return wrong("a texture of another device, kind or size", MFX_ERR_INVALID_HANDLE);
  } else {
    chip.read({data.Y, data.Pitch, data.UV, data.Pitch});
  }
  seen = chip.seen();
  const auto unit = chip.code(task.idr);
  if (!unit || unit->data.size() > task.bitstream->MaxLength) return MFX_ERR_UNKNOWN;
  made = unit->data;
  control.seen = seen.data();
  control.seen_size = seen.size();
  control.made = made.data();
  control.made_size = made.size();
  std::copy(made.begin(), made.end(), task.bitstream->Data);
  task.bitstream->DataLength = static_cast<mfxU32>(made.size());
  task.bitstream->TimeStamp = data.TimeStamp;
  task.bitstream->DecodeTimeStamp = static_cast<mfxI64>(data.TimeStamp);
  task.bitstream->FrameType = static_cast<mfxU16>(
      MFX_FRAMETYPE_REF | (unit->keyframe ? MFX_FRAMETYPE_I | MFX_FRAMETYPE_IDR : MFX_FRAMETYPE_P));
  return MFX_ERR_NONE;
}
