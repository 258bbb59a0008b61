#include "capture/dxgi/answer.hpp"

namespace kvm::dxgi {
namespace {

const char* meaning(HRESULT answer) noexcept {
  switch (answer) {
    case E_NOTIMPL:
      return "this Windows has no Desktop Duplication; it takes Windows 8 or newer, no emulation";
    case DXGI_ERROR_UNSUPPORTED:
      return "this session or graphics driver has no Desktop Duplication (Remote Desktop, a basic "
             "display adapter, or a laptop's program on the other GPU); install the vendor's "
             "driver";
    case DXGI_ERROR_NOT_CURRENTLY_AVAILABLE:
      return "four programs duplicate this desktop already, which is the limit; end one";
    case E_INVALIDARG:
      return "another stream of this process duplicates this monitor, with another name or region "
             "or the pointer shown in another way; ask for the same, and both share it";
    case E_ACCESSDENIED:
      return "a secure desktop (lock screen or UAC prompt) is shown; unlock, or answer it";
    case DXGI_ERROR_ACCESS_LOST:
      return "Windows takes each duplication away again, as while modes change or programs fight "
             "for the full screen";
    case DXGI_ERROR_SESSION_DISCONNECTED:
      return "the session is disconnected; log on at the console";
    case DXGI_ERROR_NOT_FOUND:
      return "no graphics adapter shows this monitor (it was unplugged, or is a kind that GDI "
             "alone "
             "can read); look at the list of displays";
    case DXGI_ERROR_DEVICE_REMOVED:
    case DXGI_ERROR_DEVICE_RESET:
    case DXGI_ERROR_DEVICE_HUNG:
      return "the graphics driver was restarted; it comes back by itself";
    default:
      return "see the documentation of IDXGIOutput1::DuplicateOutput";
  }
}

}  // namespace

std::string describe_answer(HRESULT answer) {
  return std::string(meaning(answer)) + " (DXGI answers " + hex(answer) + ")";
}

}  // namespace kvm::dxgi
