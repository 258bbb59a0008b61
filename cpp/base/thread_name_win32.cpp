#include "base/thread_name.hpp"
#include "base/windows.hpp"

namespace kvm {

void name_this_thread(const char* name) noexcept {
  constexpr int kLongest = 32;
  wchar_t wide[kLongest] = {};
  if (MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, kLongest) == 0) return;
  // Looked up: Windows has it since 10 1607, older import libraries do not.
  using SetDescription = HRESULT(WINAPI*)(HANDLE, PCWSTR);
  const HMODULE kernel = GetModuleHandleW(L"kernel32.dll");
  if (kernel == nullptr) return;
  const auto set = reinterpret_cast<SetDescription>(
      reinterpret_cast<void*>(GetProcAddress(kernel, "SetThreadDescription")));
  if (set != nullptr) static_cast<void>(set(GetCurrentThread(), wide));
}

}  // namespace kvm
