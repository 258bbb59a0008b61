#include "mfx_never.hpp"

// The dispatcher takes no library that lacks one of these; whoever calls one is told so.
#define NONE(name)                                    \
  extern "C" __declspec(dllexport) mfxStatus name() { \
    return kvm::test::mfx_never(#name);               \
  }                                                   \
  static_assert(true)

NONE(MFXDisjoinSession);
NONE(MFXCloneSession);
NONE(MFXSetPriority);
NONE(MFXGetPriority);
NONE(MFXVideoENCODE_GetEncodeStat);
NONE(MFXVideoDECODE_Query);
NONE(MFXVideoDECODE_DecodeHeader);
NONE(MFXVideoDECODE_QueryIOSurf);
NONE(MFXVideoDECODE_Init);
NONE(MFXVideoDECODE_Reset);
NONE(MFXVideoDECODE_Close);
NONE(MFXVideoDECODE_GetVideoParam);
NONE(MFXVideoDECODE_GetDecodeStat);
NONE(MFXVideoDECODE_SetSkipMode);
NONE(MFXVideoDECODE_GetPayload);
NONE(MFXVideoDECODE_DecodeFrameAsync);
NONE(MFXVideoVPP_Query);
NONE(MFXVideoVPP_QueryIOSurf);
NONE(MFXVideoVPP_Init);
NONE(MFXVideoVPP_Reset);
NONE(MFXVideoVPP_Close);
NONE(MFXVideoVPP_GetVideoParam);
NONE(MFXVideoVPP_GetVPPStat);
NONE(MFXVideoVPP_RunFrameVPPAsync);
