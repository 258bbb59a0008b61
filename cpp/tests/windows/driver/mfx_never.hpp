// Functions of the Media SDK that FFmpeg does not call for H.264.
#pragma once

#include <mfxdefs.h>

namespace kvm::test {

// Keeps that it was called.
mfxStatus mfx_never(const char* what);

}  // namespace kvm::test
