// Shared textures on their way into libavcodec: FFmpeg's own D3D11 frames, on a real device.
#include <doctest/doctest.h>

extern "C" {
#include <libavutil/hwcontext.h>
}

#include <string>
#include <tuple>
#include <vector>

#include "encode/avcodec/avcodec_encoder.hpp"
#include "encode/avcodec/d3d11_frames.hpp"
#include "nv12_support.hpp"
#include "texture_support.hpp"

namespace kvm {
namespace {

using namespace test;
using Call = FakeSharing::Call;

EncoderFormat format_of(const Desk& desk, const dxgi::TextureRing& ring) {
  EncoderFormat format;
  format.width = (desk.at.width + 1) & ~1;
  format.height = (desk.at.height + 1) & ~1;
  format.bgra_width = desk.at.width;
  format.bgra_height = desk.at.height;
  format.textures = ring.textures();
  return format;
}

// As FFmpeg brings it back to memory.
std::vector<std::uint32_t> downloaded(const AVFrame& frame) {
  const auto memory = ff::own<ff::Frame>(av_frame_alloc());
  REQUIRE(av_hwframe_transfer_data(memory.get(), &frame, 0) == 0);
  REQUIRE(memory->format == AV_PIX_FMT_BGRA);
  std::vector<std::uint32_t> pixels;
  for (int y = 0; y < frame.height; ++y) {
    const auto* row =
        reinterpret_cast<const std::uint32_t*>(memory->data[0] + y * memory->linesize[0]);
    for (int x = 0; x < frame.width; ++x) pixels.push_back(row[x] & 0x00ffffff);
  }
  return pixels;
}

ID3D11Texture2D& texture_of(const AVFrame& frame) {
  return *reinterpret_cast<ID3D11Texture2D*>(frame.data[0]);
}

std::string failure(const EncodeResult& result) {
  const auto* failed = std::get_if<Failed>(&result);
  return failed == nullptr ? "" : failed->reason;
}

}  // namespace

TEST_CASE("FFmpeg's frames get each picture, at odd sizes with its last column and row repeated") {
  for (const Rect& part : {Rect{24, 10, 142, 84}, Rect{24, 10, 141, 83}, Rect{0, 0, 200, 119}}) {
    Desk desk(part);
    const auto ring = desk.ring();
    REQUIRE(ring);
    const int before = references(*ring->textures()->encoder().device);
    {
      const ff::LogCapture log;
      const EncoderFormat format = format_of(desk, *ring);
      D3d11Frames frames(format, TextureInput::kBgra, log);
      const ff::Buffer taken(frames.reference());
      CHECK(reinterpret_cast<AVHWFramesContext*>(taken->data)->sw_format == AV_PIX_FMT_BGRA);
      const AVFrame* last = nullptr;
      for (unsigned seed = 5; seed < 12; ++seed) {
        const auto frame = desk.publish(*ring, desk.draw({30, 20, 60, 40}, seed));
        REQUIRE(frame);
        for (int again = 0; again < 2; ++again) {  // refinement
          last = frames.frame_of(*frame->on_gpu(), log);
          CHECK(last->format == AV_PIX_FMT_D3D11);
          CHECK(last->width == format.width);
          CHECK(last->height == format.height);
          CHECK(downloaded(*last) == desk.expected(format.width, format.height));
        }
      }
    }
    CHECK(references(*ring->textures()->encoder().device) == before);
    CHECK(desk.sharing->held() == 0);
    CHECK(desk.sharing->wrong_calls() == 0);
  }
}

TEST_CASE("where NV12 is wanted each picture is converted, by BT.709, and refined alike") {
  for (const Rect& part : {Rect{24, 10, 142, 84}, Rect{24, 10, 141, 83}}) {
    Desk desk(part);
    const auto ring = desk.ring();
    REQUIRE(ring);
    ID3D11Device& device = *ring->textures()->encoder().device;
    const Nv12Support support(device);
    const int before = references(device);
    {
      const ff::LogCapture log;
      const EncoderFormat format = format_of(desk, *ring);
      D3d11Frames frames(format, TextureInput::kNv12, log);
      const ff::Buffer taken(frames.reference());
      CHECK(reinterpret_cast<AVHWFramesContext*>(taken->data)->sw_format == AV_PIX_FMT_NV12);
      for (unsigned seed = 5; seed < 12; ++seed) {
        const auto frame = desk.publish(*ring, desk.draw({30, 20, 60, 40}, seed));
        REQUIRE(frame);
        for (int again = 0; again < 2; ++again) {
          const AVFrame* nv12 = frames.frame_of(*frame->on_gpu(), log);
          CHECK(nv12->format == AV_PIX_FMT_D3D11);
          CHECK(nv12->width == format.width);
          CHECK(nv12->height == format.height);
          CHECK(nv12_of(texture_of(*nv12)) == desk.expected_nv12(format.width, format.height));
        }
      }
    }
    CHECK(references(device) == before);
    CHECK(desk.sharing->held() == 0);
    CHECK(desk.sharing->wrong_calls() == 0);
  }
}

TEST_CASE("what a device does not do for NV12 is an error with its reason, and leaves nothing") {
  Desk desk({24, 10, 141, 83});
  const auto ring = desk.ring();
  REQUIRE(ring);
  ID3D11Device& device = *ring->textures()->encoder().device;
  Nv12Support support(device);
  const auto frame = desk.publish(*ring);
  REQUIRE(frame);
  const ff::LogCapture log;
  const EncoderFormat format = format_of(desk, *ring);
  const int before = references(device);
  const auto whole = [&]() -> std::string {
    try {
      D3d11Frames frames(format, TextureInput::kNv12, log);
      const AVFrame* nv12 = frames.frame_of(*frame->on_gpu(), log);
      return nv12_of(texture_of(*nv12)) == desk.expected_nv12(format.width, format.height)
                 ? ""
                 : "another picture";
    } catch (const Error& error) {
      return error.what();
    }
  };
  CHECK(whole() == "");
  using Nv12Call = Nv12Support::Call;
  for (const auto& [call, said] : {std::tuple(Nv12Call::kVertexShader, "no vertex shader"),
                                   {Nv12Call::kPixelShader, "no pixel shader"},
                                   {Nv12Call::kTexture, "texture: "},
                                   {Nv12Call::kSource, "no view of a BGRA texture"},
                                   {Nv12Call::kPlane, "no plane of an NV12 texture"}}) {
    support.fail(call, E_OUTOFMEMORY);
    const std::string reason = whole();
    support.mend();
    CAPTURE(said);
    CAPTURE(reason);
    CHECK(reason.find(said) == 0);
    CHECK(references(device) == before);
    CHECK(desk.sharing->held() == 0);
  }
  CHECK(whole() == "");
  desk.sharing->fail(Call::kAcquire, static_cast<HRESULT>(WAIT_ABANDONED));
  CHECK(whole().find("AcquireSync answers 0x00000080") != std::string::npos);
}

TEST_CASE("a picture that is lost or of another device is an error, never an old picture") {
  Desk desk({0, 0, 64, 48});
  const auto ring = desk.ring();
  const auto other = desk.ring();
  REQUIRE(ring);
  REQUIRE(other);
  const ff::LogCapture log;
  D3d11Frames frames(format_of(desk, *ring), TextureInput::kBgra, log);
  const auto frame = desk.publish(*ring);
  REQUIRE(frame);
  const auto of_other = desk.publish(*other);
  REQUIRE(of_other);
  CHECK_THROWS_WITH_AS(static_cast<void>(frames.frame_of(*of_other->on_gpu(), log)),
                       "a picture of another device", Error);
  desk.sharing->fail(Call::kAcquire, static_cast<HRESULT>(WAIT_ABANDONED));
  try {
    static_cast<void>(frames.frame_of(*frame->on_gpu(), log));
    FAIL("an abandoned mutex gives a picture");
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("AcquireSync answers 0x00000080") != std::string::npos);
  }
}

