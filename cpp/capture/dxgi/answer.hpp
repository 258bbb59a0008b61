// What DXGI's answers mean.
#pragma once

#include "base/windows.hpp"
// Windows' own first.
#include <dxgi.h>

#include <string>

namespace kvm::dxgi {

// May be gone with the next call, a moment later.
[[nodiscard]] inline bool passes(HRESULT answer) noexcept {
  return answer == E_ACCESSDENIED || answer == DXGI_ERROR_ACCESS_LOST ||
         answer == DXGI_ERROR_NOT_CURRENTLY_AVAILABLE ||
         answer == DXGI_ERROR_MODE_CHANGE_IN_PROGRESS ||
         answer == DXGI_ERROR_SESSION_DISCONNECTED || answer == DXGI_ERROR_DEVICE_REMOVED ||
         answer == DXGI_ERROR_DEVICE_RESET;
}

// What it is and what helps, for messages.
[[nodiscard]] std::string describe_answer(HRESULT answer);

}  // namespace kvm::dxgi
