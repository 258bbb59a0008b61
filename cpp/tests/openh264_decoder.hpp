// A second opinion on a stream: OpenH264's decoder, where its library is there.
#pragma once

#include <wels/codec_api.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "encode_support.hpp"

namespace kvm::test {

class OpenH264Decoder {
 public:
  OpenH264Decoder() {
    ISVCDecoder* made = nullptr;
    if (WelsCreateDecoder(&made) != 0 || made == nullptr) std::abort();
    decoder_.reset(made);
    SDecodingParam how{};
    how.sVideoProperty.eVideoBsType = VIDEO_BITSTREAM_AVC;
    how.eEcActiveIdc = ERROR_CON_DISABLE;  // an error is an error
    int quiet = WELS_LOG_WARNING;
    decoder_->SetOption(DECODER_OPTION_TRACE_LEVEL, &quiet);
    if (decoder_->Initialize(&how) != 0) std::abort();
  }

  // Nothing when it complains or shows no picture.
  [[nodiscard]] std::optional<Decoded> decode(const std::vector<std::uint8_t>& unit) {
    std::uint8_t* planes[3] = {};
    SBufferInfo info{};
    if (decoder_->DecodeFrameNoDelay(unit.data(), static_cast<int>(unit.size()), planes, &info) !=
        0)
      return std::nullopt;
    if (info.iBufferStatus != 1) {  // other profiles than Baseline it holds back, whatever the VUI
      set_end(1);
      (void)decoder_->FlushFrame(planes, &info);
      set_end(0);
      if (info.iBufferStatus != 1) return std::nullopt;
    }
    const SSysMEMBuffer& size = info.UsrData.sSystemBuffer;
    Decoded out;
    out.width = size.iWidth;
    out.height = size.iHeight;
    const auto copy = [](std::vector<std::uint8_t>& to, const std::uint8_t* from, int stride,
                         int width, int height) {
      for (int y = 0; y < height; ++y)
        to.insert(to.end(), from + y * stride, from + y * stride + width);
    };
    copy(out.luma, planes[0], size.iStride[0], out.width, out.height);
    copy(out.chroma, planes[1], size.iStride[1], out.width / 2, out.height / 2);
    copy(out.chroma, planes[2], size.iStride[1], out.width / 2, out.height / 2);
    return out;
  }

 private:
  void set_end(int end) { decoder_->SetOption(DECODER_OPTION_END_OF_STREAM, &end); }

  struct Destroy {
    void operator()(ISVCDecoder* decoder) const {
      decoder->Uninitialize();
      WelsDestroyDecoder(decoder);
    }
  };
  std::unique_ptr<ISVCDecoder, Destroy> decoder_;
};

}  // namespace kvm::test