TEST_CASE("a device that FFmpeg does not take, or none, is a reason") {
  Desk desk({0, 0, 64, 48});
  const auto ring = desk.ring();
  REQUIRE(ring);
  const ff::LogCapture log;
  EncoderFormat format = format_of(desk, *ring);
  format.width = -2;
  CHECK_THROWS_AS(D3d11Frames(format, TextureInput::kBgra, log), Error);
  format.textures.reset();
  CHECK_THROWS_WITH_AS(D3d11Frames(format, TextureInput::kBgra, log),
                       "no D3D11 device to encode on", Error);
}

// Wine has no driver of any vendor; how far an encoder gets without is what is seen here.
TEST_CASE("an encoder that opens neither way says why of both, and leaves nothing on the device") {
  Desk desk({0, 0, 160, 112});
  const auto ring = desk.ring();
  REQUIRE(ring);
  const Nv12Support support(*ring->textures()->encoder().device);
  const int before = references(*ring->textures()->encoder().device);
  const EncoderFormat format = format_of(desk, *ring);
  const auto frame = desk.publish(*ring);
  REQUIRE(frame);
  int linked = 0;
  for (const std::string name : {"h264_nvenc", "h264_amf", "h264_mf"}) {
    if (!avcodec_has_encoder(name)) continue;
    ++linked;
    CAPTURE(name);
    std::vector<std::string> notes;
    const auto encoder = make_avcodec_encoder(name);
    CHECK_THROWS_AS(encoder->open(format, {}, notes), Error);
    REQUIRE(notes.size() == 1);
    CHECK(notes[0].find(name + ": pictures take the way through memory") == 0);
    const AVCodec* codec = avcodec_find_encoder_by_name(name.c_str());
    const bool given = takes_pixels(*codec, AV_PIX_FMT_D3D11);
    CHECK((notes[0].find("gives it no textures") == std::string::npos) == given);
    CHECK(!encoder->takes_textures());
    CHECK(!failure(encoder->encode_texture(*frame->on_gpu(), {})).empty());
    CHECK(references(*ring->textures()->encoder().device) == before);
  }
  CHECK(linked > 0);
  if (const AVCodec* codec = avcodec_find_encoder_by_name("h264_qsv")) {
    std::string why;  // and not of every attempt, which takes Wine long
    CHECK(D3d11Frames::make(*codec, format, TextureInput::kQsv, why) == nullptr);
    CHECK(why.find("QuickSync on the D3D11 device: ") == 0);
    CHECK(references(*ring->textures()->encoder().device) == before);
  }
}

}  // namespace kvm
