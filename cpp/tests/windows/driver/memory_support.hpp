// Encoding from memory for the tests of drivers that have no GPU.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/windows.hpp"
#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/h264_sps.hpp"

namespace kvm::test {

// NV12 without gaps; each seed is another picture, of which a part alone is new.
[[nodiscard]] inline std::vector<std::uint8_t> nv12_picture(int width, int height, int seed) {
  std::vector<std::uint8_t> picture;
  for (int y = 0; y < height * 3 / 2; ++y) {
    for (int x = 0; x < width; ++x) {
      const bool moves = x / 16 % 4 == seed % 4;
      picture.push_back(
          static_cast<std::uint8_t>(16 + (x * 3 + y * 5 + (moves ? seed * 37 : 0)) % 220));
    }
  }
  return picture;
}

// An encoder that takes such pictures.
class MemoryEncoding {
 public:
  MemoryEncoding(const char* name, int width, int height)
      : encoder(make_avcodec_encoder(name)), format{width, height, PixelFormat::kNv12} {}
  void open() { encoder->open(format, config, notes); }
  // The reason why it does not open.
  [[nodiscard]] std::string refusal() {
    try {
      open();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  EncodeResult encode(bool keyframe = false) {
    picture = nv12_picture(format.width, format.height, ++pictures);
    CpuPlanes planes;
    planes.data = {picture.data(), picture.data() + format.width * format.height, nullptr};
    planes.stride = {format.width, format.width, 0};
    EncodeHints hints;
    hints.keyframe = keyframe;
    hints.pts_us = pictures;
    hints.wall_ns = now_ns();
    return encoder->encode(planes, hints);
  }
  [[nodiscard]] bool has_note(const std::string& part) const {
    for (const std::string& note : notes) {
      if (note.find(part) != std::string::npos) return true;
    }
    return false;
  }

  std::unique_ptr<Encoder> encoder;
  EncoderFormat format;
  StreamConfig config;
  std::vector<std::string> notes;
  std::vector<std::uint8_t> picture;  // the last one
  int pictures = 0;
};

[[nodiscard]] inline std::string failure(const EncodeResult& result) {
  const auto* failed = std::get_if<Failed>(&result);
  return failed == nullptr ? "" : failed->reason;
}

[[nodiscard]] inline std::vector<std::uint8_t> bytes(const std::uint8_t* data, std::size_t size) {
  return {data, data + size};
}

// What becomes of a driver's access unit: keyframes say their colours.
[[nodiscard]] inline std::vector<std::uint8_t> mended(std::vector<std::uint8_t> unit) {
  mend_access_unit(unit, {});
  return unit;
}

// Exported by a library beside the program, as FFmpeg or a vendor's dispatcher finds it.
template <typename Control>
[[nodiscard]] Control& driver_of(const wchar_t* file, const char* name) {
  const HMODULE library = LoadLibraryW(file);
  REQUIRE(library != nullptr);
  const auto get =
      reinterpret_cast<Control* (*)()>(reinterpret_cast<void*>(GetProcAddress(library, name)));
  REQUIRE((get != nullptr));
  return *get();
}

}  // namespace kvm::test
