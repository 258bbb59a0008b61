// JPEG by Windows' own imaging component (WIC).
#include <algorithm>
#include <string>

#include "base/com_ptr.hpp"
#include "base/error.hpp"
#include "encode/jpeg.hpp"
#include "encode/shrink.hpp"

// After windows.h, which com_ptr.hpp includes.
#include <objbase.h>
#include <wincodec.h>

namespace kvm {
namespace {

void check(HRESULT answer, const char* what) {
  if (SUCCEEDED(answer)) return;
  throw Error(ErrorKind::kEncoder, std::string("no thumbnail: ") + what + " answered " +
                                       hex(answer) +
                                       "; see whether Windows' own Photos can save a JPEG");
}

// COM on this thread, in whichever apartment the thread is already.
class Apartment {
 public:
  Apartment() : answer_(CoInitializeEx(nullptr, COINIT_MULTITHREADED)) {
    if (answer_ != RPC_E_CHANGED_MODE) check(answer_, "COM");
  }
  ~Apartment() {
    if (SUCCEEDED(answer_)) CoUninitialize();
  }
  Apartment(const Apartment&) = delete;
  Apartment& operator=(const Apartment&) = delete;

 private:
  HRESULT answer_;
};

void set_quality(IPropertyBag2& options, int quality) {
  wchar_t name[] = L"ImageQuality";
  PROPBAG2 option{};
  option.pstrName = name;
  VARIANT value{};
  value.vt = VT_R4;
  value.fltVal = static_cast<float>(std::clamp(quality, 1, 100)) / 100.0F;
  check(options.Write(1, &option, &value), "the quality of the JPEG");
}

std::vector<std::uint8_t> shrunk(const CpuPlanes& bgra, int width, int height, int out_width,
                                 int out_height, UINT stride) {
  std::vector<Span> columns;
  for (int x = 0; x < out_width; ++x) columns.push_back(box(x, width, out_width));
  std::vector<Bgr> row(static_cast<std::size_t>(out_width));
  std::vector<std::uint8_t> out(static_cast<std::size_t>(stride) *
                                static_cast<std::size_t>(out_height));
  for (int y = 0; y < out_height; ++y) {
    shrink_row(bgra, box(y, height, out_height), columns, row);
    std::uint8_t* p = out.data() + static_cast<std::size_t>(y) * stride;
    for (const Bgr& c : row) {
      *p++ = static_cast<std::uint8_t>(c.b);
      *p++ = static_cast<std::uint8_t>(c.g);
      *p++ = static_cast<std::uint8_t>(c.r);
    }
  }
  return out;
}

std::vector<std::uint8_t> all_of(IStream& stream) {
  STATSTG facts{};
  check(stream.Stat(&facts, STATFLAG_NONAME), "the size of the JPEG");
  check(stream.Seek({}, STREAM_SEEK_SET, nullptr), "the start of the JPEG");
  std::vector<std::uint8_t> jpeg(static_cast<std::size_t>(facts.cbSize.QuadPart));
  ULONG got = 0;
  check(stream.Read(jpeg.data(), static_cast<ULONG>(jpeg.size()), &got), "reading the JPEG");
  jpeg.resize(got);
  return jpeg;
}

}  // namespace

std::vector<std::uint8_t> encode_jpeg(const CpuPlanes& bgra, int width, int height, int max_width,
                                      int quality) {
  check_thumbnail_size(width, height, max_width);
  const int out_width = std::min(width, max_width);
  const int out_height = shrunk_height(width, height, out_width);
  const auto stride = static_cast<UINT>(out_width * 3 + 3) & ~UINT{3};
  std::vector<std::uint8_t> pixels = shrunk(bgra, width, height, out_width, out_height, stride);

  const Apartment apartment;
  ComPtr<IWICImagingFactory> factory;
  check(CoCreateInstance(CLSID_WICImagingFactory, nullptr, CLSCTX_INPROC_SERVER,
                         __uuidof(IWICImagingFactory), reinterpret_cast<void**>(factory.put())),
        "WIC");
  ComPtr<IStream> stream;
  check(CreateStreamOnHGlobal(nullptr, TRUE, stream.put()), "memory for the JPEG");
  ComPtr<IWICBitmapEncoder> encoder;
  check(factory->CreateEncoder(GUID_ContainerFormatJpeg, nullptr, encoder.put()),
        "WIC's JPEG encoder");
  check(encoder->Initialize(stream.get(), WICBitmapEncoderNoCache), "WIC's JPEG encoder");
  ComPtr<IWICBitmapFrameEncode> frame;
  ComPtr<IPropertyBag2> options;
  check(encoder->CreateNewFrame(frame.put(), options.put()), "the JPEG's frame");
  set_quality(*options, quality);
  check(frame->Initialize(options.get()), "the JPEG's options");
  check(frame->SetSize(static_cast<UINT>(out_width), static_cast<UINT>(out_height)),
        "the JPEG's size");
  WICPixelFormatGUID format = GUID_WICPixelFormat24bppBGR;
  check(frame->SetPixelFormat(&format), "the JPEG's pixel format");
  if (format != GUID_WICPixelFormat24bppBGR) {
    throw Error(ErrorKind::kEncoder, "no thumbnail: WIC's JPEG encoder takes no 24-bit BGR");
  }
  check(frame->WritePixels(static_cast<UINT>(out_height), stride, static_cast<UINT>(pixels.size()),
                           pixels.data()),
        "the JPEG's pixels");
  check(frame->Commit(), "the JPEG's frame");
  check(encoder->Commit(), "the JPEG");
  return all_of(*stream);
}

}  // namespace kvm
