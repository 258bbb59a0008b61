// H.264 through libavcodec: the hardware encoders and libx264.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "encode/encoder.hpp"

namespace kvm {

// An encoder by libavcodec's name. Throws Error{kConfig} for a name that settings.cpp does not
// know.
[[nodiscard]] std::unique_ptr<Encoder> make_avcodec_encoder(std::string_view name);

// Whether the linked libavcodec contains it; says nothing about the machine.
[[nodiscard]] bool avcodec_has_encoder(std::string_view name);

// "5.1.9-0+deb12u1" and "GPL version 2 or later", for doctor.
[[nodiscard]] std::string ffmpeg_version();
[[nodiscard]] std::string ffmpeg_license();

}  // namespace kvm
